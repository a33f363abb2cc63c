"""What may be asked about a dataset's versions, and what names them."""

from typing import Any

from casemate.console.asset_routes import plain
from casemate.console.data_asked import dataset_versions, dataset_versions_shown
from casemate.console.door import Caller, Door
from casemate.console.places import Long
from casemate.core import Action, parse_ref


def declare(door: Door) -> None:
    """The routes under /datasets/{name} beside push, show, rows and delete."""

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
