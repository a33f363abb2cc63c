"""What may be asked about a dataset's versions, and what names them."""

from typing import Any

from casemate.console.asset_routes import numbered, plain
from casemate.console.callers import Caller
from casemate.console.data_asked import (
    dataset_as_restored,
    dataset_tagged,
    dataset_version,
    dataset_version_shown,
    dataset_versions,
    dataset_versions_shown,
    every_model,
)
from casemate.console.door import Also, Door
from casemate.console.flags import is_set
from casemate.console.places import Long
from casemate.core import Action, AssetKind, checked_name, parse_duration, parse_ref


def declare(door: Door) -> None:
    """The routes under /datasets/{name} beside push, show, rows and delete."""

    @door.read(
        "/datasets/{name}/versions/{version}/preview", Action.DATASET_READ, about=dataset_version, long=Long.BYTES
    )
    def preview(call: Caller, name: str, version: str, rows: int = 10) -> dict[str, Any]:
        """What the first rows look like: types and shapes. No value of a row."""
        return plain(call.services.datasets.preview(parse_ref(f"{name}@{version}"), rows=rows))

    @door.read(
        "/datasets/{name}/versions/{version}/preview/rows",
        Action.DATASET_EXPORT,
        about=dataset_version_shown,
        long=Long.BYTES,
    )
    def preview_rows(call: Caller, name: str, version: str, rows: int = 10) -> dict[str, Any]:
        """The first rows as they are, for a stated reason."""
        return plain(call.services.datasets.preview(parse_ref(f"{name}@{version}"), rows=rows, masked=False))

    @door.read("/datasets/{name}/versions/{version}/datasheet", Action.DATASET_READ, about=dataset_version)
    def datasheet(call: Caller, name: str, version: str) -> dict[str, Any]:
        """Where a version comes from, whose it is, what for, and why each column is needed."""
        return plain(call.services.datasets.sheet(parse_ref(f"{name}@{version}")))

    @door.read("/datasets/{name}/versions/{version}/diff", Action.DATASET_READ, about=dataset_versions, long=Long.BYTES)
    def diff(call: Caller, name: str, version: str, to: str = "latest", key: str = "") -> dict[str, Any]:
        """What differs between a version and a later one: schema, rows, distributions. No value of a row."""
        before, after = parse_ref(f"{name}@{version}"), parse_ref(f"{name}@{to}")
        return plain(call.services.datasets.diff(before, after, key=key))

    @door.read(
        "/datasets/{name}/versions/{version}/diff/rows",
        Action.DATASET_EXPORT,
        about=dataset_versions_shown,
        long=Long.BYTES,
    )
    def diff_rows(
        call: Caller, name: str, version: str, to: str = "latest", key: str = "", rows: int = 20
    ) -> dict[str, Any]:
        """The same with the first rows that were added, removed and changed, for a stated reason."""
        before, after = parse_ref(f"{name}@{version}"), parse_ref(f"{name}@{to}")
        return plain(call.services.datasets.diff(before, after, key=key, shown=rows))

    _declare_changes(door)


def _declare_changes(door: Door) -> None:
    @door.change("PUT", "/datasets/{name}/versions/{version}/tags/{tag}", Action.DATASET_TAG, about=dataset_tagged)
    def tag(call: Caller, name: str, version: str, tag: str) -> dict[str, Any]:
        """Let a tag name this version from now on."""
        ref = parse_ref(f"{name}@{version}")
        return plain(call.services.datasets.tag(ref, tag, actor=call.principal, intent=call.intent))

    @door.change("DELETE", "/datasets/{name}/tags/{tag}", Action.DATASET_TAG, about=dataset_tagged)
    def untag(call: Caller, name: str, tag: str) -> dict[str, Any]:
        """Take a tag away."""
        return plain(call.services.datasets.untag(checked_name(name), tag, actor=call.principal, intent=call.intent))

    @door.change(
        "POST",
        "/datasets/{name}/versions/{version}/restoration",
        Action.DATASET_RESTORE,
        about=dataset_as_restored,
        long=Long.BYTES,
    )
    def restore(call: Caller, name: str, version: str) -> dict[str, Any]:
        """Make an older version the newest again."""
        ref = parse_ref(f"{name}@{version}")
        widening = call.decided.attributes["lowers_class"] is True
        datasets = call.services.datasets
        return plain(datasets.restore(ref, widening=widening, actor=call.principal, intent=call.intent))

    @door.change(
        "POST",
        "/datasets/{name}/versions/{version}/revocation",
        Action.DATASET_REVOKE,
        also=Also(action=Action.MODEL_REVOKE, about=every_model),
        urgent=True,
    )
    def revoke(call: Caller, name: str, version: str, cascade: str = "") -> dict[str, Any]:
        """End a version for good: nothing is made from it any more. `cascade`: and what was made from it ends, too."""
        return plain(
            call.services.deployments.revoke(
                numbered(name, version),
                actor=call.principal,
                intent=call.intent,
                reason=call.reason,
                kind=AssetKind.DATASET,
                cascade=is_set(cascade, "cascade"),
            )
        )

    @door.change("POST", "/datasets/{name}/retention", Action.DATASET_DELETE)
    def retain(call: Caller, name: str, keep: int = 0, life: str = "", trial: str = "") -> dict[str, Any]:
        """Delete the versions that nothing needs but the newest `keep`, or those of the last `life`. `trial`: only say so."""
        seconds = parse_duration(life) if life else 0.0
        datasets = call.services.datasets
        return plain(
            datasets.retain(
                checked_name(name), keep=keep, life=seconds, trial=is_set(trial, "trial"), intent=call.intent
            )
        )
