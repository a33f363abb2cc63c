"""Issuers of tokens, and what proves a service beside a key, as Python calls: `casemate.issuers`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from casemate.client.answers import is_pairs
from casemate.client.connection import Connection
from casemate.client.paths import id_part, name_part
from casemate.core import InputError


class IssuerCalls:
    """The calls of one client."""

    def __init__(self, connection: Connection) -> None:
        self._get, self._items, self._change = connection.get, connection.items, connection.change

    def add(
        self,
        name: str,
        *,
        audience: str,
        kind: str = "generic",
        issuer: str | None = None,
        algorithms: Sequence[str] = (),
        jwks: bytes | str = "",
        reason: str = "",
    ) -> dict[str, Any]:
        """Read an issuer's tokens from now on. `jwks`: its public keys, or the https address at which they are."""
        query = {"kind": kind, "issuer": issuer, "audience": audience, "algorithms": " ".join(algorithms)}
        source = jwks if isinstance(jwks, str) else ""
        content = b"" if isinstance(jwks, str) else jwks
        query |= {"source": source, "reason": reason}
        return self._change("POST", f"/issuers/{name_part(name)}", query=query, content=content)

    def all(self) -> list[dict[str, Any]]:
        return self._items("/issuers")

    def show(self, name: str) -> dict[str, Any]:
        """One issuer with the services that its tokens prove."""
        return self._get(f"/issuers/{name_part(name)}")

    def bindings(self) -> list[dict[str, Any]]:
        """All that proves a service beside a key: tokens, certificates, clients' own keys."""
        return self._items("/bindings")

    def refresh(self, name: str, *, jwks: bytes = b"", reason: str = "") -> dict[str, Any]:
        """Read its public keys anew, or take these."""
        return self._change("POST", f"/issuers/{name_part(name)}/keys", query={"reason": reason}, content=jwks)

    def bind_token(self, issuer: str, name: str, *, claims: Mapping[str, str], **service: str | None) -> dict[str, Any]:
        """Let tokens with such claims be a service. Service: role, on, expires, environment, rate, reason."""
        if not is_pairs(claims):
            raise InputError("Give the claims as a mapping of names to patterns, as UTF-8.", code="bad-pattern")
        query = {"service": name, "claims": msgspec.json.encode(dict(claims)).decode(), **service}
        return self._change("POST", f"/issuers/{name_part(issuer)}/bindings", query=query)

    def bind_certificate(
        self, name: str, pem: bytes, *, san: str | None = None, **service: str | None
    ) -> dict[str, Any]:
        """Let a client certificate be a service; with `san`, those of an authority that bear this name."""
        query = {"san": san, **service}
        return self._change("POST", f"/bindings/{name_part(name)}/certificate", query=query, content=pem)

    def bind_client_key(self, name: str, jwks: bytes, **service: str | None) -> dict[str, Any]:
        """Let whoever signs assertions with one of these keys be a service."""
        return self._change("POST", f"/bindings/{name_part(name)}/key", query=service, content=jwks)

    def revoke(self, name: str, *, reason: str = "") -> dict[str, Any]:
        """End an issuer, and all that its tokens prove, now."""
        return self._change("DELETE", f"/issuers/{name_part(name)}", query={"reason": reason})

    def revoke_binding(self, binding_id: str, *, reason: str = "") -> dict[str, Any]:
        return self._change("DELETE", f"/bindings/{id_part(binding_id)}", query={"reason": reason})
