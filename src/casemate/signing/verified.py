"""What comes out of the store, and what has earned to be loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, Self

import msgspec

from casemate.core import AssetKind, Digest, SealedFile, ServedFile, Signature, Verdict, VerificationError, digest_of
from casemate.signing.bundle import compare_files, verify_files
from casemate.signing.provenance import PROVENANCE
from casemate.signing.statements import Statement, VersionIdentity, verify_statement
from casemate.signing.trust import Predicate, TrustPolicy


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


# Of a training or a conversion: what was so this once, and does not make another version: when, by whom, how long.
RUN: Final = "run"


class _File(msgspec.Struct, frozen=True, kw_only=True):
    digest: Digest
    size: int


class _Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a version's manifest that verification reads."""

    schema: Literal[1]
    project: str
    kind: AssetKind
    name: str
    files: dict[str, _File]
    signature: Signature | None = None
    lineage: dict[str, Any] | None = None
    conversion: dict[str, Any] | None = None


class _Result(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a conversion's facts that verification reads: the file that it wrote."""

    path: str
    digest: Digest


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
            signature=_read_manifest(version).signature,
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
    manifest = _read_manifest(version)
    statements = {
        predicate: verify_statement(_required(version, predicate), predicate, version.about, trust=trust, at=at)
        for predicate in _predicates(manifest)
    }
    bundle = _required(version, Predicate.FILES)
    if statements[Predicate.RELEASE].facts.get("bundle") != digest_of(bundle):
        raise VerificationError(
            f"The signature bundle of {version.about} is not the one that was released.", code="bundle-mismatch"
        )
    verify_files(bundle, found, trust=trust, at=at)
    compare_files({path: entry.digest for path, entry in manifest.files.items()}, found)
    _check_facts(version, manifest, statements)
    return statements


def _predicates(manifest: _Manifest) -> list[Predicate]:
    wanted = [Predicate.RELEASE]
    if manifest.kind is AssetKind.MODEL:
        wanted.append(Predicate.SCAN)
    if manifest.lineage is not None:
        wanted.append(Predicate.TRAINING)
    if manifest.conversion is not None:
        wanted.append(Predicate.CONVERSION)
    return wanted


def _check_facts(version: SignedVersion, manifest: _Manifest, statements: Mapping[Predicate, Statement]) -> None:
    if Predicate.SCAN in statements:
        scan = _read_scan(version, statements[Predicate.SCAN])
        if scan.verdict != Verdict.CLEAN:
            raise VerificationError(f"The scan of {version.about} was not clean.", code="scan-not-clean")
        if scan.served is not None and scan.served.path not in manifest.files:
            raise _incomplete(version)
    if isinstance(outside := (manifest.lineage or {}).get("outside"), dict):
        _check_outside(version, outside)
    training = statements.get(Predicate.TRAINING)
    if training and _lasting(training) != manifest.lineage:
        raise VerificationError(
            f"The training statement of {version.about} tells another origin than its manifest.",
            code="lineage-mismatch",
        )
    if Predicate.CONVERSION in statements:
        _check_conversion(version, manifest, statements[Predicate.CONVERSION])


def verify_conversion(version: SignedVersion, *, trust: TrustPolicy, at: datetime) -> Statement:
    """Return what a trusted signer said of the conversion that gave this version; its files are not read.

    Raises: VerificationError with the codes of `verify_statement`, and `manifest-changed`, `manifest-malformed`,
        `conversion-missing`, `conversion-mismatch`.
    """
    manifest, predicate = _read_manifest(version), Predicate.CONVERSION
    said = verify_statement(_required(version, predicate), predicate, version.about, trust=trust, at=at)
    _check_conversion(version, manifest, said)
    return said


def _check_conversion(version: SignedVersion, manifest: _Manifest, conversion: Statement) -> None:
    if _lasting(conversion) != manifest.conversion or not _is_result(conversion, manifest):
        raise VerificationError(
            f"The conversion that is signed of {version.about} is another one than its manifest has, or not of its file.",
            code="conversion-mismatch",
        )


def _lasting(statement: Statement) -> dict[str, Any]:
    """What makes the version: all but what was so this once."""
    return {name: fact for name, fact in statement.facts.items() if name != RUN}


def _is_result(conversion: Statement, manifest: _Manifest) -> bool:
    """Whether the file that came out of a conversion is the version's own, and its only one."""
    try:
        result = msgspec.convert(conversion.facts.get("result"), _Result)
    except msgspec.ValidationError:
        return False
    return {path: entry.digest for path, entry in manifest.files.items()} == {result.path: result.digest}


def _check_outside(version: SignedVersion, outside: Mapping[str, Any]) -> None:
    """What is stored of an outside trainer's word is what was believed at the push: the signed manifest has its digest."""
    stored = version.attestations.get(PROVENANCE)
    if stored is None:
        raise VerificationError(
            f"The provenance of {version.about} was removed from the home: restore it from a backup.",
            code="provenance-missing",
        )
    if digest_of(stored) != outside.get("envelope"):
        raise VerificationError(
            f"The provenance of {version.about} is not the one that was checked at its push.", code="provenance-altered"
        )


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


def _read_manifest(version: SignedVersion) -> _Manifest:
    about = version.about
    if digest_of(version.manifest) != about.digest:
        raise VerificationError(f"The manifest of {about} was altered.", code="manifest-changed")
    try:
        manifest = msgspec.json.decode(version.manifest, type=_Manifest)
    except ValueError as error:
        raise VerificationError(f"The manifest of {about} cannot be read.", code="manifest-malformed") from error
    if (manifest.project, manifest.kind, manifest.name) != (about.project, about.kind, about.name):
        raise VerificationError(
            f"The manifest at {about} belongs to {manifest.project}/{manifest.kind}/{manifest.name}.",
            code="name-mismatch",
        )
    return manifest


def _required(version: SignedVersion, predicate: Predicate) -> bytes:
    try:
        return version.attestations[predicate]
    except KeyError:
        raise VerificationError(
            f"{version.about} has no signature of type {predicate}: push it again.",
            code="conversion-missing" if predicate is Predicate.CONVERSION else "signature-missing",
        ) from None
