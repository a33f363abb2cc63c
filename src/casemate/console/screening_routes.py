"""Screening of a dataset's versions for poison: what is found, what people say of it, and what is set aside."""

from typing import Annotated, Any

import msgspec
from fastapi import Query
from fastapi.responses import StreamingResponse

from casemate.console.asset_routes import PARQUET, Body, download, numbered, plain
from casemate.console.callers import Call, Caller
from casemate.console.data_asked import (
    Attributes,
    class_of_dataset,
    dataset_as_restored,
    dataset_version,
    dataset_version_shown,
)
from casemate.console.door import Also, Door, UndecidedError
from casemate.console.places import Long
from casemate.core import Action, CasemateError, InputError, NotFoundError, Resource, checked_name, parse_ref
from casemate.iam import stated_reason
from casemate.registry import ScreeningSettings, checked_settings
from casemate.screening import Judged

_MAX_BODY = 1 << 20  # bytes; a thousand digests have 80,000


class Verdict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A body. Args: rule, rows: of rows, by their digests; both empty: of the version as a whole."""

    judged: Judged
    rule: str = ""
    rows: tuple[str, ...] = ()


def declare(door: Door) -> None:
    """The routes of screening under /datasets/{name}."""
    _declare_screening(door)
    _declare_consequences(door)


def _declare_screening(door: Door) -> None:
    @door.change(
        "POST",
        "/datasets/{name}/versions/{version}/screening",
        Action.DATASET_SCREEN,
        about=dataset_version,
        also=Also(action=Action.DATASET_EXPORT, about=_columns_named),
        long=Long.BYTES,
    )
    def screen(
        call: Caller,
        name: str,
        version: str,
        label: str = "",
        contributor: str = "",
        time: str = "",
        limit: float = 0.5,
        feedback: int = 0,
        against: str = "",
    ) -> dict[str, Any]:
        """Screen a version. Without `label`, as the dataset keeps it; who names columns may read rows.

        `against`: a version of it whose labels are believed.
        """
        return plain(
            call.services.screenings.screen(
                parse_ref(f"{name}@{version}"),
                _stated(label, contributor, time, limit, feedback),
                against=parse_ref(f"{name}@{against}") if against else None,
                actor=call.principal,
                intent=call.intent,
            )
        )

    @door.read(
        "/datasets/{name}/versions/{version}/screening",
        Action.DATASET_SCREEN,
        about=dataset_version,
        long=Long.BYTES,
    )
    def screening(call: Caller, name: str, version: str) -> dict[str, Any]:
        """What the last screening of a version said: rows by number and digest, their scores and contributors."""
        return plain(call.services.screenings.report(parse_ref(f"{name}@{version}")))

    @door.change("PUT", "/datasets/{name}/screening-settings", Action.DATASET_CONFIGURE)
    def configure(
        call: Caller,
        name: str,
        label: str,
        contributor: str = "",
        time: str = "",
        limit: float = 0.5,
        feedback: int = 0,
    ) -> dict[str, Any]:
        """Screen what is pushed from now on so."""
        settings = checked_settings(label, contributor, time, limit, feedback)
        screenings = call.services.screenings
        return plain(screenings.configure(checked_name(name), settings, actor=call.principal, intent=call.intent))

    @door.change("DELETE", "/datasets/{name}/screening-settings", Action.DATASET_CONFIGURE, about=_reasoned)
    def forget(call: Caller, name: str) -> dict[str, Any]:
        """Screen nothing that is pushed from now on."""
        screenings = call.services.screenings
        return plain(screenings.configure(checked_name(name), None, actor=call.principal, intent=call.intent))


def _declare_consequences(door: Door) -> None:
    @door.change(
        "POST",
        "/datasets/{name}/versions/{version}/quarantine",
        Action.DATASET_QUARANTINE,
        about=_quarantined,
        long=Long.BYTES,
    )
    def quarantine(
        call: Caller, name: str, version: str, finding: Annotated[tuple[str, ...], Query()] = ()
    ) -> dict[str, Any]:
        """Make a version without the rows that were found, or that these findings name, and keep them beside for review."""
        return plain(
            call.services.screenings.quarantine(
                numbered(name, version),
                rules=finding,
                widening=call.decided.attributes["lowers_class"] is True,
                actor=call.principal,
                intent=call.intent,
            )
        )

    @door.read(
        "/datasets/{name}/versions/{version}/suspects",
        Action.DATASET_EXPORT,
        about=dataset_version_shown,
        long=Long.BYTES,
        media=PARQUET,
    )
    def suspects(call: Caller, name: str, version: str) -> StreamingResponse:
        """The rows that were set aside to make this version, as Parquet, for a stated reason."""
        exported = call.services.screenings.suspects(parse_ref(f"{name}@{version}"))
        headers = {"Content-Length": str(exported.size), "Casemate-Digest": exported.digest}
        return download(exported.chunks, PARQUET, headers)

    @door.change("POST", "/datasets/{name}/versions/{version}/verdicts", Action.DATASET_JUDGE, about=_judged)
    def judge(call: Caller, name: str, version: str, body: Body) -> dict[str, Any]:
        """Say of a version, or of rows that a rule named, that they are fine or poisoned. The body says which."""
        said = _verdict(body.whole(_MAX_BODY))
        return plain(
            call.services.screenings.judge(
                numbered(name, version),
                said.judged,
                rule=said.rule,
                rows=said.rows,
                reason=call.reason,
                actor=call.principal,
                intent=call.intent,
                self_judged=call.decision.self_approved,
            )
        )


def _stated(label: str, contributor: str, time: str, limit: float, feedback: int) -> ScreeningSettings | None:
    if not label and (contributor or time or feedback):
        raise InputError("Name the label, too: --label COLUMN.", code="bad-screening")
    return checked_settings(label, contributor, time, limit, feedback) if label else None


def _columns_named(call: Call, arguments: dict[str, Any]) -> Resource | None:
    """The version, where its columns are named: what stands in them is told row by row, so who names them reads them."""
    if not arguments["label"]:
        return None
    try:
        call.services.datasets.find(parse_ref(f"{arguments['name']}@{arguments['version']}"))
    except NotFoundError:  # which the route says, too
        return None
    except CasemateError:  # which is of the highest class
        pass
    return dataset_version(call, arguments)


def _verdict(body: bytes) -> Verdict:
    try:
        return msgspec.json.decode(body, type=Verdict)
    except msgspec.DecodeError as error:
        raise InputError(
            'The body is no verdict: {"judged": "fine" or "poisoned", "rule": RULE, "rows": [DIGEST, ...]}.',
            code="bad-verdict",
        ) from error


def _reasoned(call: Call, arguments: dict[str, Any]) -> Resource:
    """A dataset that is screened no more: that needs a reason. Raises: InputError."""
    stated_reason(call.reason)
    return Resource("dataset", checked_name(arguments["name"]))


def _quarantined(call: Call, arguments: dict[str, Any]) -> Resource:
    """As a restored version; always for a reason. Raises: InputError."""
    stated_reason(call.reason)
    return dataset_as_restored(call, arguments)


def _judged(call: Call, arguments: dict[str, Any]) -> Resource:
    """Four eyes depend on who pushed the version. A word on it needs a reason.

    Who may judge nothing of that name is asked about alike whether the version is there or not.
    """
    stated_reason(call.reason)
    ref = parse_ref(f"{arguments['name']}@{arguments['version']}")
    about: Attributes = {"pushed_by": "", "data_class": class_of_dataset(call, ref)}
    unknown = Resource("dataset", ref.name, attributes=about)
    if not call.services.authorizer.decide(call.principal, Action.DATASET_JUDGE, unknown, **call.origin).allowed:
        return unknown
    try:
        pushed_by = call.services.screenings.pusher(numbered(arguments["name"], arguments["version"]))
    except CasemateError as error:
        raise UndecidedError(unknown, error) from error
    return msgspec.structs.replace(unknown, attributes={**about, "pushed_by": pushed_by})
