"""Columns of the database that must not be read in plain text: AES-256-GCM under the home's state key."""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from casemate.core import VerificationError

_NONCE = 12  # bytes; random: a home writes far fewer than 2^32 rows


class RowCipher:
    """Encrypts one column, bound to the row that it stands in."""

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(key)

    def seal(self, data: bytes, context: bytes) -> bytes:
        nonce = os.urandom(_NONCE)
        return nonce + self._aead.encrypt(nonce, data, context)

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """Raises: VerificationError `row-altered`: altered, or moved to another row."""
        try:
            return self._aead.decrypt(sealed[:_NONCE], sealed[_NONCE:], context)
        except (InvalidTag, ValueError) as error:
            raise VerificationError("A row of the database was altered.", code="row-altered") from error
