"""Sign-in through outside providers, as Python calls: `casemate.providers`."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from casemate.client.connection import Connection
from casemate.core import checked_id, checked_name


class ProviderCalls:
    """The calls of one client. A client's secret is named, never sent."""

    def __init__(self, connection: Connection) -> None:
        self._get, self._items, self._change = connection.get, connection.items, connection.change

    def all(self) -> list[dict[str, Any]]:
        return self._items("/providers")

    def show(self, name: str) -> dict[str, Any]:
        """One provider; `redirect_uri` is what to register there."""
        return self._get(f"/providers/{_one(name)}")

    def add(self, name: str, *, reason: str = "", **provider: Any) -> dict[str, Any]:
        """Args: provider: `issuer`, `client_id`, `secret` (a reference), and what else the route's body takes."""
        return self._change("POST", f"/providers/{_one(name)}", query={"reason": reason}, json=provider)

    def map(
        self,
        name: str,
        group: str,
        *,
        role: str,
        on: str,
        environment: str | None = None,
        life: str = "90d",
        reason: str = "",
    ) -> dict[str, Any]:
        """Members of `group` have the role while they are signed in through the provider. Args: life: of the mapping."""
        query = {"group": group, "role": role, "on": on, "environment": environment, "life": life, "reason": reason}
        return self._change("POST", f"/providers/{_one(name)}/groups", query=query)

    def bind(self, name: str, user: str, subject: str, *, reason: str = "") -> dict[str, Any]:
        """The provider's `subject` is the person `user` from now on."""
        query = {"user": user, "subject": subject, "reason": reason}
        return self._change("POST", f"/providers/{_one(name)}/subjects", query=query)

    def revoke(self, name: str, *, reason: str = "") -> dict[str, Any]:
        """End a provider with its sessions, or one mapping by its id."""
        return self._change("DELETE", f"/providers/{_one(name)}", query={"reason": reason})

    def public(self) -> list[dict[str, Any]]:
        """Name and display name of each, which anybody may know."""
        return self._items("/providers/public")

    def redeem(self, ticket: str, verifier: str, *, code: str = "", device: str = "") -> dict[str, Any]:
        """The session that a sign-in in the browser left for this command."""
        body = {"ticket": ticket, "verifier": verifier, "code": code, "device": device}
        return self._change("POST", "/session/provider-ticket", json=body)


def _one(text: str) -> str:
    return quote(checked_id(text) if text.startswith(("idp_", "map_")) else checked_name(text))
