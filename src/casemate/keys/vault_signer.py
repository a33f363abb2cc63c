"""A release key in OpenBao's or Vault's transit engine: `ecdsa-p256`, not exportable; a ref is its version."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any, TypeVar

from casemate.keys.interface import keys_refused
from casemate.keys.vault import VaultSettings, vault_settings
from casemate.keys.vault_session import VaultSession

_TYPE = "ecdsa-p256"

_Answer = TypeVar("_Answer")


class VaultSigner:
    def __init__(self, settings: VaultSettings, home: str) -> None:
        """Args: home: its id, which with `-release` names the key if the settings do not."""
        self._settings, self._key = settings, settings.key or f"{home}-release"
        self._session = VaultSession(settings)

    def make(self) -> str:
        def act(transit: Any, where: dict[str, str]) -> str:
            from hvac.exceptions import InvalidPath

            try:
                transit.read_key(**where)
            except InvalidPath:
                transit.create_key(**where, key_type=_TYPE)
            else:
                transit.rotate_key(**where)
            about = transit.read_key(**where)["data"]
            if about["type"] != _TYPE or about["exportable"] or about["allow_plaintext_backup"]:
                raise keys_refused(self._session.where, f"the key {self._key} is not {_TYPE}, or can be read out")
            return str(about["latest_version"])

        return self._call(act)

    def sign(self, ref: str, digest: bytes) -> bytes:
        signature = self._call(
            lambda transit, where: transit.sign_data(
                **where,
                hash_input=base64.b64encode(digest).decode(),
                key_version=int(ref),
                hash_algorithm="sha2-256",
                prehashed=True,
                marshaling_algorithm="asn1",
            )["data"]["signature"]
        )
        return base64.b64decode(str(signature).split(":")[2], validate=True)

    def public_pem(self, ref: str) -> bytes:
        """Raises, beside what every call does: StorageError `keys-refused`: there is no such key or version."""

        def act(transit: Any, where: dict[str, str]) -> str:
            from hvac.exceptions import InvalidPath

            try:
                versions = transit.read_key(**where)["data"]["keys"]
            except InvalidPath:
                versions = {}
            if ref not in versions:
                raise keys_refused(self._session.where, f"there is no version {ref} of the key {self._key}")
            return str(versions[ref]["public_key"])

        return self._call(act).encode()

    def _call(self, act: Callable[[Any, dict[str, str]], _Answer]) -> _Answer:
        where = {"name": self._key, "mount_point": self._settings.mount}
        return self._session.call(lambda client: act(client.secrets.transit, where))


def make_vault_signer(settings: dict[str, str], home: str) -> VaultSigner:
    """Raises: InputError `bad-key-settings`; StorageError `missing-extra`."""
    return VaultSigner(vault_settings(settings), home)
