"""People and sessions, as Python calls: `casemate.people`."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from casemate.client.answers import checked_body
from casemate.client.connection import Connection
from casemate.core import checked_id, checked_name


class PeopleCalls:
    """The calls of one client. Secrets go in bodies, never in an address."""

    def __init__(self, connection: Connection) -> None:
        self._get, self._items, self._change = connection.get, connection.items, connection.change

    def all(self) -> list[dict[str, Any]]:
        return self._items("/users")

    def show(self, user: str) -> dict[str, Any]:
        """One person, by name or id."""
        return self._get(f"/users/{_user(user)}")

    def invite(
        self,
        name: str,
        *,
        role: str,
        on: str = "*",
        life: str = "90d",
        environment: str | None = None,
        local: bool = False,
        reason: str = "",
    ) -> dict[str, Any]:
        """A person and their grant; `invitation` is the code to enrol with, shown this once."""
        query = {"name": checked_name(name), "role": role, "on": on, "life": life, "environment": environment}
        return self._change("POST", "/users", query={**query, "local": "true" if local else None, "reason": reason})

    def reset(self, user: str, *, reason: str) -> dict[str, Any]:
        """End somebody's factors and sessions; `invitation` is the code to enrol with anew."""
        return self._change("POST", f"/users/{_user(user)}/reset", query={"reason": reason})

    def revoke(self, user: str, *, callers: bool = False, reason: str = "") -> dict[str, Any]:
        """End a person, and every key of their making that may do more than call; `callers`: those, too.

        `{"id", "state", "ended": [ID], "left": [{"id", "name", "role"}]}`.
        """
        query = {"callers": "true" if callers else None, "reason": reason}
        return self._change("DELETE", f"/users/{_user(user)}", query=query)

    def sign_out(self, user: str, *, reason: str = "") -> dict[str, Any]:
        """End every session of somebody."""
        return self._change("DELETE", f"/users/{_user(user)}/sessions", query={"reason": reason})

    def begin(self, invitation: str, password: str) -> dict[str, Any]:
        """Choose a password; `uri` and `secret` are the second factor to be set up."""
        return self._change("POST", "/enrolment", json=checked_body(invitation=invitation, password=password))

    def confirm(self, invitation: str, code: str) -> dict[str, Any]:
        """Confirm the second factor; `recovery_codes` are shown this once, and `token` is a session."""
        return self._change("POST", "/enrolment/confirmation", json=checked_body(invitation=invitation, code=code))

    def sign_in(self, name: str, password: str, code: str, *, device: str = "") -> dict[str, Any]:
        """`{"token", "device", "id", "expires_at", ...}`. `device`: what an earlier sign-in left here."""
        body = checked_body(name=name, password=password, code=code, device=device)
        return self._change("POST", "/session", json=body)

    def fetch_session(self, ticket: str, verifier: str, *, device: str = "") -> dict[str, Any]:
        """The session that a person in a browser let this command have."""
        body = checked_body(ticket=ticket, verifier=verifier, device=device)
        return self._change("POST", "/session/command-ticket", json=body)

    def who(self) -> dict[str, Any]:
        """Who this client is."""
        return self._get("/session")

    def sign_out_here(self) -> dict[str, Any]:
        return self._change("DELETE", "/session")

    def verify(self, code: str) -> dict[str, Any]:
        """A fresh second factor; `token` takes the old one's place."""
        return self._change("POST", "/session/verification", json=checked_body(code=code))

    def sessions(self, user: str | None = None) -> list[dict[str, Any]]:
        """Your own, or somebody's."""
        return self._items("/sessions", {"user": user})

    def revoke_session(self, session_id: str, *, reason: str = "") -> dict[str, Any]:
        return self._change("DELETE", f"/sessions/{quote(checked_id(session_id))}", query={"reason": reason})

    def change_password(self, password: str, new: str) -> dict[str, Any]:
        return self._change("POST", "/session/password", json=checked_body(password=password, new=new))

    def offer_totp(self) -> dict[str, Any]:
        """A new second factor to be set up; the old one counts until it is confirmed."""
        return self._change("POST", "/session/totp")

    def confirm_totp(self, code: str) -> dict[str, Any]:
        return self._change("POST", "/session/totp/confirmation", json=checked_body(code=code))

    def new_recovery_codes(self) -> dict[str, Any]:
        return self._change("POST", "/session/recovery-codes")

    def passkeys(self) -> list[dict[str, Any]]:
        """Your own. A browser makes them: sign in to the control plane there."""
        return self._items("/session/passkeys")

    def rename_passkey(self, passkey_id: str, name: str) -> dict[str, Any]:
        return self._change("PUT", f"/session/passkeys/{quote(checked_id(passkey_id))}", query={"name": name})

    def remove_passkey(self, passkey_id: str) -> dict[str, Any]:
        """Every session of yours ends but the one whose `token` this answers."""
        return self._change("DELETE", f"/session/passkeys/{quote(checked_id(passkey_id))}")


def _user(text: str) -> str:
    """A person's name, or their id."""
    return quote(checked_id(text) if text.startswith("usr_") else checked_name(text))
