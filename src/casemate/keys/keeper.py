"""The keeper: alone holds the key-encryption key, the signing keys, and what the home was last known to be.

Folder of one home's keys, 0700: `kek.json` (the keyring), `checkpoint.key` (Ed25519), `release.key` (ECDSA P-256) or `release.json` (where
it lies instead, and its public half), `head.json` (number and digest of the newest ledger entry), `checkpoint.txt` (the
newest signed root of the audit log), `settled.txt` (up to which entry of it no act is open), `tls/`. The checkpoint key is always a file: the log signs a root for each commit, at
every 50 ms, and a service's answer takes as long (docs/keys.md).
"""

from __future__ import annotations

import fcntl
import os
import threading
from enum import StrEnum
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from casemate.core import ConflictError, StorageError, VerificationError
from casemate.keys.files import make_private_folder, read_private, sync_folder, write_private
from casemate.keys.kept import KeptText
from casemate.keys.p256 import new_private_pem
from casemate.keys.ring import Keyring
from casemate.keys.signing_key import ReleaseKey, keep_record, load_release_key, read_record

_Key = TypeVar("_Key")
_KEK, _HEAD, _CHECKPOINT, _SETTLED = "kek.json", "head.json", "checkpoint.txt", "settled.txt"
_RELEASE, _NEXT, _FIRST = "release.json", "release.next.json", "release.key"
Settings = dict[str, str]


class Purpose(StrEnum):
    """What a signing key is for; no key serves two purposes."""

    CHECKPOINT = "checkpoint"  # Ed25519: roots of the audit log, heads of the ledger
    RELEASE = "release"  # ECDSA P-256 with SHA-256: model bundles and statements


class KeyService(Protocol):
    """What other rooms are given of the keeper, whether it is in this process or not."""

    def wrap(self, key: bytes, context: bytes) -> bytes: ...
    def unwrap(self, wrapped: bytes, context: bytes) -> bytes: ...
    def check_kept(self, wrapped: list[bytes]) -> None: ...
    def sign(self, purpose: Purpose, payload: bytes) -> bytes: ...


class Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The newest ledger entry: its number and digest."""

    number: int
    digest: str


def init_keys(
    folder: Path,
    provider: str | None = None,
    settings: Settings | None = None,
    *,
    signing: tuple[str, Settings] | None = None,
) -> None:
    """Make the keys of a home, once: what a crash left unfinished is finished, and a lost key is never made anew.

    `kek.json` is written last: until it is there nothing was wrapped or signed, so anything may still be made.
    Args: provider: of key-encryption keys; None: the one that there is, or `file`. settings: its own, never a secret.
        signing: the provider of the release key and its settings; None: the one that there is, or `file`.
    Raises: StorageError: a key is missing, broken, or open to others. InputError `bad-key-settings`. ConflictError
        `keys-elsewhere`: another provider holds this home's keys already.
    """
    make_private_folder(folder)
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / _KEK).exists():
            _make_keys(folder, provider or "file", settings or {}, signing)
    finally:
        os.close(lock)
    keeper = Keeper(folder)
    keyring, record = keeper.keyring, keeper.release.record
    if signing is not None and signing != (record.provider, record.settings):
        raise ConflictError(
            f"The signing key of this home is held by {record.provider} already, and init does not move it: "
            "use casemate keys move-signing.",
            code="keys-elsewhere",
        )
    if provider is not None and (provider, settings or {}) != (keyring.provider, keyring.settings):
        raise ConflictError(
            f"The keys of this home are held by {keyring.provider} already, and init does not move them.",
            code="keys-elsewhere",
        )


def _make_keys(folder: Path, provider: str, settings: Settings, signing: tuple[str, Settings] | None) -> None:
    if (folder / _CHECKPOINT).exists() or ((folder / _HEAD).exists() and _read_head(folder / _HEAD).number):
        raise StorageError(
            f"The key file {folder / _KEK} is missing though it was used: restore it from its copy.",
            code="key-file-missing",
        )
    if not (folder / "checkpoint.key").exists():
        write_private(folder / "checkpoint.key", _new_checkpoint_key())
    if signing is not None and signing[0] != "file":
        if not (folder / _RELEASE).exists():
            keep_record(folder / _RELEASE, ReleaseKey.make(*signing, folder.name).record)
    elif not (folder / _FIRST).exists() and not (folder / _RELEASE).exists():
        write_private(folder / _FIRST, new_private_pem())
    write_private(folder / _HEAD, msgspec.json.encode(Head(0, "")))
    Keyring.create(folder / _KEK, provider, settings)


class Keeper:
    """The keys of one home, for use from many threads."""

    def __init__(self, folder: Path) -> None:
        """Raises: StorageError: a key is missing, broken, or open to others."""
        make_private_folder(folder)
        self._folder = folder
        self.keyring = Keyring(folder / _KEK)
        self._checkpoint = _load(folder / "checkpoint.key", ed25519.Ed25519PrivateKey)  # type: ignore[type-abstract]
        self.release = load_release_key(folder)
        self._kept, self._settled = KeptText(folder / _CHECKPOINT), KeptText(folder / _SETTLED)
        self._lock = threading.Lock()
        self.head()

    def wrap(self, key: bytes, context: bytes) -> bytes:
        return self.keyring.wrap(key, context)

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        return self.keyring.unwrap(wrapped, context)

    def check_kept(self, wrapped: list[bytes]) -> None:
        """Raises: ConflictError `kek-retired`: these cannot be unwrapped any more, so nobody may commit them."""
        self.keyring.check_kept(wrapped)

    def sign(self, purpose: Purpose, payload: bytes) -> bytes:
        """An Ed25519 signature (64 bytes), or an ECDSA one in DER over SHA-256 of the payload."""
        if purpose == Purpose.CHECKPOINT:
            return self._checkpoint.sign(payload)
        return self.release.sign(payload)

    def public_pem(self, purpose: Purpose) -> bytes:
        if purpose == Purpose.RELEASE:
            return self.release.public_pem
        return self._checkpoint.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def next_release_key(self, provider: str, settings: Settings) -> ReleaseKey:
        """The key that will take the release key's place, pinned; the one that a crash left unused, if it fits.

        Raises: StorageError; InputError `bad-key-settings`.
        """
        path = self._folder / _NEXT
        if path.exists():
            record = read_record(path)
            if (record.provider, record.settings) == (provider, settings):
                return ReleaseKey(record, self._folder.name)
        made = ReleaseKey.make(provider, settings, self._folder.name)
        keep_record(path, made.record)
        return made

    def adopt_release_key(self, key: ReleaseKey) -> None:
        """Sign with `key` from here on; a former one that lay in a file is deleted. Again and again, if need be."""
        with self._lock:
            keep_record(self._folder / _RELEASE, key.record)
            self.release = key
            for name in (_FIRST, _NEXT):
                (self._folder / name).unlink(missing_ok=True)
            sync_folder(self._folder)

    def unfinished_release_key(self) -> ReleaseKey | None:
        """What `next_release_key` made and nobody adopted."""
        path = self._folder / _NEXT
        return ReleaseKey(read_record(path), self._folder.name) if path.exists() else None

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
            self._kept.write(text)

    def kept_checkpoint(self) -> str | None:
        """The newest checkpoint; None before the first."""
        return self._kept.read()

    def keep_settled(self, size: int) -> None:
        """Keep that of the audit log's first `size` entries none is an act whose end is not on record."""
        with self._lock:
            self._settled.write(str(size))

    def settled(self) -> int:
        """How many of the audit log's entries need not be read for open acts; 0 when nothing was kept."""
        return int(self._settled.read() or 0)


def _read_head(path: Path) -> Head:
    try:
        return msgspec.json.decode(read_private(path), type=Head)
    except msgspec.DecodeError as error:
        raise StorageError(
            f"The kept head of the signed state, {path}, is broken: restore it from its copy.", code="key-file-broken"
        ) from error


def _new_checkpoint_key() -> bytes:
    return _pem(ed25519.Ed25519PrivateKey.generate())


def _pem(key: ed25519.Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


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
