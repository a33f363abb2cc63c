"""The `file` provider: the key-encryption key lies in a file beside no data. It protects a copied home, not a disk."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from casemate.core import SCHEMA, StorageError, VerificationError, new_id
from casemate.keys.files import read_private, write_private

_FORMAT = 1  # first byte of a wrapped key
_ID = 36  # bytes of a key-encryption key's id: "kek_" and 32 hexadecimal digits
_SIZE = 32  # bytes of a key-encryption key
_NONCE = 12  # bytes; random, since one key wraps far fewer than 2^32 keys


class _Kek(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    key: bytes
    schema: int = SCHEMA


class FileProvider:
    """AES-256-GCM under one key-encryption key. A wrapped key is: format, id of that key, nonce, ciphertext and tag."""

    def __init__(self, path: Path) -> None:
        """Raises: StorageError: the file is missing, broken, or others may read it."""
        try:
            kek = msgspec.json.decode(read_private(path), type=_Kek)
            if len(kek.key) != _SIZE or len(kek.id.encode()) != _ID:
                raise ValueError("size")
            self._cipher = AESGCM(kek.key)
        except (msgspec.DecodeError, ValueError) as error:
            raise StorageError(
                f"The key file {path} is broken: restore it from its copy.", code="key-file-broken"
            ) from error
        self._header = bytes([_FORMAT]) + kek.id.encode()

    @staticmethod
    def create(path: Path) -> None:
        """Make a new key at `path`, unless one is there."""
        if not path.exists():
            write_private(path, msgspec.json.encode(_Kek(new_id("kek"), os.urandom(_SIZE))))

    def wrap(self, key: bytes, context: bytes) -> bytes:
        nonce = os.urandom(_NONCE)
        return self._header + nonce + self._cipher.encrypt(nonce, key, self._header + context)

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        start = 1 + _ID
        try:
            if wrapped[:start] != self._header:
                raise InvalidTag
            nonce, sealed = wrapped[start : start + _NONCE], wrapped[start + _NONCE :]
            return self._cipher.decrypt(nonce, sealed, self._header + context)
        except (InvalidTag, ValueError) as error:
            raise VerificationError(
                "A data key cannot be unwrapped: it was altered, or belongs to other data or another key folder.",
                code="key-unwrap-failed",
            ) from error
