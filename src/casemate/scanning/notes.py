"""What an inspection has found so far, and how much work it may still do."""

from __future__ import annotations

from casemate.core import Finding
from casemate.scanning.limits import ScanLimits
from casemate.scanning.rules import ARCHIVE_BOMB, SCAN_LIMIT, Rule

_MOST_FINDINGS = 100
_MOST_OF_ONE_RULE = 20


class RefusedError(Exception):
    """Parsing cannot go on: the rule that was broken, and the evidence."""

    def __init__(self, rule: Rule, evidence: str) -> None:
        super().__init__(evidence)
        self.rule, self.evidence = rule, evidence


class Notes:
    """Collects findings, each once, and counts work against the limits."""

    def __init__(self, limits: ScanLimits) -> None:
        self.limits = limits
        self.findings: list[Finding] = []
        self._operations = self._expanded = self._entries = 0

    def add(self, rule: Rule, evidence: str, location: str, *, confidence: float = 1.0, remediation: str = "") -> None:
        finding = rule.found(evidence, location=location, confidence=confidence, remediation=remediation)
        same = sum(known.id == finding.id for known in self.findings)
        if finding not in self.findings and same < _MOST_OF_ONE_RULE and len(self.findings) < _MOST_FINDINGS:
            self.findings.append(finding)

    def refuse(self, refused: RefusedError, location: str) -> None:
        self.add(refused.rule, refused.evidence, location)

    def work(self, operations: int = 1) -> None:
        """Raises: RefusedError when the inspection has done all that it may."""
        self._operations += operations
        if self._operations > self.limits.operations:
            raise RefusedError(SCAN_LIMIT, f"more than {self.limits.operations} operations")

    def expand(self, size: int) -> None:
        """Raises: RefusedError when archives have unpacked to all that they may."""
        self._expanded += size
        if self._expanded > self.limits.expanded_bytes:
            raise RefusedError(ARCHIVE_BOMB, f"unpacks to more than {self.limits.expanded_bytes} bytes")

    def enter(self) -> None:
        """Raises: RefusedError when archives have had all members that they may."""
        self._entries += 1
        if self._entries > self.limits.entries:
            raise RefusedError(ARCHIVE_BOMB, f"more than {self.limits.entries} members")

    def expandable(self, packed: int) -> int:
        """To how many bytes `packed` bytes may unpack now."""
        by_ratio = max(1 << 20, packed * self.limits.ratio)
        return min(by_ratio, self.limits.expanded_bytes - self._expanded)
