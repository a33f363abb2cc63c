"""The keeper: alone holds the key-encryption key, the signing keys, and what the home was last known to be.

Folder of one home's keys, 0700: `kek.json`, `checkpoint.key` (Ed25519), `release.key` (ECDSA P-256), `head.json` (number
and digest of the newest ledger entry), `checkpoint.txt` (the newest signed root of the audit log), `tls/`.
"""

from __future__ import annotations

import fcntl
import os
import threading
from enum import StrEnum
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from casemate.core import StorageError, VerificationError
from casemate.keys.file import FileProvider
from casemate.keys.files import make_private_folder, read_private, write_private

_Key = TypeVar("_Key")
_KEK, _HEAD, _CHECKPOINT = "kek.json", "head.json", "checkpoint.txt"


class Purpose(StrEnum):
    """What a signing key is for; no key serves two purposes."""

    CHECKPOINT = "checkpoint"  # Ed25519: roots of the audit log, heads of the ledger
    RELEASE = "release"  # ECDSA P-256 with SHA-256: model bundles and statements


class KeyService(Protocol):
    """What other rooms are given of the keeper, whether it is in this process or not."""

    def wrap(self, key: bytes, context: bytes) -> bytes: ...
    def unwrap(self, wrapped: bytes, context: bytes) -> bytes: ...
    def sign(self, purpose: Purpose, payload: bytes) -> bytes: ...


class Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The newest ledger entry: its number and digest."""

    number: int
    digest: str


def init_keys(folder: Path) -> None:
    """Make the keys of a home, once: what a crash left unfinished is finished, and a lost key is never made anew.

    `kek.json` is written last: until it is there nothing was wrapped or signed, so anything may still be made.
    Raises: StorageError: a key is missing, broken, or open to others.
    """
    make_private_folder(folder)
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / _KEK).exists():
            _make_keys(folder)
    finally:
        os.close(lock)
    Keeper(folder)


def _make_keys(folder: Path) -> None:
    if (folder / _CHECKPOINT).exists() or ((folder / _HEAD).exists() and _read_head(folder / _HEAD).number):
        raise StorageError(
            f"The key file {folder / _KEK} is missing though it was used: restore it from its copy.",
            code="key-file-missing",
        )
    for purpose, make in _MAKERS.items():
        path = folder / f"{purpose}.key"
        if not path.exists():
            write_private(path, make())
    write_private(folder / _HEAD, msgspec.json.encode(Head(0, "")))
    FileProvider.create(folder / _KEK)


class Keeper:
    """The keys of one home, for use from many threads."""

    def __init__(self, folder: Path) -> None:
        """Raises: StorageError: a key is missing, broken, or open to others."""
        make_private_folder(folder)
        self._folder = folder
        self._provider = FileProvider(folder / _KEK)
        self._checkpoint = _load(folder / "checkpoint.key", ed25519.Ed25519PrivateKey)  # type: ignore[type-abstract]
        self._release = _load(folder / "release.key", ec.EllipticCurvePrivateKey)  # type: ignore[type-abstract]
        self._lock = threading.Lock()
        self.head()

    def wrap(self, key: bytes, context: bytes) -> bytes:
        return self._provider.wrap(key, context)

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        return self._provider.unwrap(wrapped, context)

    def sign(self, purpose: Purpose, payload: bytes) -> bytes:
        """An Ed25519 signature (64 bytes), or an ECDSA one in DER over SHA-256 of the payload."""
        if purpose == Purpose.CHECKPOINT:
            return self._checkpoint.sign(payload)
        return self._release.sign(payload, ec.ECDSA(hashes.SHA256()))

    def public_pem(self, purpose: Purpose) -> bytes:
        key = self._checkpoint if purpose == Purpose.CHECKPOINT else self._release
        return key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def seal_head(self, number: int, digest: str) -> None:
        """Keep the ledger's newest head. Raises: VerificationError: it would go back, or fork."""
        new = Head(number, digest)
        with self._lock:
            kept = self.head()
            if number < kept.number or (number == kept.number and new != kept):
                raise VerificationError(
                    f"The signed state would go back from entry {kept.number}: restore the newest copy of the home.",
                    code="state-rolled-back",
                )
            if new != kept:
                write_private(self._folder / _HEAD, msgspec.json.encode(new))

    def head(self) -> Head:
        """The newest head that was kept; number 0 before the first. Raises: StorageError: missing or broken."""
        return _read_head(self._folder / _HEAD)

    def keep_checkpoint(self, text: str) -> None:
        """Keep the audit log's newest checkpoint. That it only grows is the log's to check."""
        with self._lock:
            write_private(self._folder / _CHECKPOINT, text.encode())

    def kept_checkpoint(self) -> str | None:
        """The newest checkpoint; None before the first."""
        path = self._folder / _CHECKPOINT
        return read_private(path).decode() if path.exists() else None


def _read_head(path: Path) -> Head:
    try:
        return msgspec.json.decode(read_private(path), type=Head)
    except msgspec.DecodeError as error:
        raise StorageError(
            f"The kept head of the signed state, {path}, is broken: restore it from its copy.", code="key-file-broken"
        ) from error


def _new_checkpoint_key() -> bytes:
    return _pem(ed25519.Ed25519PrivateKey.generate())


def _new_release_key() -> bytes:
    return _pem(ec.generate_private_key(ec.SECP256R1()))


def _pem(key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


_MAKERS = {Purpose.CHECKPOINT: _new_checkpoint_key, Purpose.RELEASE: _new_release_key}


def _load(path: Path, kind: type[_Key]) -> _Key:
    try:
        key = serialization.load_pem_private_key(read_private(path), password=None)
    except ValueError as error:
        raise StorageError(
            f"The key file {path} is broken: restore it from its copy.", code="key-file-broken"
        ) from error
    if not isinstance(key, kind):
        raise StorageError(f"The key file {path} holds another kind of key.", code="key-file-broken")
    return key
