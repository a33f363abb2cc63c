"""How good, how fair and how leaky a model is, measured on rows that it was not fitted on.

    report = evaluate_dataset(parquet, ask, columns=Columns(label="ill", width=30))

`ask` is the model, behind its own walls; the rows are read, and everything is computed, in another confined process. Needs no
home. What the figures do not say: docs/evaluation.md.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from casemate.evaluation.answers import Ask, RawAnswer, answer_of
    from casemate.evaluation.confined import evaluate_dataset
    from casemate.evaluation.gates import DEFAULT_GATES, Gate, GateResult, judged, parse_gate
    from casemate.evaluation.report import Columns, EvaluationConfig, EvaluationReport

# Found when first asked for: a keeper and a gateway need the words of this room, and not its libraries.
_PLACES = {
    "Ask": "answers",
    "Columns": "report",
    "DEFAULT_GATES": "gates",
    "EvaluationConfig": "report",
    "EvaluationReport": "report",
    "Gate": "gates",
    "GateResult": "gates",
    "RawAnswer": "answers",
    "answer_of": "answers",
    "evaluate_dataset": "confined",
    "judged": "gates",
    "parse_gate": "gates",
}

__all__ = [
    "DEFAULT_GATES",
    "Ask",
    "Columns",
    "EvaluationConfig",
    "EvaluationReport",
    "Gate",
    "GateResult",
    "RawAnswer",
    "answer_of",
    "evaluate_dataset",
    "judged",
    "parse_gate",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
