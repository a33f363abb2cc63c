"""What a home signed of where a version comes from, held against its manifest: a training, a conversion, another's word."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from casemate.core import Digest, VerificationError, digest_of
from casemate.signing.provenance import PROVENANCE
from casemate.signing.statements import RUN, Statement, verify_statement
from casemate.signing.stored import SignedManifest, SignedVersion, read_manifest, required
from casemate.signing.training_statement import open_training
from casemate.signing.trust import Predicate, TrustPolicy


class _Result(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a conversion's facts that verification reads: the file that it wrote."""

    path: str
    digest: Digest


def is_run_here(lineage: Mapping[str, Any]) -> bool:
    """Whether the home itself ran the training, so that its statement is SLSA provenance."""
    return bool(lineage.get("script")) and "outside" not in lineage


def verify_training(version: SignedVersion, *, trust: TrustPolicy, at: datetime) -> Statement:
    """Return what a trusted signer said of the origin of this version, which names one; its files are not read.

    A training that the home ran is told as SLSA provenance; one from before that, and an origin that whoever pushed stated, as a
    statement of our own type.
    Raises: VerificationError with the codes of `verify_statement`, and `manifest-changed`, `manifest-malformed`,
        `signature-missing`, `lineage-mismatch`.
    """
    manifest, about, older = read_manifest(version), version.about, Predicate.TRAINING
    if is_run_here(manifest.lineage or {}) and older not in version.attestations:
        kept = {path: entry.digest for path, entry in manifest.kept.items()}
        said = open_training(required(version, PROVENANCE), about, manifest.digests, kept, trust=trust, at=at)
    else:
        said = verify_statement(required(version, older), older, about, trust=trust, at=at)
    if _lasting(said) != manifest.lineage:
        raise VerificationError(
            f"The training statement of {about} tells another origin than its manifest.", code="lineage-mismatch"
        )
    return said


def verify_conversion(version: SignedVersion, *, trust: TrustPolicy, at: datetime) -> Statement:
    """Return what a trusted signer said of the conversion that gave this version; its files are not read.

    Raises: VerificationError with the codes of `verify_statement`, and `manifest-changed`, `manifest-malformed`,
        `conversion-missing`, `conversion-mismatch`.
    """
    manifest, predicate = read_manifest(version), Predicate.CONVERSION
    envelope = required(version, predicate, code="conversion-missing")
    said = verify_statement(envelope, predicate, version.about, trust=trust, at=at)
    if _lasting(said) != manifest.conversion or not _is_result(said, manifest):
        raise VerificationError(
            f"The conversion that is signed of {version.about} is another one than its manifest has, or not of its file.",
            code="conversion-mismatch",
        )
    return said


def check_outside(version: SignedVersion, lineage: Mapping[str, Any]) -> None:
    """What is stored of an outside trainer's word is what was believed at the push: the signed manifest has its digest.

    Raises: VerificationError `provenance-missing`, `provenance-altered`.
    """
    outside = lineage.get("outside")
    if not isinstance(outside, dict):
        return
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


def _lasting(statement: Statement) -> dict[str, Any]:
    """What makes the version: all but what was so this once."""
    return {name: fact for name, fact in statement.facts.items() if name != RUN}


def _is_result(conversion: Statement, manifest: SignedManifest) -> bool:
    """Whether the file that came out of a conversion is the version's own, and its only one."""
    try:
        result = msgspec.convert(conversion.facts.get("result"), _Result)
    except msgspec.ValidationError:
        return False
    return manifest.digests == {result.path: result.digest}
