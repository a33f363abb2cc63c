"""Thresholds that a version must meet before it is promoted: how they are written, and how figures are judged by them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from casemate.core import InputError

# What may stand in a gate, and what each is. A figure that an evaluation did not measure is not among its figures.
METRICS: Final = {
    "rows": "rows that were evaluated",
    "overlap": "share of these rows whose numbers the training dataset has, too",
    "accuracy": "share of rows whose class is right",
    "balanced_accuracy": "the mean, over classes, of the share that is right",
    "f1": "the mean F1 over classes",
    "auc": "area under the ROC curve",
    "lift": "accuracy above that of always saying the commonest class",
    "rmse": "root of the mean squared error",
    "mae": "mean absolute error",
    "r2": "share of the variance that is explained",
    "ece": "expected calibration error",
    "brier": "Brier score, from 0 to 1",
    "worst_slice": "accuracy, or mean absolute error, in the worst slice",
    "slice_gap": "how much worse that is than on all rows",
    "demographic_parity": "difference between groups in how often they get the good outcome",
    "disparate_impact": "ratio of the lowest of these rates to the highest",
    "equal_opportunity": "difference between groups in the true positive rate",
    "equalised_odds": "difference between groups in true or false positive rate, the larger",
    "membership_auc": "area under the ROC curve of the membership attack",
    "membership_tpr_1pct": "members that it finds while 1 % of others are taken for members",
    "membership_tpr_01pct": "the same at 0.1 %; left out where there are too few rows to tell",
    "attribute_advantage": "how much better a column is guessed with the model than without",
    "evasion_accuracy": "accuracy under the evasion attack, a quarter of a spread away in each feature",
}
_GATE = re.compile(r"\s*([a-z][a-z0-9_]*)\s*(>=|<=)\s*([0-9]+(?:\.[0-9]+)?|\.[0-9]+)\s*\Z")


class Gate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Args: bound: `>=` or `<=`. stated: somebody set it: what was not measured then fails; a default is passed over."""

    metric: str
    bound: str
    value: float
    stated: bool = True

    def __str__(self) -> str:
        return f"{self.metric}{self.bound}{self.value:g}"


def _default(metric: str, bound: str, value: float) -> Gate:
    return Gate(metric=metric, bound=bound, value=value, stated=False)


# What holds where nobody set another of the same metric. They catch what no model should do, and know nothing of the task.
DEFAULT_GATES: Final = (
    _default("rows", ">=", 100),  # an accuracy of 0.9 on 100 rows lies between 0.82 and 0.95
    _default("overlap", "<=", 0.05),  # figures on training rows say nothing; a few equal rows are chance
    _default("balanced_accuracy", ">=", 0.6),  # 0.5 is guessing between two classes
    _default("r2", ">=", 0.1),  # 0 is always saying the mean
    _default("ece", "<=", 0.15),
    _default("membership_tpr_1pct", "<=", 0.1),  # ten times what guessing finds
    _default("disparate_impact", ">=", 0.8),  # the four-fifths rule
    _default("equalised_odds", "<=", 0.2),
    _default("attribute_advantage", "<=", 0.1),
)


class GateResult(msgspec.Struct, frozen=True, kw_only=True):
    """Args: found: None where it was not measured. passed: None where that is no failure either."""

    gate: str
    metric: str
    found: float | None
    passed: bool | None
    stated: bool


def parse_gate(text: str) -> Gate:
    """`accuracy>=0.9`. Raises: InputError `bad-gate`."""
    found = _GATE.match(text)
    if found is None or found[1] not in METRICS:
        raise InputError(
            f"{text[:80]!r} is no gate: write METRIC>=NUMBER or METRIC<=NUMBER, with one of {', '.join(METRICS)}.",
            code="bad-gate",
        )
    return Gate(metric=found[1], bound=found[2], value=float(found[3]))


def in_force(stated: Iterable[Gate]) -> tuple[Gate, ...]:
    """The gates that somebody set, and the defaults of all other metrics."""
    kept = tuple(stated)
    named = {gate.metric for gate in kept}
    return (*kept, *(gate for gate in DEFAULT_GATES if gate.metric not in named))


def judged(figures: Mapping[str, float], gates: Iterable[Gate]) -> tuple[GateResult, ...]:
    """Each gate with what was found; the failed ones first."""
    results = []
    for gate in gates:
        found = figures.get(gate.metric)
        passed: bool | None = None
        if found is not None:
            passed = found >= gate.value if gate.bound == ">=" else found <= gate.value
        elif gate.stated:
            passed = False
        results.append(GateResult(gate=str(gate), metric=gate.metric, found=found, passed=passed, stated=gate.stated))
    return tuple(sorted(results, key=lambda one: (one.passed is not False, one.passed is None)))


def has_passed(results: Iterable[GateResult]) -> bool:
    """Whether none failed."""
    return all(one.passed is not False for one in results)
