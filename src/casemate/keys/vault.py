"""The `vault` provider: key-encryption keys are versions of a transit key in OpenBao or HashiCorp Vault, and never leave it.

The transit key must be this home's alone: retiring a version of it would end what another home wrapped under it.
"""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from casemate.core import InputError
from casemate.keys.interface import kek_retired, keys_refused, unwrap_failed
from casemate.keys.vault_session import VaultAccess, VaultSession, hvac_modules

_TYPE = "aes256-gcm96"

_Answer = TypeVar("_Answer")


class VaultSettings(VaultAccess, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to reach Vault, and which transit key is this home's."""

    key: str = ""  # name of the transit key, one for each home; empty: the home's id
    mount: str = "transit"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not re.fullmatch(r"[A-Za-z0-9_-]{0,128}", self.key):
            raise ValueError("key may have 128 of A-Z, a-z, 0-9, _ and - at most")


class VaultProvider:
    """A ref is a version of the transit key. What is sealed is Vault's own ciphertext; the context is associated data."""

    refs_are_keys = False

    def __init__(self, settings: VaultSettings, home: str, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Args: home: its id."""
        self._settings, self._key = settings, settings.key or home
        self._session = VaultSession(settings, monotonic=monotonic)

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
            if about["type"] != _TYPE or about["exportable"] or about["allow_plaintext_backup"] or about["derived"]:
                raise keys_refused(self._session.where, f"the key {self._key} is not {_TYPE}, or can be read out")
            return str(about["latest_version"])

        return self._call(act)

    def seal(self, ref: str, key: bytes, context: bytes) -> bytes:
        sealed = self._call(
            lambda transit, where: transit.encrypt_data(
                **where, plaintext=_text(key), associated_data=_text(context), key_version=int(ref)
            )["data"]["ciphertext"]
        )
        prefix, version, data = str(sealed).split(":")
        if (prefix, version) != ("vault", f"v{ref}"):
            raise keys_refused(self._session.where, "it sealed under another version than was asked for")
        return base64.b64decode(data, validate=True)

    def open(self, ref: str, sealed: bytes, context: bytes) -> bytes:
        def act(transit: Any, where: dict[str, str]) -> str:
            from hvac.exceptions import InvalidRequest

            try:
                answer = transit.decrypt_data(
                    **where, ciphertext=f"vault:v{ref}:{_text(sealed)}", associated_data=_text(context)
                )
            except InvalidRequest as error:
                if "version is disallowed" in str(error):
                    raise kek_retired(f"{self._key} v{ref}") from error
                if any(word in str(error) for word in ("authentication failed", "invalid ciphertext")):
                    raise unwrap_failed() from error
                raise
            return str(answer["data"]["plaintext"])

        return base64.b64decode(self._call(act), validate=True)

    def retire(self, ref: str) -> None:
        """Raise `min_decryption_version` over this version: Vault then refuses it whoever asks."""

        def act(transit: Any, where: dict[str, str]) -> None:
            least = transit.read_key(**where)["data"]["min_decryption_version"]
            if least <= int(ref):
                transit.update_key_configuration(**where, min_decryption_version=int(ref) + 1)

        self._call(act)

    def _call(self, act: Callable[[Any, dict[str, str]], _Answer]) -> _Answer:
        where = {"name": self._key, "mount_point": self._settings.mount}
        return self._session.call(lambda client: act(client.secrets.transit, where))


def make_vault(settings: dict[str, str], home: str) -> VaultProvider:
    """Raises: InputError `bad-key-settings`; StorageError `missing-extra`."""
    return VaultProvider(vault_settings(settings), home)


def vault_settings(settings: dict[str, str]) -> VaultSettings:
    """Raises: InputError `bad-key-settings`; StorageError `missing-extra`."""
    try:
        checked = msgspec.convert(settings, VaultSettings)
    except msgspec.ValidationError as error:
        raise InputError(
            f"The settings of the key provider vault are wrong: {error}.", code="bad-key-settings"
        ) from error
    hvac_modules()
    return checked


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
