"""Signers outside, whose provenance is believed, as Python calls: `casemate.signers`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from casemate.client.connection import Connection
from casemate.client.paths import name_part


class SignerCalls:
    """The calls of one client."""

    def __init__(self, connection: Connection) -> None:
        self._items, self._change = connection.items, connection.change

    def add(self, name: str, trust: Mapping[str, Any], *, expires: str = "90d", reason: str = "") -> dict[str, Any]:
        """Believe what this signer says of trainings. `trust`: `models`, and `key`, or `roots` and `identity`, or `identity`
        and `issuer`; also `builders`, `scripts`, `environments`, `revoked`, `timestamp_roots`, `trusted_root`.
        """
        body = {key: value for key, value in trust.items() if value}
        query = {"expires": expires, "reason": reason}
        return self._change("POST", f"/signers/{name_part(name)}", query=query, json=body)

    def all(self) -> list[dict[str, Any]]:
        return self._items("/signers")

    def remove(self, name: str, *, reason: str, cascade: bool = False) -> dict[str, Any]:
        """Believe a signer no more. `cascade`: and revoke every version that was pushed under its word."""
        query = {"reason": reason, "cascade": "true" if cascade else None}
        return self._change("DELETE", f"/signers/{name_part(name)}", query=query)
