"""The signed statement of a screening: an in-toto statement beside the version's others, and the only one that is sealed,
since it names rows, classes and contributors."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import delete, insert, select

from casemate.core import NotFoundError, VerificationError, canonical, digest_of, new_id, rfc3339
from casemate.registry.screening_records import ScreeningRecord
from casemate.registry.stores import Pen, Stores
from casemate.registry.versions import Version, signed_version
from casemate.screening import ScreeningReport
from casemate.signing import Predicate, VersionIdentity, sign_statement, verify_statement
from casemate.storage.database import attestations, versions

MOST_LISTED = 1000  # rows of one finding, the highest; a statement stays below 16 MiB
_MOST = 20_000  # rows of all findings
_MOST_FINDINGS = 500
_SEVERITIES = ("critical", "high", "medium", "low", "info")


def signed_report(
    pen: Pen, about: VersionIdentity, report: ScreeningReport, facts: dict[str, Any], *, at: datetime
) -> bytes:
    """A signed envelope that holds the report, and what else is said of the screening."""
    said = {**facts, "report": msgspec.to_builtins(shortened(report))}
    return sign_statement(Predicate.SCREENING, about, said, signer=pen.signer, at=at)


def shortened(report: ScreeningReport) -> ScreeningReport:
    """The same counts with fewer rows listed: the 1,000 highest of a finding, 20,000 in all; the highest findings first."""
    left, kept = _MOST, []
    ranked = sorted(report.suspicions, key=lambda one: _SEVERITIES.index(one.finding.severity.value))
    for one in ranked[:_MOST_FINDINGS]:
        listed = one.suspects[: min(MOST_LISTED, left)]
        left -= len(listed)
        kept.append(msgspec.structs.replace(one, suspects=listed))
    return msgspec.structs.replace(report, suspicions=tuple(kept))


def keep_statement(stores: Stores, version: Version, envelope: bytes) -> None:
    """Store it, sealed, in the place of an earlier one. It counts once the ledger names its digest.

    It goes with the version's rows when that is deleted. Raises: NotFoundError: it was deleted meanwhile.
    """
    about = version.about
    sealed = stores.cipher.seal(envelope, _context(about))
    row = (attestations.c.version_digest == about.digest, attestations.c.project == about.project)
    with stores.engine.begin() as connection:
        intent = connection.execute(
            select(versions.c.intent).where(versions.c.id == version.id, versions.c.state == "live")
        ).scalar()
        if intent is None:
            raise NotFoundError(f"{about} was deleted meanwhile.", code="not-found")
        connection.execute(delete(attestations).where(*row, attestations.c.predicate_type == Predicate.SCREENING.value))
        connection.execute(
            insert(attestations).values(
                id=new_id("att"),
                project=about.project,
                version_digest=about.digest,
                predicate_type=Predicate.SCREENING.value,
                envelope=sealed,
                created_at=rfc3339(stores.clock.now()),
                intent=intent,  # of the push, so that both go together
            )
        )


def open_statement(stores: Stores, version: Version, record: ScreeningRecord) -> dict[str, Any]:
    """What was said of the last screening of a version. Args: record: as the ledger has it.

    Raises: VerificationError `screening-missing`, `screening-altered`, and as `verify_statement`.
    """
    sealed = signed_version(stores, version).attestations.get(Predicate.SCREENING)
    if sealed is None:
        raise _problem(version, "is gone", code="screening-missing")
    envelope = stores.cipher.open(sealed, _context(version.about))
    if digest_of(envelope) != record.statement:
        raise _problem(version, "is not the one on record", code="screening-altered")
    trust, at = stores.trust(), stores.clock.now()
    return verify_statement(envelope, Predicate.SCREENING, version.about, trust=trust, at=at).facts


def _problem(version: Version, what: str, *, code: str) -> VerificationError:
    name = f"{version.about.name}@{version.number}"
    return VerificationError(
        f"What a screening said of {name} {what}: casemate dataset screen {name}, and find out who wrote to the home.",
        code=code,
    )


def _context(about: VersionIdentity) -> bytes:
    """What binds the sealed statement to its version."""
    return canonical({"screening": msgspec.to_builtins(about)})
