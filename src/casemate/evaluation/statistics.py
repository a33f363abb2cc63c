"""Intervals and ranks: the few statistics that every part of an evaluation needs."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from casemate.evaluation.answers import Floats
from casemate.evaluation.report import Interval


def proportion_interval(hits: int, of: int, *, many: int = 1) -> Interval:
    """Of a share, at 95 %, over `many` such shares together (Bonferroni).

    Source: Clopper and Pearson 1934: exact, and never narrower than it says.
    """
    half = 0.025 / many
    low = float(stats.beta.ppf(half, hits, of - hits + 1)) if hits else 0.0
    high = float(stats.beta.ppf(1 - half, hits + 1, of - hits)) if hits < of else 1.0
    return Interval(low=low, high=high)


def mean_interval(values: Floats, *, many: int = 1) -> Interval:
    """Of a mean, by Student's t, at 95 % over `many` such means together. Args: values: (n,), n >= 2."""
    half = float(stats.t.ppf(1 - 0.025 / many, len(values) - 1)) * float(values.std(ddof=1)) / len(values) ** 0.5
    return Interval(low=float(values.mean()) - half, high=float(values.mean()) + half)


def area_under(scores: Floats, positive: npt.NDArray[np.bool_]) -> float:
    """Of the ROC curve: how often a positive scores above a negative, a tie counting half. Needs both."""
    ranks = stats.rankdata(scores)
    hits = int(positive.sum())
    return float((ranks[positive].sum() - hits * (hits + 1) / 2) / (hits * (len(scores) - hits)))


def area_interval(scores: Floats, positive: npt.NDArray[np.bool_]) -> Interval:
    """Of that area, at 95 %. Source: DeLong, DeLong and Clarke-Pearson 1988, by placement values."""
    first, second = scores[positive], scores[~positive]
    all_ranks = stats.rankdata(np.concatenate([first, second]))
    own = (all_ranks[: len(first)] - stats.rankdata(first)) / len(second)
    other = 1 - (all_ranks[len(first) :] - stats.rankdata(second)) / len(first)
    area = float(own.mean())
    spread = float(own.var(ddof=1) / len(first) + other.var(ddof=1) / len(second)) ** 0.5
    return Interval(low=max(0.0, area - 1.96 * spread), high=min(1.0, area + 1.96 * spread))


def rounded(value: Any) -> Any:
    """The same plain value with 6 digits: what is below that is noise, and differs from machine to machine."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {name: rounded(one) for name, one in value.items()}
    return [rounded(one) for one in value] if isinstance(value, list | tuple) else value
