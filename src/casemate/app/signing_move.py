"""Moves the release key to another provider, endorsed by the key before it; what was signed before stays valid.

In this order, so that a crash at any point leaves a key that is trusted and signs: the new key is made and pinned; the trust
policy names it, signed by the old one; the keeper takes it; the old one, if it lay in a file, is deleted.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from casemate.core import CasemateError
from casemate.keys import Keeper, Purpose, ReleaseKey, write_private
from casemate.signing import successor_trust
from casemate.storage import Home, Ledger

_log = logging.getLogger("casemate.keeper")


def verify_pin(keeper: Keeper) -> None:
    """Refuse to start with a key service that holds another key than the pinned one.

    One that is out of reach only is no reason: what serves needs no new signature, and each is checked when it is made.
    Raises: VerificationError `signing-key-changed`; StorageError `keys-refused`.
    """
    try:
        keeper.release.verify_pin()
    except CasemateError as error:
        if error.code != "keys-out-of-reach":
            raise
        _log.warning("%s Until then nothing can be signed.", error.message)


class SigningMove:
    """The keeper's. Args: commit: appends to the ledger."""

    def __init__(
        self,
        home: Home,
        keeper: Keeper,
        ledger: Ledger,
        commit: Callable[[list[tuple[str, dict[str, Any]]], str], int],
    ) -> None:
        self._home, self._keeper, self._ledger, self._commit = home, keeper, ledger, commit
        self._busy = threading.Lock()
        left = keeper.unfinished_release_key()
        if left is not None and self._is_trusted(left):
            self._adopt(left)  # a crash came between the record and the change

    def show(self) -> dict[str, Any]:
        """Who holds the release key, and where; no secret is among the settings."""
        record = self._keeper.release.record
        return {"provider": record.provider, "settings": record.settings, "public_key": record.pem}

    def move(self, provider: str, settings: dict[str, str], intent: str) -> dict[str, Any]:
        """Sign with a new key in `provider` from here on. Run again, it finishes what was cut short.

        Raises: StorageError: the old or the new provider is out of reach; the old key goes on signing. InputError
            `bad-key-settings`.
        """
        with self._busy:
            before = self._keeper.release
            new = self._keeper.next_release_key(provider, settings)
            if not self._is_trusted(new):
                body = successor_trust(
                    before.public_pem, new.public_pem, lambda payload: self._keeper.sign(Purpose.RELEASE, payload)
                )
                self._commit([("trust", body)], intent)
            self._adopt(new)
            return {"provider": provider, "previous": before.record.provider}

    def _is_trusted(self, key: ReleaseKey) -> bool:
        return any(
            entry.kind == "trust" and entry.body.get("pem") == key.record.pem for entry in self._ledger.entries()
        )

    def _adopt(self, key: ReleaseKey) -> None:
        self._keeper.adopt_release_key(key)
        write_private(self._home.public / "release.pem", key.public_pem)
