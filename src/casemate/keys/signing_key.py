"""The release key, wherever it lies: in a file, or in a service that signs and never gives it out.

Its public half is pinned beside the keys when it is made. What a service signs is checked against the pin before anybody
gets it, so that a service which was given another key signs nothing for this home.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Protocol

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from casemate.core import InputError, StorageError, VerificationError
from casemate.keys.files import read_private, write_private
from casemate.keys.p256 import load_private, load_public, new_private_pem, pem_of

SIGNERS = ("file", "vault", "aws-kms", "pkcs11")
_LAYOUT = 1


class SigningProvider(Protocol):
    """Makes and holds ECDSA P-256 keys; `ref` names one. All raise StorageError `keys-out-of-reach`, `keys-refused`."""

    def make(self) -> str:
        """A new key, durable when this returns."""
        ...

    def sign(self, ref: str, digest: bytes) -> bytes:
        """In DER, over a SHA-256 digest."""
        ...

    def public_pem(self, ref: str) -> bytes: ...


class SigningRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file `release.json`. Args: ref: for `file` the private key itself. pem: its public half, pinned."""

    provider: str
    settings: dict[str, str]
    ref: str
    pem: str
    layout: int = _LAYOUT

    def __repr__(self) -> str:
        return f"SigningRecord(provider={self.provider!r})"


class ReleaseKey:
    """One key with its pin, for use from many threads."""

    def __init__(self, record: SigningRecord, home: str) -> None:
        """Args: home: its id. Raises: StorageError `missing-extra`; InputError `bad-key-settings`, `bad-public-key`."""
        self.record = record
        self._provider = signing_provider(record.provider, record.settings, home)
        self._public = load_public(record.pem.encode())

    @classmethod
    def make(cls, provider: str, settings: dict[str, str], home: str) -> ReleaseKey:
        """A new key in that provider, and its pin. Raises: as `SigningProvider`; InputError `bad-key-settings`."""
        holder = signing_provider(provider, settings, home)
        ref = holder.make()
        pem = holder.public_pem(ref).decode()
        return cls(SigningRecord(provider=provider, settings=settings, ref=ref, pem=pem), home)

    @property
    def public_pem(self) -> bytes:
        return self.record.pem.encode()

    def sign(self, payload: bytes) -> bytes:
        """ECDSA in DER over SHA-256 of the payload.

        Raises: StorageError; VerificationError `signing-key-changed`: what signed is not the pinned key.
        """
        digest = hashlib.sha256(payload).digest()
        signature = self._provider.sign(self.record.ref, digest)
        try:
            self._public.verify(signature, digest, ec.ECDSA(Prehashed(hashes.SHA256())))
        except InvalidSignature as error:
            raise self._changed() from error
        return signature

    def verify_pin(self) -> None:
        """Return when the provider still names the pinned key. Raises: VerificationError `signing-key-changed`; StorageError."""
        if load_public(self._provider.public_pem(self.record.ref)) != self._public:
            raise self._changed()

    def _changed(self) -> VerificationError:
        return VerificationError(
            f"The signing key that {self.record.provider} holds is not the one that this home was made with: nothing is "
            "signed. Put the right key back there, or restore the keys folder from its copy.",
            code="signing-key-changed",
        )


class FileSigner:
    """A ref is the private key itself, in PEM."""

    def make(self) -> str:
        return new_private_pem().decode()

    def sign(self, ref: str, digest: bytes) -> bytes:
        return load_private(ref).sign(digest, ec.ECDSA(Prehashed(hashes.SHA256())))

    def public_pem(self, ref: str) -> bytes:
        return pem_of(load_private(ref).public_key())


def signing_provider(name: str, settings: dict[str, str], home: str) -> SigningProvider:
    """Raises: InputError `bad-key-settings`; StorageError `missing-extra`."""
    if name == "vault":
        from casemate.keys.vault_signer import make_vault_signer

        return make_vault_signer(settings, home)
    if name == "aws-kms":
        from casemate.keys.aws_signer import make_aws_signer

        return make_aws_signer(settings, home)
    if name == "pkcs11":
        from casemate.keys.hsm_signer import make_hsm_signer

        return make_hsm_signer(settings, home)
    if name != "file":
        raise InputError(f"No key provider {name[:40]!r} signs: use {' or '.join(SIGNERS)}.", code="bad-key-settings")
    if settings:
        raise InputError("The key provider file takes no settings.", code="bad-key-settings")
    return FileSigner()


def load_release_key(folder: Path) -> ReleaseKey:
    """The key of the home whose keys lie in `folder`. Raises: StorageError: missing, broken, or open to others."""
    path, first = folder / "release.json", folder / "release.key"
    if path.exists():
        return ReleaseKey(read_record(path), folder.name)
    pem = read_private(first)  # as every home had it first
    try:
        record = SigningRecord(
            provider="file", settings={}, ref=pem.decode(), pem=FileSigner().public_pem(pem.decode()).decode()
        )
    except (ValueError, InputError) as error:
        raise _broken(first) from error
    return ReleaseKey(record, folder.name)


def read_record(path: Path) -> SigningRecord:
    """Raises: StorageError `key-file-broken`, `key-file-missing`, `open-to-others`."""
    try:
        record = msgspec.json.decode(read_private(path), type=SigningRecord)
        load_public(record.pem.encode())
    except (msgspec.DecodeError, InputError) as error:
        raise _broken(path) from error
    if record.layout != _LAYOUT:
        raise _broken(path)
    return record


def keep_record(path: Path, record: SigningRecord) -> None:
    write_private(path, msgspec.json.encode(record))


def _broken(path: Path) -> StorageError:
    return StorageError(f"The key file {path} is broken: restore it from its copy.", code="key-file-broken")
