"""The `file` provider: key-encryption keys lie in the keyring's own file, beside no data.

It protects a copied home, not a disk.
"""

from __future__ import annotations

import base64
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from casemate.keys.interface import unwrap_failed

_SIZE = 32  # bytes of a key-encryption key
_NONCE = 12  # bytes; random, since one key wraps far fewer than 2^32 keys


class FileProvider:
    """AES-256-GCM. A ref is the key itself, in base64; what is sealed is nonce, ciphertext and tag."""

    refs_are_keys = True

    def make(self) -> str:
        return base64.b64encode(os.urandom(_SIZE)).decode()

    def seal(self, ref: str, key: bytes, context: bytes) -> bytes:
        nonce = os.urandom(_NONCE)
        return nonce + _cipher(ref).encrypt(nonce, key, context)

    def open(self, ref: str, sealed: bytes, context: bytes) -> bytes:
        try:
            return _cipher(ref).decrypt(sealed[:_NONCE], sealed[_NONCE:], context)
        except (InvalidTag, ValueError) as error:
            raise unwrap_failed() from error

    def retire(self, ref: str) -> None:
        """Nothing is left to do: the key went when the keyring let go of it."""


def is_key(ref: str) -> bool:
    try:
        return len(base64.b64decode(ref, validate=True)) == _SIZE
    except ValueError:
        return False


def _cipher(ref: str) -> AESGCM:
    return AESGCM(base64.b64decode(ref, validate=True))
