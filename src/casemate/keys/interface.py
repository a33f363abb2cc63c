"""What wraps and unwraps data keys, and what holds the key-encryption keys (KEKs) for it."""

from __future__ import annotations

import hashlib
from typing import Protocol

from casemate.core import StorageError, VerificationError


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


class KekProvider(Protocol):
    """Makes and holds KEKs; `ref` names one of them. Reaches for what it needs at the first use, not when it is made.

    All raise StorageError `keys-out-of-reach` or `keys-refused`: nothing was lost, and the same call may come again.
    """

    refs_are_keys: bool  # a ref is the key itself, so a retired one must not be kept

    def make(self) -> str:
        """A new KEK, durable when this returns."""
        ...

    def seal(self, ref: str, key: bytes, context: bytes) -> bytes: ...

    def open(self, ref: str, sealed: bytes, context: bytes) -> bytes:
        """Raises: VerificationError `key-unwrap-failed`; `kek-retired`: the provider itself no longer opens under it."""
        ...

    def retire(self, ref: str) -> None:
        """Let the provider, too, refuse what was sealed under this KEK; again and again, if need be."""
        ...


_CHECKSUM = 32  # bytes


def with_checksum(sealed: bytes, context: bytes) -> bytes:
    """For providers that answer alike to damage and to a missing right or a failing device.

    It protects nothing: who alters it as well is refused by the provider.
    """
    return _checksum(sealed, context) + sealed


def checked(data: bytes, context: bytes) -> bytes:
    """What `with_checksum` was given. Raises: VerificationError `key-unwrap-failed`."""
    checksum, sealed = data[:_CHECKSUM], data[_CHECKSUM:]
    if checksum != _checksum(sealed, context):
        raise unwrap_failed()
    return sealed


def _checksum(sealed: bytes, context: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(context).digest() + sealed).digest()


def unwrap_failed() -> VerificationError:
    return VerificationError(
        "A data key cannot be unwrapped: it was altered, or belongs to other data or another key folder.",
        code="key-unwrap-failed",
    )


def kek_retired(name: str) -> VerificationError:
    return VerificationError(
        f"A data key was wrapped under the key-encryption key {name}, which was retired: it came from an older copy of"
        " the home, and cannot be read with these keys.",
        code="kek-retired",
    )


def out_of_reach(where: str, why: str) -> StorageError:
    return StorageError(
        f"The keys at {where} cannot be reached ({why}): nothing was lost; mend this and try again.",
        code="keys-out-of-reach",
    )


def keys_refused(where: str, why: str) -> StorageError:
    return StorageError(
        f"The keys at {where} may not be used ({why}): nothing was lost; give this home the right and try again.",
        code="keys-refused",
    )


def missing_extra(provider: str, package: str, *, extra: str) -> StorageError:
    return StorageError(
        f"The key provider {provider} needs the package {package}: install casemate[{extra}], as docs/keys.md says.",
        code="missing-extra",
    )
