"""What comes out of the store, and what has earned to be loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Self

import msgspec

from casemate.core import AssetKind, Digest, SealedFile, ServedFile, Signature, Verdict, VerificationError, digest_of
from casemate.signing.bundle import compare_files, verify_files
from casemate.signing.origins import check_outside, verify_conversion, verify_training
from casemate.signing.statements import Statement, VersionIdentity, verify_statement
from casemate.signing.stored import SignedManifest, SignedVersion, read_manifest, required
from casemate.signing.trust import Predicate, TrustPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredModel:
    """A model version's record and its files, decrypted once into sealed memory. Closes them at exit."""

    version: SignedVersion
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

    `served` is the file that the signed scan found to be the model, with its runtime; None when no runtime loads it.

    It owns the sealed files: load them through `files[path].fd` or `.path`, never by another name. Closes at exit.
    """

    __slots__ = ("about", "files", "manifest", "served", "signature", "statements")

    def __init__(
        self,
        earned: object,
        *,
        about: VersionIdentity,
        manifest: Mapping[str, Any],
        signature: Signature | None,
        served: ServedFile | None,
        files: Mapping[str, SealedFile],
        statements: Mapping[Predicate, Statement],
    ) -> None:
        if earned is not _EARNED:
            raise TypeError("A VerifiedModel comes from verify_model only.")
        self.about, self.manifest, self.signature = about, manifest, signature
        self.files, self.served, self.statements = files, served, statements

    def close(self) -> None:
        for file in self.files.values():
            file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Scan(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a scan's facts that verification reads."""

    verdict: str
    served: ServedFile | None


def verify_model(stored: StoredModel, trust: TrustPolicy, *, at: datetime) -> VerifiedModel:
    """Check the very bytes that will be loaded, and return them; on failure they are closed.

    Raises: VerificationError with the codes of `verify_version`, and `kind-mismatch` for what is no model.
    """
    try:
        version = stored.version
        if version.about.kind is not AssetKind.MODEL:
            raise VerificationError(f"{version.about} is not a model.", code="kind-mismatch")
        digests = {path: file.digest for path, file in stored.files.items()}
        statements = verify_version(version, digests, trust, at=at)
        return VerifiedModel(
            _EARNED,
            about=version.about,
            manifest=msgspec.json.decode(version.manifest, type=dict[str, Any]),
            signature=read_manifest(version).signature,
            served=_read_scan(version, statements[Predicate.SCAN]).served,
            files=dict(stored.files),
            statements=statements,
        )
    except BaseException:
        stored.close()
        raise


def verify_version(
    version: SignedVersion, found: Mapping[str, Digest], trust: TrustPolicy, *, at: datetime
) -> dict[Predicate, Statement]:
    """Return what trusted signers said of this version, whose files have the digests `found`.

    Checked: the manifest has the digest asked for; project, kind and name are in it; the release statement binds
    them, the number and the bundle; the bundle names every file found and nothing else; a model's scan was clean
    and says which file is the model; a model with lineage carries the statement of its training, one that was trained
    elsewhere the provenance that was believed at its push, and one that was converted here the statement of that, about
    the very file that it has; each signer is trusted for what it said at `at`.

    Raises: VerificationError with the codes of `verify_files` and `verify_statement`, and `manifest-changed`,
        `manifest-malformed`, `signature-missing`, `bundle-mismatch`, `scan-not-clean`, `scan-incomplete`,
        `lineage-mismatch`, `provenance-missing`, `provenance-altered`, `conversion-missing`, `conversion-mismatch`.
    """
    manifest = read_manifest(version)
    statements = {
        predicate: verify_statement(required(version, predicate), predicate, version.about, trust=trust, at=at)
        for predicate in _predicates(manifest)
    }
    if manifest.lineage is not None:
        check_outside(version, manifest.lineage)
        statements[Predicate.TRAINING] = verify_training(version, trust=trust, at=at)
    if manifest.conversion is not None:
        statements[Predicate.CONVERSION] = verify_conversion(version, trust=trust, at=at)
    bundle = required(version, Predicate.FILES)
    if statements[Predicate.RELEASE].facts.get("bundle") != digest_of(bundle):
        raise VerificationError(
            f"The signature bundle of {version.about} is not the one that was released.", code="bundle-mismatch"
        )
    verify_files(bundle, found, trust=trust, at=at)
    compare_files(manifest.digests, found)
    _check_scan(version, manifest, statements)
    return statements


def _predicates(manifest: SignedManifest) -> list[Predicate]:
    return [Predicate.RELEASE, *([Predicate.SCAN] if manifest.kind is AssetKind.MODEL else [])]


def _check_scan(version: SignedVersion, manifest: SignedManifest, statements: Mapping[Predicate, Statement]) -> None:
    if Predicate.SCAN in statements:
        scan = _read_scan(version, statements[Predicate.SCAN])
        if scan.verdict != Verdict.CLEAN:
            raise VerificationError(f"The scan of {version.about} was not clean.", code="scan-not-clean")
        if scan.served is not None and scan.served.path not in manifest.files:
            raise _incomplete(version)


def _read_scan(version: SignedVersion, scan: Statement) -> _Scan:
    try:
        return msgspec.convert(scan.facts, _Scan)
    except msgspec.ValidationError:
        raise _incomplete(version) from None


def _incomplete(version: SignedVersion) -> VerificationError:
    return VerificationError(
        f"The scan of {version.about} does not say which of its files is the model: push it again.",
        code="scan-incomplete",
    )
