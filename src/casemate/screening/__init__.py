"""Poisoned and mislabelled rows in a labelled table, found before a model learns from them.

    found = screen(rows_of(features, labels, contributors=who, times=when))
    for suspicion in found.report.suspicions: ...

`screen_dataset` does the same in the sandbox, to a Parquet file. Needs no home. What it does not stop: docs/screening.md.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from casemate.screening.asked import MakeJudges
    from casemate.screening.columns import Rows, rows_of
    from casemate.screening.confined import ROW_NUMBER, Quarantine, screen_dataset
    from casemate.screening.ray_judges import RayJudges
    from casemate.screening.report import ScreeningConfig, ScreeningReport, Suspect, Suspicion
    from casemate.screening.screened import Screened, screen
    from casemate.screening.tables import rows_of_table
    from casemate.screening.verdicts import HumanVerdict, Judged, read_verdicts

# Found when first asked for: a keeper and a gateway need the words of this room, and not its libraries.
_PLACES = {
    "HumanVerdict": "verdicts",
    "Judged": "verdicts",
    "MakeJudges": "asked",
    "Quarantine": "confined",
    "RayJudges": "ray_judges",
    "ROW_NUMBER": "confined",
    "Rows": "columns",
    "Screened": "screened",
    "ScreeningConfig": "report",
    "ScreeningReport": "report",
    "Suspect": "report",
    "Suspicion": "report",
    "read_verdicts": "verdicts",
    "rows_of": "columns",
    "rows_of_table": "tables",
    "screen": "screened",
    "screen_dataset": "confined",
}

__all__ = [
    "ROW_NUMBER",
    "HumanVerdict",
    "Judged",
    "MakeJudges",
    "Quarantine",
    "RayJudges",
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


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
