"""The key-encryption keys and the signing key, as Python calls: `casemate.keyring`."""

from __future__ import annotations

from typing import Any

from casemate.client.answers import is_pairs
from casemate.client.connection import Connection
from casemate.core import InputError


class KeyringCalls:
    """The calls of one client."""

    def __init__(self, connection: Connection) -> None:
        self._get, self._change = connection.get, connection.change

    def show(self) -> dict[str, Any]:
        """`{"provider", "settings", "keks": [{"number", "id", "state", "data_keys"}], "unknown"}`."""
        return self._get("/keyring")

    def rotate(self, *, reason: str = "") -> dict[str, Any]:
        """Wrap every data key under a new KEK, or finish what was cut short. `{"kek", "rewrapped", "failed"}`."""
        return self._change("POST", "/keyring/rotation", query={"reason": reason})

    def move_signing(self, provider: str, settings: dict[str, str], *, reason: str = "") -> dict[str, Any]:
        """Sign with a new key in another provider from here on. `{"provider", "previous"}`."""
        if not is_pairs(settings):
            raise InputError("Give the settings as a mapping of names to values, as UTF-8.", code="bad-value")
        given = [f"{name}={value}" for name, value in settings.items()]
        query = {"provider": provider, "setting": given, "reason": reason}
        return self._change("POST", "/keyring/signing", query=query)

    def retire(self, *, reason: str = "") -> dict[str, Any]:
        """Refuse, for good, what any KEK but the newest wrapped; backups from before cannot be read any more."""
        return self._change("POST", "/keyring/retirement", query={"reason": reason})
