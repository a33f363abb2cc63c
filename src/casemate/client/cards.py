"""What model versions are, as Python calls: `casemate.cards`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from casemate.client.connection import Connection
from casemate.client.files import file_size
from casemate.client.paths import ref_path


class CardCalls:
    """The calls of one client."""

    def __init__(self, connection: Connection) -> None:
        self._get, self._change = connection.get, connection.change

    def show(self, ref: str) -> dict[str, Any]:
        """What people say of a model version under `described`, what is `missing`, and what is signed of it."""
        return self._get(f"/models/{ref_path(ref)}/card")

    def write(self, ref: str, said: Mapping[str, Any], *, reason: str = "") -> dict[str, Any]:
        """Say what a version is for, whose it is and where it ends: the whole description, in place of the last."""
        return self._change(
            "PUT",
            f"/models/{ref_path(ref)}/card",
            query={"reason": reason},
            json=dict(said),
        )

    def reproduce(self, ref: str, script: Path, *, reason: str = "") -> dict[str, Any]:
        """Run a version's training again in the sandbox, with its `script`, and compare what comes out, file by file."""
        file_size(script)
        path = f"/models/{ref_path(ref)}/reproduction"
        return self._change("POST", path, query={"reason": reason}, content=script.read_bytes())

    def bom(self, ref: str, *, signed: bool = False) -> dict[str, Any]:
        """`{"bom"}`: CycloneDX 1.6; `signed`: and `envelope`, the same in a signed in-toto statement about the version."""
        return self._get(f"/models/{ref_path(ref)}/bom", {"signed": "true" if signed else None})
