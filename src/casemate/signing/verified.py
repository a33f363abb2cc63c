"""What comes out of the store, and what has earned to be loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Self

import msgspec

from casemate.core import Digest, SealedFile, Signature, Verdict, VerificationError, digest_of
from casemate.signing.bundle import compare_files, verify_files
from casemate.signing.statements import Statement, VersionIdentity, verify_statement
from casemate.signing.trust import Predicate, TrustPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredModel:
    """A model version as it lies in the store: nothing here is trusted yet. Closes its files at exit.

    Args:
        about: Which version was asked for; everything else must agree with it.
        manifest: The canonical manifest's bytes. attestations: predicate type -> envelope or bundle.
        files: path -> sealed bytes, decrypted once.
    """

    about: VersionIdentity
    manifest: bytes
    attestations: Mapping[str, bytes]
    files: Mapping[str, SealedFile]

    def close(self) -> None:
        for file in self.files.values():
            file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_EARNED: Final = object()


class VerifiedModel:
    """Sealed files whose every byte a trusted signer vouches for. Only `verify_model` makes one.

    It owns the sealed files: load them through `files[path].fd` or `.path`, never by another name. Closes at exit.
    """

    __slots__ = ("about", "files", "manifest", "signature", "statements")

    def __init__(
        self,
        earned: object,
        *,
        about: VersionIdentity,
        manifest: Mapping[str, Any],
        signature: Signature | None,
        files: Mapping[str, SealedFile],
        statements: Mapping[Predicate, Statement],
    ) -> None:
        if earned is not _EARNED:
            raise TypeError("A VerifiedModel comes from verify_model only.")
        self.about, self.manifest, self.signature = about, manifest, signature
        self.files, self.statements = files, statements

    def close(self) -> None:
        for file in self.files.values():
            file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _File(msgspec.Struct, frozen=True, kw_only=True):
    digest: Digest
    size: int


class _Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a version's manifest that verification reads."""

    schema: int
    project: str
    kind: str
    name: str
    files: dict[str, _File]
    signature: Signature | None = None


def verify_model(stored: StoredModel, trust: TrustPolicy, *, at: datetime) -> VerifiedModel:
    """Check the very bytes that will be loaded, and return them; on failure they are closed.

    Checked: the manifest has the digest asked for; project, kind and name are in it; the release statement binds
    them, the number and the bundle; the bundle names every sealed file and nothing else; the scan was clean; each
    signer is trusted for what it said at `at`; a training statement, where there is one, verifies too.

    Raises: VerificationError with the codes of `verify_files` and `verify_statement`, and `manifest-changed`,
        `manifest-malformed`, `name-mismatch`, `signature-missing`, `bundle-mismatch`, `scan-not-clean`.
    """
    try:
        return _verified(stored, trust, at)
    except BaseException:
        stored.close()
        raise


def _verified(stored: StoredModel, trust: TrustPolicy, at: datetime) -> VerifiedModel:
    manifest = _read_manifest(stored)
    statements = _statements(stored, trust, at)
    bundle = _required(stored, Predicate.FILES)
    if statements[Predicate.RELEASE].facts.get("bundle") != digest_of(bundle):
        raise VerificationError(
            f"The signature bundle of {stored.about} is not the one that was released.", code="bundle-mismatch"
        )
    found = {path: file.digest for path, file in stored.files.items()}
    verify_files(bundle, found, trust=trust, at=at)
    compare_files({path: entry.digest for path, entry in manifest.files.items()}, found)
    if statements[Predicate.SCAN].facts.get("verdict") != Verdict.CLEAN:
        raise VerificationError(f"The scan of {stored.about} was not clean.", code="scan-not-clean")
    return VerifiedModel(
        _EARNED,
        about=stored.about,
        manifest=msgspec.json.decode(stored.manifest, type=dict[str, Any]),
        signature=manifest.signature,
        files=dict(stored.files),
        statements=statements,
    )


def _read_manifest(stored: StoredModel) -> _Manifest:
    about = stored.about
    if digest_of(stored.manifest) != about.digest:
        raise VerificationError(f"The manifest of {about} was altered.", code="manifest-changed")
    try:
        manifest = msgspec.json.decode(stored.manifest, type=_Manifest)
    except ValueError as error:
        raise VerificationError(f"The manifest of {about} cannot be read.", code="manifest-malformed") from error
    if (manifest.project, manifest.kind, manifest.name) != (about.project, about.kind, about.name):
        raise VerificationError(
            f"The manifest at {about} belongs to {manifest.project}/{manifest.kind}/{manifest.name}.",
            code="name-mismatch",
        )
    return manifest


def _statements(stored: StoredModel, trust: TrustPolicy, at: datetime) -> dict[Predicate, Statement]:
    wanted = [Predicate.RELEASE, Predicate.SCAN]
    if Predicate.TRAINING in stored.attestations:
        wanted.append(Predicate.TRAINING)
    return {
        predicate: verify_statement(_required(stored, predicate), predicate, stored.about, trust=trust, at=at)
        for predicate in wanted
    }


def _required(stored: StoredModel, predicate: Predicate) -> bytes:
    try:
        return stored.attestations[predicate]
    except KeyError:
        raise VerificationError(
            f"{stored.about} has no signature of type {predicate}: push it again.", code="signature-missing"
        ) from None
