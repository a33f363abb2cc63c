"""Screening of a dataset's versions, as Python calls: `casemate.screenings`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from casemate.client.answers import checked_body
from casemate.client.connection import Connection
from casemate.client.paths import name_part, ref_path, version_part
from casemate.core import InputError, parse_ref


class ScreeningCalls:
    """The calls of one client."""

    def __init__(self, connection: Connection) -> None:
        self._get, self._change, self._download = connection.get, connection.change, connection.download

    def screen(
        self,
        ref: str,
        *,
        label: str | None = None,
        contributor: str | None = None,
        time: str | None = None,
        limit: float | None = None,
        feedback: int | None = None,
        against: str | None = None,
        reason: str = "",
    ) -> dict[str, Any]:
        """Screen a version for poison. `{"name", "version", "screening", "findings"}`; `screening["state"]` is what counts.

        What is stated the first time is kept: later pushes are screened so. `against`: a version whose labels are
        believed; by default the last that people approved. `feedback`: users give the labels, each at most so many rows.
        """
        query = {"label": label, "contributor": contributor, "time": time, "limit": limit, "feedback": feedback}
        query |= {"reason": reason, "against": _version(ref, against) if against else None}
        return self._change("POST", f"/datasets/{ref_path(ref)}/screening", query=query)

    def report(self, ref: str) -> dict[str, Any]:
        """What the last screening of a version said, with each row's number, digest, score and contributor."""
        return self._get(f"/datasets/{ref_path(ref)}/screening")

    def configure(
        self,
        name: str,
        *,
        label: str,
        contributor: str | None = None,
        time: str | None = None,
        limit: float | None = None,
        feedback: int | None = None,
        reason: str = "",
    ) -> dict[str, Any]:
        """Screen what is pushed to a dataset so from now on."""
        query = {"label": label, "contributor": contributor, "time": time, "limit": limit, "feedback": feedback}
        query |= {"reason": reason}
        return self._change("PUT", f"/datasets/{name_part(name)}/screening-settings", query=query)

    def forget(self, name: str, *, reason: str) -> dict[str, Any]:
        """Screen nothing that is pushed to a dataset from now on."""
        return self._change("DELETE", f"/datasets/{name_part(name)}/screening-settings", query={"reason": reason})

    def quarantine(self, ref: str, *, findings: Sequence[str] = (), reason: str) -> dict[str, Any]:
        """Make a version without the rows that these findings name, or all, and keep them beside it for review."""
        query = {"finding": list(findings), "reason": reason}
        return self._change("POST", f"/datasets/{ref_path(ref)}/quarantine", query=query)

    def suspects(self, ref: str, to: Path, *, reason: str) -> Path:
        """Write the rows that were set aside to make this version to `to` as Parquet."""
        return self._download(f"/datasets/{ref_path(ref)}/suspects", to, reason)

    def judge(self, ref: str, judged: str, *, rule: str = "", rows: Sequence[str] = (), reason: str) -> dict[str, Any]:
        """Say of a version, or of rows that a rule named, by their digests, that they are `fine` or `poisoned`."""
        body = {**checked_body(judged=judged, rule=rule), "rows": [checked_body(row=row)["row"] for row in rows]}
        path = f"/datasets/{ref_path(ref)}/verdicts"
        return self._change("POST", path, query={"reason": reason}, json=body)


def _version(ref: str, against: str) -> str:
    """The version that `against` names: `2`, `golden` or `NAME@2`. Raises: InputError `other-dataset`."""
    mine = parse_ref(ref)
    other = parse_ref(against if "@" in against else f"{mine.name}@{against}")
    if other.name != mine.name:
        raise InputError("Compare with another version of the same dataset: --against NUMBER.", code="other-dataset")
    return version_part(str(other.version or "latest"))
