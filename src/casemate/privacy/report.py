"""What a look for personal data gives back, and its bounds."""

from __future__ import annotations

import msgspec

from casemate.core import DataClass, Finding, Severity, Verdict
from casemate.privacy.contacts import REGIONS
from casemate.privacy.kinds import Kind, Treatment
from casemate.scanning.rules import Rule


class PersonalConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of a look. The defaults were tuned on the tuning halves of `bench/personal_corpus.py`.

    Args:
        least: Confidence below which a value is not counted. regions: countries whose telephone numbers may stand without a +.
        share: Share of a column of codes that must be of one kind, where neither the name nor the form is proof.
        unique: Share of rows that are alone with their birth date, post code, age and sex, above which these name people.
        second_opinion: Ask Presidio too, where it is installed (`casemate[presidio]`).
    """

    least: float = 0.5
    regions: tuple[str, ...] = REGIONS
    share: float = 0.5
    unique: float = 0.05
    second_opinion: bool = False


class FoundKind(msgspec.Struct, frozen=True, kw_only=True):
    """One kind in one column.

    Args: count: cells that hold it. share: of the cells that are not empty. whole: share of the cells that are nothing else.
        example: a cell's form: letters are x, digits are 9. by: the recognisers, `column-name` among them.
    """

    kind: Kind
    count: int
    share: float
    whole: float
    confidence: float
    example: str
    by: tuple[str, ...]


class ColumnReport(msgspec.Struct, frozen=True, kw_only=True):
    """One column. Args: type: as in schema.json. kinds: the surest first; empty: nothing was found. treatment: proposed. data_class:
    the lowest that covers it, None where it holds nothing of a person."""

    name: str
    type: str
    values: int
    distinct: int
    kinds: tuple[FoundKind, ...]
    treatment: Treatment
    data_class: DataClass | None


class PersonalReport(msgspec.Struct, frozen=True, kw_only=True):
    """Holds no value of any cell.

    Args: verdict: REFUSED when `declared` does not cover what was found. declared, proposed: data classes. quasi: columns that name
        people together. unique: share of the rows that are alone with their values of these. skipped: what was not looked at, and why.
    """

    verdict: Verdict
    rows: int
    declared: DataClass
    proposed: DataClass
    columns: tuple[ColumnReport, ...]
    quasi: tuple[str, ...]
    unique: float
    findings: tuple[Finding, ...]
    skipped: tuple[str, ...] = ()


_PRIVACY = ("NIST-AI-RMF:MEASURE-2.10", "OWASP-LLM:LLM02", "ATLAS:AML.T0057")
_NEXT = "Push it under a class that covers it (--data-class), or make a clean copy: casemate dataset anonymize."
NOT_COVERED = Rule(
    id="personal-data",
    title="Personal data that the declared class does not cover",
    severity=Severity.HIGH,
    remediation=_NEXT,
    references=_PRIVACY,
)
COVERED = Rule(
    id="personal-data-covered",
    title="Personal data, under a class that covers it",
    severity=Severity.INFO,
    remediation="Keep only the columns that the purpose needs.",
    references=_PRIVACY,
)
QUASI_ALONE = Rule(
    id="quasi-identifiers",
    title="Columns that name people when they are put together",
    severity=Severity.MEDIUM,
    remediation="Generalise them, and measure k: casemate dataset anonymize.",
    references=_PRIVACY,
)
QUASI_UNIQUE = Rule(
    id="quasi-identifiers-unique",
    title="Many rows are alone with their birth date, post code, age and sex",
    severity=Severity.HIGH,
    remediation=_NEXT,
    references=_PRIVACY,
)
NO_PURPOSE = Rule(
    id="personal-without-purpose",
    title="Personal data, and nobody says what for",
    severity=Severity.HIGH,
    remediation="Say what models may be trained for on it: --purpose NAME, which may be repeated, or --purpose any.",
    references=_PRIVACY,
)
