"""Roles for a while, asked for and answered, as Python calls: `casemate.grants`."""

from __future__ import annotations

from typing import Any

from casemate.client.connection import Connection
from casemate.client.paths import id_part


class GrantCalls:
    """The calls of one client."""

    def __init__(self, connection: Connection) -> None:
        self._get, self._items, self._change = connection.get, connection.items, connection.change

    def request(
        self, role: str, *, on: str, life: str, reason: str, environment: str | None = None, emergency: bool = False
    ) -> dict[str, Any]:
        """Ask for a role for yourself. `on`: `*` or `deployment:NAME`. `life`: from the approval on, as in `2h`.

        `emergency`: it lies ready, and gives nothing until you open it.
        """
        query = {"role": role, "on": on, "life": life, "environment": environment, "reason": reason}
        query |= {"emergency": "true"} if emergency else {}
        return self._change("POST", "/grants", query=query)

    def all(self, *, state: str | None = None) -> list[dict[str, Any]]:
        """Your own, and what else you may see."""
        return self._items("/grants", {"state": state})

    def show(self, grant_id: str) -> dict[str, Any]:
        return self._get(f"/grants/{id_part(grant_id)}")

    def approve(self, grant_id: str, *, reason: str) -> dict[str, Any]:
        return self._change("POST", f"/grants/{id_part(grant_id)}/approval", query={"reason": reason})

    def deny(self, grant_id: str, *, reason: str) -> dict[str, Any]:
        return self._change("POST", f"/grants/{id_part(grant_id)}/denial", query={"reason": reason})

    def revoke(self, grant_id: str, *, reason: str) -> dict[str, Any]:
        """End a grant now, or withdraw a request."""
        return self._change("DELETE", f"/grants/{id_part(grant_id)}", query={"reason": reason})

    def break_glass(self, grant_id: str, *, life: str, reason: str) -> dict[str, Any]:
        """Open an emergency grant of your own, alone, for at most 4 hours; the answer is the grant that it made."""
        return self._change("POST", f"/grants/{id_part(grant_id)}/break-glass", query={"life": life, "reason": reason})

    def account_for(self, grant_id: str, *, reason: str) -> dict[str, Any]:
        """Say what you did under an emergency grant that you opened, and why."""
        return self._change("POST", f"/grants/{id_part(grant_id)}/account", query={"reason": reason})

    def accept_account(self, grant_id: str, *, reason: str) -> dict[str, Any]:
        """Accept what somebody else says of an emergency grant that they opened."""
        return self._change("POST", f"/grants/{id_part(grant_id)}/acceptance", query={"reason": reason})
