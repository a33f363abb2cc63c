"""What a scan, screening or check found."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Severity(StrEnum):
    INFO = "info"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class Verdict(StrEnum):
    CLEAN = "clean"
    REFUSED = "refused"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One fact that somebody should know.

    Args:
        id: Stable kebab-case id of the rule, e.g. `pickle-forbidden-import`.
        evidence: Where and what, short and printable; never a secret, never a row of data.
        remediation: What to do next, as an instruction.
        references: Ids in MITRE ATLAS, OWASP, AISVS, NIST AI RMF, e.g. `ATLAS:AML.T0011.000`.
    """

    id: str
    title: str
    severity: Severity
    evidence: str
    remediation: str
    confidence: float = 1.0
    location: str = ""
    references: tuple[str, ...] = ()


_REFUSING = frozenset({Severity.HIGH, Severity.CRITICAL})


def verdict_of(findings: list[Finding]) -> Verdict:
    """REFUSED when any finding is high or critical."""
    return Verdict.REFUSED if any(f.severity in _REFUSING for f in findings) else Verdict.CLEAN
