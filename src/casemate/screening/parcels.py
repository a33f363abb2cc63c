"""What is handed to a cluster: encrypted under the key of one screening, and bound to what it is."""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from casemate.core import VerificationError

_NONCE = 12  # bytes, drawn for each parcel; one key seals thousands of them, where 2**32 would be the bound


class Parcels:
    """AES-256-GCM under one key. What a parcel is and its number are authenticated, so that none passes for another."""

    def __init__(self, key: bytes) -> None:
        """Args: key: 32 bytes, of this screening alone."""
        self._cipher = AESGCM(key)

    def seal(self, what: str, number: int, data: bytes | bytearray | memoryview) -> bytes:
        nonce = os.urandom(_NONCE)
        return nonce + self._cipher.encrypt(nonce, data, _name(what, number))

    def open(self, what: str, number: int, parcel: bytes) -> bytes:
        """What was sealed. Raises: VerificationError `ray-altered`: it was altered, or is another parcel."""
        try:
            return self._cipher.decrypt(parcel[:_NONCE], parcel[_NONCE:], _name(what, number))
        except (InvalidTag, ValueError) as error:
            raise VerificationError(
                f"The {what} {number} is not what was handed to the Ray cluster: nothing of it was used. Look who else "
                "reaches the cluster, then screen again.",
                code="ray-altered",
            ) from error


def new_key() -> bytes:
    """A key for the parcels of one screening."""
    return AESGCM.generate_key(256)


def _name(what: str, number: int) -> bytes:
    return f"casemate screening {what} {number}".encode()
