"""What a screening gives back, and its bounds."""

from __future__ import annotations

import msgspec

from casemate.core import Digest, Finding, Verdict

LISTED = 10_000  # rows that one finding lists; it counts all


class ScreeningConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of the detectors. The defaults were tuned on `wine` and made-up data (docs/screening.md), not on what they are measured on.

    Args:
        label_error: Probability, above which a label is called wrong.
        trigger: Score of `find_triggers`, above which a row is named. trigger_rows: that at least so many must exceed.
        outlier: Score of `outlier_scores`. duplicates: rows of a cluster. limit: share of the rows that one contributor may give.
        feedback: Rows that one contributor may give of a table whose labels users gave; 0: it is no such table.
        seed: of all that is drawn: the same rows and seed give the same report.
    """

    label_error: float = 0.5
    trigger: float = 1.0
    trigger_rows: int = 3
    outlier: float = 1.0
    duplicates: int = 5
    limit: float = 0.5
    feedback: int = 0
    seed: int = 20260101


class Suspect(msgspec.Struct, frozen=True, kw_only=True):
    """One row. Args: row: from 0, in the order of the table. score: as high as the rule is sure; see the rule. digest: names it in a
    verdict. contributor: empty where no column says."""

    row: int
    score: float
    digest: Digest
    contributor: str = ""


class Suspicion(msgspec.Struct, frozen=True, kw_only=True):
    """A finding, with its rows, the highest score first. Args: count: of all; `suspects` lists at most 10,000."""

    finding: Finding
    count: int
    suspects: tuple[Suspect, ...]


class ScreeningReport(msgspec.Struct, frozen=True, kw_only=True):
    """Holds no value of any row, but the names of classes and contributors.

    Args: verdict: REFUSED when a finding is high. thresholds: as used, after what people said. skipped: what was not looked at, and why.
    """

    verdict: Verdict
    rows: int
    suspicions: tuple[Suspicion, ...]
    thresholds: dict[str, float]
    skipped: tuple[str, ...] = ()
