"""Exact bounds on rates, and how many of many alarms are false."""

from __future__ import annotations

import numpy as np
from scipy.stats import beta, binom

from casemate.screening.columns import Bools, Floats


def rate_bound(hits: Floats, tries: Floats, *, confidence: float = 0.99) -> Floats:
    """float64 (k,): a rate below which the true one lies only once in 1 / (1 - confidence). Source: Clopper and Pearson, 1934."""
    hits = np.asarray(hits, np.float64)
    return np.where(hits > 0, beta.ppf(1 - confidence, np.maximum(hits, 1), np.asarray(tries) - hits + 1), 0.0)


def above(hits: Floats, tries: Floats, rate: Floats) -> Floats:
    """float64 (k,): how likely so many hits, or more, are by chance at `rate`. Exact."""
    return np.asarray(binom.sf(np.asarray(hits) - 1, tries, rate), np.float64)


def discovered(chances: Floats, *, rate: float = 0.01) -> Bools:
    """bool (k,): those that stand out although so many were looked at; at most `rate` of them are false on average.

    Source: Benjamini and Hochberg, 1995.
    """
    count = len(chances)
    order = np.argsort(chances)
    passing = np.flatnonzero(chances[order] <= rate * np.arange(1, count + 1) / max(count, 1))
    found = np.zeros(count, bool)
    if len(passing):
        found[order[: passing[-1] + 1]] = True
    return found
