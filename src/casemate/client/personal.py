"""Versions made anonymous by the home, and pseudonyms turned back, as Python calls: `casemate.personal`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from casemate.client.connection import Connection
from casemate.client.files import CHUNK, write_private_file
from casemate.client.paths import ref_path
from casemate.core import UpstreamError


class PersonalCalls:
    """The calls of one client."""

    def __init__(self, connection: Connection) -> None:
        self._change, self._told_once = connection.change, connection.told_once

    def anonymize(
        self,
        ref: str,
        policy: bytes,
        *,
        new: str | None = None,
        data_class: str | None = None,
        purposes: Sequence[str] = (),
        reason: str = "",
    ) -> dict[str, Any]:
        """Make a version of the dataset `new` (by default NAME-anonymous) of the version `ref`, as a policy in TOML says.

        With keys that the home makes and keeps. Its class and purposes are those of `ref`, or of its newest version, where not
        stated; what is wider needs an owner and a `reason`. `verdict` is `refused`, with findings and no version, where more is
        left than the policy allows; `report` says what was done.
        """
        query = {"new": new, "data_class": data_class, "purpose": list(purposes), "reason": reason}
        return self._change("POST", f"/datasets/{ref_path(ref)}/anonymisation", query=query, content=policy)

    def reidentify(
        self, ref: str, column: str, to: Path, *, values: Sequence[str] = (), reason: str
    ) -> dict[str, str | int]:
        """Write the rows of a version to `to` as Parquet, with one column's reversible pseudonyms turned back.

        `values`: those rows alone that hold one of these pseudonyms. On record, with the count of rows, before any leaves.
        """
        query = {"column": column, "value": list(values), "reason": reason}
        with self._told_once(f"/datasets/{ref_path(ref)}/reidentification", query) as response:
            rows = response.headers.get("Casemate-Rows", "")
            if not (rows.isascii() and rows.isdigit()):
                raise UpstreamError("What answers there is no control plane of Casemate.", code="no-answer")
            write_private_file(to, response.iter_bytes(CHUNK))
        return {"path": str(to), "column": column, "rows": int(rows)}
