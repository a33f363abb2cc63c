"""Poisoned and mislabelled rows in a labelled table, found before a model learns from them.

    found = screen(rows_of(features, labels, contributors=who, times=when))
    for suspicion in found.report.suspicions: ...

`screen_dataset` does the same in the sandbox, to a Parquet file. Needs no home. What it does not stop: docs/screening.md.
"""

from casemate.screening.columns import Rows, rows_of, rows_of_table
from casemate.screening.confined import ROW_NUMBER, Quarantine, screen_dataset
from casemate.screening.report import ScreeningConfig, ScreeningReport, Suspect, Suspicion
from casemate.screening.screen import Screened, screen
from casemate.screening.verdicts import HumanVerdict, Judged, read_verdicts

__all__ = [
    "ROW_NUMBER",
    "HumanVerdict",
    "Judged",
    "Quarantine",
    "Rows",
    "Screened",
    "ScreeningConfig",
    "ScreeningReport",
    "Suspect",
    "Suspicion",
    "read_verdicts",
    "rows_of",
    "rows_of_table",
    "screen",
    "screen_dataset",
]
