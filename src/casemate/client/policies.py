"""Policies and what is kept of predictions, as Python calls: `casemate.policies`."""

from __future__ import annotations

from typing import Any

from casemate.client.answers import checked_body
from casemate.client.connection import Connection
from casemate.client.paths import id_part, name_part


class PolicyCalls:
    """The calls of one client."""

    def __init__(self, connection: Connection) -> None:
        self._get, self._items, self._change = connection.get, connection.items, connection.change

    def in_force(self) -> dict[str, Any]:
        """`{"digest", "text", "home": {"version", "digest", "text"}, "misfit"}`."""
        return self._get("/policies")

    def versions(self) -> list[dict[str, Any]]:
        """Every proposal and every return to the packaged policies."""
        return self._items("/policies/versions")

    def show(self, which: str) -> dict[str, Any]:
        """The home's own, a version by its number or a proposal by its id: `text`, `difference` from what is in force."""
        return self._get(f"/policies/versions/{id_part(which) if '_' in which else name_part(which)}")

    def propose(self, text: str = "", *, version: str | None = None, reason: str) -> dict[str, Any]:
        """Propose a text, or an earlier `version`; somebody else must approve it."""
        query = {"version": version, "reason": reason}
        return self._change("POST", "/policies/proposals", query=query, content=_sent(text))

    def replay(self, text: str = "", *, version: str | None = None, days: int = 30) -> dict[str, Any]:
        """Which decisions of the last days would come out otherwise. Nothing is changed."""
        query = {"version": version, "days": days}
        return self._change("POST", "/policies/replay", query=query, content=_sent(text))

    def approve(self, proposal: str, *, reason: str) -> dict[str, Any]:
        return self._answer(proposal, "approval", reason)

    def deny(self, proposal: str, *, reason: str) -> dict[str, Any]:
        return self._answer(proposal, "denial", reason)

    def withdraw(self, proposal: str, *, reason: str) -> dict[str, Any]:
        """Take back a proposal of your own."""
        return self._change("DELETE", f"/policies/proposals/{id_part(proposal)}", query={"reason": reason})

    def revert_to_packaged(self, *, reason: str) -> dict[str, Any]:
        """End the home's own policies now."""
        return self._change("POST", "/policies/packaged", query={"reason": reason})

    def _answer(self, proposal: str, answer: str, reason: str) -> dict[str, Any]:
        return self._change("POST", f"/policies/proposals/{id_part(proposal)}/{answer}", query={"reason": reason})


def _sent(text: str) -> bytes:
    """Raises: InputError: it is no valid text."""
    return checked_body(policy=text)["policy"].encode()
