"""The signed statement of a screening: an in-toto statement beside the version's others, sealed,
since it names rows, classes and contributors."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from casemate.registry.screening_records import ScreeningRecord
from casemate.registry.sealed_statements import keep_sealed, open_sealed
from casemate.registry.stores import Pen, Stores
from casemate.registry.versions import Version
from casemate.screening import ScreeningReport
from casemate.signing import Predicate, VersionIdentity, sign_statement

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
    keep_sealed(stores, version, Predicate.SCREENING, envelope)


def open_statement(stores: Stores, version: Version, record: ScreeningRecord) -> dict[str, Any]:
    """What was said of the last screening of a version. Args: record: as the ledger has it.

    Raises: VerificationError `screening-missing`, `screening-altered`, and as `verify_statement`.
    """
    again = f"casemate dataset screen {version.about.name}@{version.number}"
    return open_sealed(stores, version, Predicate.SCREENING, record.statement, what="screening", again=again)
