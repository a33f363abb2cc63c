"""Where a model does worse than on the whole, and whether it treats groups of people alike."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from casemate.evaluation.answers import Array, Floats
from casemate.evaluation.report import LEAST_OF_GROUP, Group, Part
from casemate.evaluation.statistics import mean_interval, proportion_interval

Ints = npt.NDArray[np.int64]
_MOST = 50  # values of one column, the commonest
_LEAST_OF_RATE = 10  # rows that could have it


def slices_of(
    parts: Mapping[str, Array], *, right: npt.NDArray[np.bool_] | None, error: Floats | None
) -> tuple[Part, ...]:
    """Accuracy, or mean absolute error of numbers, in each slice of at least 30 rows, the worst first.

    The intervals hold for all slices together, so that the worst of many is not mistaken for a finding.
    Args: right: (n,), of classes; or error: (n,) absolute.
    """
    cut = [
        (column, name, mask)
        for column, values in parts.items()
        for name, mask in _values(values)
        if mask.sum() >= LEAST_OF_GROUP
    ]
    found = []
    for column, name, mask in cut:
        rows = int(mask.sum())
        if right is not None:
            hits = int(right[mask].sum())
            value, interval = hits / rows, proportion_interval(hits, rows, many=len(cut))
        else:
            assert error is not None
            value, interval = float(error[mask].mean()), mean_interval(error[mask], many=len(cut))
        metric = "mae" if right is None else "accuracy"
        found.append(Part(column=column, name=name, rows=rows, metric=metric, value=value, interval=interval))
    return tuple(sorted(found, key=lambda one: one.value if right is not None else -one.value))


def groups_of(values: Array, column: str, *, truth: Ints, given: Ints, good: int) -> tuple[Group, ...]:
    """How each group of at least 30 rows is treated. Args: good: place of the class that counts as the good outcome."""
    found = []
    chosen = [(name, mask) for name, mask in _values(values) if mask.sum() >= LEAST_OF_GROUP]
    for name, mask in chosen:
        picked, owed = given[mask] == good, truth[mask] == good
        found.append(
            Group(
                column=column,
                name=name,
                rows=int(mask.sum()),
                selected=float(picked.mean()),
                interval=proportion_interval(int(picked.sum()), int(mask.sum()), many=len(chosen)),
                true_positive=_rate(picked, owed),
                false_positive=_rate(picked, ~owed),
                accuracy=float((given[mask] == truth[mask]).mean()),
            )
        )
    return tuple(found)


def bias_figures(groups: tuple[Group, ...]) -> dict[str, float]:
    """Differences between the groups of one column that are farthest apart; what cannot be told is left out.

    Source: demographic parity and the four-fifths rule (29 CFR 1607.4 D), equal opportunity and equalised odds (Hardt 2016).
    """
    if len(groups) < 2:
        return {}
    rates = [one.selected for one in groups]
    found = {"demographic_parity": max(rates) - min(rates)}
    if max(rates) > 0:
        found["disparate_impact"] = min(rates) / max(rates)
    hits, misses = [one.true_positive for one in groups], [one.false_positive for one in groups]
    if (apart := _apart(hits)) is not None:
        found["equal_opportunity"] = apart
        if (also := _apart(misses)) is not None:
            found["equalised_odds"] = max(apart, also)
    return found


def _apart(rates: list[float | None]) -> float | None:
    known = [rate for rate in rates if rate is not None]
    return max(known) - min(known) if len(known) == len(rates) else None


def _rate(picked: npt.NDArray[np.bool_], among: npt.NDArray[np.bool_]) -> float | None:
    return float(picked[among].mean()) if among.sum() >= _LEAST_OF_RATE else None


def _values(values: Array) -> list[tuple[str, npt.NDArray[np.bool_]]]:
    names, counts = np.unique(values, return_counts=True)
    common = names[np.argsort(-counts, kind="stable")][:_MOST]
    return [(str(name), values == name) for name in common]
