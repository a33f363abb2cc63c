"""A version's record as it lies in the store, and the part of its manifest that verification reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from casemate.core import AssetKind, Digest, Signature, VerificationError, digest_of
from casemate.signing.statements import VersionIdentity


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedVersion:
    """A version's record as it lies in the store: nothing here is trusted yet.

    Args:
        about: Which version was asked for; everything else must agree with it.
        manifest: The canonical manifest's bytes. attestations: predicate type -> envelope or bundle.
    """

    about: VersionIdentity
    manifest: bytes
    attestations: Mapping[str, bytes]


class SignedFile(msgspec.Struct, frozen=True, kw_only=True):
    digest: Digest
    size: int


class SignedManifest(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a version's manifest that verification reads."""

    schema: Literal[1]
    project: str
    kind: AssetKind
    name: str
    files: dict[str, SignedFile]
    signature: Signature | None = None
    lineage: dict[str, Any] | None = None
    conversion: dict[str, Any] | None = None
    kept: dict[str, SignedFile] = {}

    @property
    def digests(self) -> dict[str, Digest]:
        """Of the files, by path."""
        return {path: entry.digest for path, entry in self.files.items()}


def read_manifest(version: SignedVersion) -> SignedManifest:
    """Raises: VerificationError `manifest-changed`, `manifest-malformed`, `name-mismatch`."""
    about = version.about
    if digest_of(version.manifest) != about.digest:
        raise VerificationError(f"The manifest of {about} was altered.", code="manifest-changed")
    try:
        manifest = msgspec.json.decode(version.manifest, type=SignedManifest)
    except ValueError as error:
        raise VerificationError(f"The manifest of {about} cannot be read.", code="manifest-malformed") from error
    if (manifest.project, manifest.kind, manifest.name) != (about.project, about.kind, about.name):
        raise VerificationError(
            f"The manifest at {about} belongs to {manifest.project}/{manifest.kind}/{manifest.name}.",
            code="name-mismatch",
        )
    return manifest


def required(version: SignedVersion, predicate: str, *, code: str = "signature-missing") -> bytes:
    """What is stored of this type, unverified. Raises: VerificationError."""
    try:
        return version.attestations[predicate]
    except KeyError:
        raise VerificationError(
            f"{version.about} has no signature of type {predicate}: push it again.", code=code
        ) from None
