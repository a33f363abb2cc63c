"""The `pkcs11` provider: each key-encryption key is an AES key in a token, which cannot be read out of it.

A PKCS#11 library belongs to the whole process: one session for each token, and one lock for all, stand in this module.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from casemate.core import InputError, StorageError
from casemate.keys.interface import checked, keys_refused, missing_extra, out_of_reach, with_checksum
from casemate.keys.secret_places import checked_place, read_secret
from casemate.keys.secret_strength import Strength

_BITS = 256
_ID = 16  # bytes of a key's CKA_ID
_NONCE = 12  # bytes; random, since one key wraps far fewer than 2^32 keys
_TAG = 128  # bits

_Answer = TypeVar("_Answer")

_lock = threading.RLock()
_sessions: dict[tuple[str, str], Any] = {}  # by library and token: a process may log in once


class HsmSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """None is a secret. `module`: the vendor's library. `token`: its label. `pin_file`: 0600, or a reference."""

    module: str
    token: str
    pin_file: str

    def __post_init__(self) -> None:
        if not self.pin_file or not Path(self.module).is_absolute():
            raise ValueError("paths must be absolute")
        checked_place(self.pin_file, "pin_file")
        if not self.token:
            raise ValueError("token must be a label")


class HsmProvider:
    """A ref is a key's CKA_ID. What is sealed is a checksum, the nonce, and AES-GCM with the context bound.

    The checksum tells damage from a token that fails, since PKCS#11 libraries answer both alike.
    """

    refs_are_keys = False

    def __init__(self, settings: HsmSettings, home: str) -> None:
        """Args: home: its id, which labels its keys."""
        self._settings, self._label = settings, f"casemate {home}"
        self._refused_pin = ""

    def make(self) -> str:
        name = os.urandom(_ID)

        def act(pkcs11: Any, session: Any) -> None:
            session.generate_key(
                pkcs11.KeyType.AES,
                _BITS,
                id=name,
                label=self._label,
                store=True,
                capabilities=pkcs11.MechanismFlag.ENCRYPT | pkcs11.MechanismFlag.DECRYPT,
                template={pkcs11.Attribute.SENSITIVE: True, pkcs11.Attribute.EXTRACTABLE: False},
            )

        self.call(act)
        return name.hex()

    def seal(self, ref: str, key: bytes, context: bytes) -> bytes:
        nonce = os.urandom(_NONCE)
        sealed = self.call(
            lambda pkcs11, session: self._key(pkcs11, session, ref).encrypt(key, **_gcm(pkcs11, nonce, context))
        )
        return with_checksum(nonce + bytes(sealed), context)

    def open(self, ref: str, sealed: bytes, context: bytes) -> bytes:
        sealed = checked(sealed, context)
        nonce, sealed = sealed[:_NONCE], sealed[_NONCE:]
        return bytes(
            self.call(
                lambda pkcs11, session: self._key(pkcs11, session, ref).decrypt(sealed, **_gcm(pkcs11, nonce, context))
            )
        )

    def retire(self, ref: str) -> None:
        """Destroy the key in the token."""

        def act(pkcs11: Any, session: Any) -> None:
            with suppress(pkcs11.NoSuchKey):
                self._key(pkcs11, session, ref).destroy()

        self.call(act)

    def _key(self, pkcs11: Any, session: Any, ref: str) -> Any:
        return session.get_key(object_class=pkcs11.ObjectClass.SECRET_KEY, label=self._label, id=bytes.fromhex(ref))

    def call(self, act: Callable[[Any, Any], _Answer]) -> _Answer:
        """One act in a session; in a new one, if the token was lost and found."""
        pkcs11 = _pkcs11()
        with _lock:
            for last in (False, True):
                try:
                    return act(pkcs11, self._session(pkcs11))
                except pkcs11.PKCS11Error as error:
                    failure = self._failure(pkcs11, error)
                    if last or failure.code == "keys-refused":
                        raise failure from None  # its frames hold the library's objects, which must go first
                self._forget(pkcs11)
        raise AssertionError("the second attempt returns or raises")

    def _session(self, pkcs11: Any) -> Any:
        where = (self._settings.module, self._settings.token)
        if where not in _sessions:
            pin = read_secret(self._settings.pin_file, Strength.PIN, setting="The token's PIN").reveal()
            if pin == self._refused_pin:  # a token locks itself after a few wrong ones
                raise self._refused("PinIncorrect")
            token = pkcs11.lib(self._settings.module).get_token(token_label=self._settings.token)
            try:
                _sessions[where] = token.open(rw=True, user_pin=pin)
            except pkcs11.PinIncorrect:
                self._refused_pin = pin
                raise
        return _sessions[where]

    def _forget(self, pkcs11: Any) -> None:
        """Begin the library anew: it knows of a token that came back only then."""
        for where in [where for where in _sessions if where[0] == self._settings.module]:
            with suppress(pkcs11.PKCS11Error):
                _sessions.pop(where).close()
        with suppress(pkcs11.PKCS11Error):
            pkcs11.lib(self._settings.module).finalize()

    def _failure(self, pkcs11: Any, error: Exception) -> StorageError:
        name = type(error).__name__
        if isinstance(error, pkcs11.PinIncorrect | pkcs11.PinLocked | pkcs11.PinExpired | pkcs11.PinInvalid):
            return self._refused(name)
        return out_of_reach(self._settings.token, "the library cannot be loaded" if name == "PKCS11Error" else name)

    def _refused(self, why: str) -> StorageError:
        return keys_refused(self._settings.token, why)


def make_hsm(settings: dict[str, str], home: str) -> HsmProvider:
    """Raises: InputError `bad-key-settings`; StorageError `missing-extra`."""
    try:
        sound = msgspec.convert(settings, HsmSettings)
    except msgspec.ValidationError as error:
        raise InputError(
            f"The settings of the key provider pkcs11 are wrong: {error}.", code="bad-key-settings"
        ) from error
    _pkcs11()
    return HsmProvider(sound, home)


def _pkcs11() -> Any:
    try:
        import pkcs11
    except ImportError as error:
        raise missing_extra("pkcs11", "python-pkcs11", extra="pkcs11") from error
    return pkcs11


def _gcm(pkcs11: Any, nonce: bytes, context: bytes) -> dict[str, Any]:
    return {
        "mechanism": pkcs11.Mechanism.AES_GCM,
        "mechanism_param": pkcs11.GCMParams(nonce, context, _TAG),
    }
