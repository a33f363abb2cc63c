"""What wraps and unwraps data keys. A provider holds a key-encryption key and never gives it out."""

from __future__ import annotations

from typing import Protocol


class KeyProvider(Protocol):
    """Wraps small keys, bound to a context.

    `context` is canonical bytes that name what the key is for; unwrapping with another context fails.
    """

    def wrap(self, key: bytes, context: bytes) -> bytes:
        """Raises: StorageError: the provider is sealed or out of reach; nothing was lost."""
        ...

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """Raises: VerificationError `key-unwrap-failed`: altered, cut, of another context or another key. StorageError."""
        ...
