"""How often the model is still right when a row is changed a little, by somebody who may only ask it.

Two small attacks, of which the better counts for each row. `square`: signs of a random share of the features are drawn anew at the
bound, and kept where the model becomes less sure (after Andriushchenko 2020, arXiv 1912.00049). `boundary`: from the nearest row that the model
calls otherwise, halve the way until just across, then walk along the boundary (after Chen 2020, HopSkipJump, arXiv 1904.02144).
Distances are in spreads of each feature, so that a budget means the same for every column.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from casemate.evaluation.answers import Floats

Ints = npt.NDArray[np.int64]
BUDGETS = {"linf": (0.1, 0.25, 0.5), "l2": (0.25, 0.5, 1.0)}  # spreads
_HALVINGS = 12
_NEAREST = 5  # rows called otherwise that each row starts from


def evasion(
    features: Floats,
    truth: Ints,
    *,
    answers: Callable[[Floats], Floats],
    spread: Floats,
    steps: int,
    seed: int,
) -> dict[str, Any]:
    """Accuracy under attack for each budget, over rows that the model gets right or wrong alike.

    Args: features: (n, d), finite. answers: (m, d) -> (m, classes). spread: (d,) standard deviations, 0 for a constant.
        steps: questions about each row, for each budget.
    Returns: `clean`, `linf` and `l2` by budget, `queries` for each row in all, and `attack`.
    """
    random = np.random.default_rng(seed)
    scale = np.where(spread > 0, spread, 0.0)
    start = answers(features).argmax(axis=1)
    right = start == truth
    asked = len(features)

    def counted(rows: Floats) -> Floats:
        nonlocal asked
        asked += len(rows)
        return answers(rows)

    across = _nearest_across(features, start, scale, counted) if right.any() else np.empty((0, 0, 0))
    found: dict[str, Any] = {"rows": len(features), "clean": float(right.mean()), "linf": {}, "l2": {}}
    for norm, budgets in BUDGETS.items():
        standing = right.copy()  # who falls to a small budget falls to a larger one
        for budget in budgets:
            for attack in (_from_boundary, _square):
                left = np.flatnonzero(standing)
                if len(left):
                    fell = attack(
                        features[left], truth[left], across[left] if len(across) else None,
                        budget=budget, norm=norm, scale=scale, steps=steps, answers=counted, random=random,
                    )  # fmt: skip
                    standing[left[fell]] = False
            found[norm][f"{budget:g}"] = float(standing.mean())
    return {**found, "queries": asked / max(1, len(features)), "attack": "square and boundary, black box"}


def _square(
    rows: Floats, truth: Ints, _across: Floats | None, *, budget: float, norm: str, scale: Floats, steps: int,
    answers: Callable[[Floats], Floats], random: np.random.Generator,
) -> npt.NDArray[np.bool_]:  # fmt: skip
    """Which rows the random search turns. A feature that is constant is never changed."""
    count, width = rows.shape
    change = _bounded(random.choice([-1.0, 1.0], (count, width)) * budget, budget, norm, scale)
    margin = _margin(answers(rows + change * scale), truth)
    for step in range(steps):
        if (margin < 0).all():
            break
        share = max(1, round(width * (0.5 if step < steps // 4 else 0.2 if step < steps // 2 else 0.08)))
        picked = random.random((count, width)).argsort(axis=1) < share
        fresh = random.choice([-1.0, 1.0], (count, width)) if norm == "linf" else random.normal(size=(count, width))
        tried = _bounded(np.where(picked, fresh * budget, change), budget, norm, scale)
        said = _margin(answers(rows + tried * scale), truth)
        better = said < margin
        change[better], margin[better] = tried[better], said[better]
    return margin < 0


def _from_boundary(
    rows: Floats, truth: Ints, across: Floats | None, *, budget: float, norm: str, scale: Floats, steps: int,
    answers: Callable[[Floats], Floats], random: np.random.Generator,
) -> npt.NDArray[np.bool_]:  # fmt: skip
    """Which rows have a point across the boundary within the budget, near the way to a row that is called otherwise."""
    fell = np.zeros(len(rows), bool)
    if across is None or not across.shape[1]:
        return fell
    for place in range(across.shape[1]):
        way = np.where(scale > 0, (across[:, place] - rows) / np.where(scale > 0, scale, 1.0), 0.0)
        tried = _bounded(way, budget, norm, scale)
        fell |= _margin(answers(rows + tried * scale), truth) < 0
    way = np.where(scale > 0, (across[:, 0] - rows) / np.where(scale > 0, scale, 1.0), 0.0)
    for _ in range(max(1, steps // 8)):
        if fell.all():
            break
        length = np.linalg.norm(way, axis=1, keepdims=True)
        noise = random.normal(size=way.shape) * (scale > 0)
        noise *= 0.3 * length / np.maximum(np.linalg.norm(noise, axis=1, keepdims=True), 1e-12)
        nearer = (way + noise) * 0.95
        is_across = _margin(answers(rows + nearer * scale), truth) < 0
        size_before, size_now = _size(way, norm), _size(nearer, norm)
        better = is_across & (size_now < size_before)
        way[better] = nearer[better]
        fell |= better & (size_now <= budget)
    return fell


def _nearest_across(features: Floats, start: Ints, scale: Floats, answers: Callable[[Floats], Floats]) -> Floats:
    """(n, k, d): for each row, points just across the boundary on the way to its nearest rows that are called otherwise."""
    plain = features / np.where(scale > 0, scale, np.inf)
    apart = ((plain[:, None, :] - plain[None, :, :]) ** 2).sum(axis=2)
    apart[start[:, None] == start[None, :]] = np.inf
    if not np.isfinite(apart).any(axis=1).all():
        return np.empty((len(features), 0, features.shape[1]))
    most = min(_NEAREST, int(np.isfinite(apart).sum(axis=1).min()))
    nearest = np.argsort(apart, axis=1, kind="stable")[:, :most]
    low, high = np.zeros(nearest.shape), np.ones(nearest.shape)
    ends = features[nearest]
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        points = features[:, None, :] + middle[:, :, None] * (ends - features[:, None, :])
        said = answers(points.reshape(-1, features.shape[1])).argmax(axis=1).reshape(nearest.shape)
        crossed = said != start[:, None]
        high, low = np.where(crossed, middle, high), np.where(crossed, low, middle)
    return np.asarray(features[:, None, :] + high[:, :, None] * (ends - features[:, None, :]))


def _margin(probabilities: Floats, truth: Ints) -> Floats:
    """(n,) the truth's probability above the best other; below 0 the row is called otherwise, and a tie is told by order."""
    places = np.arange(len(truth))
    mine = probabilities[places, truth]
    others = probabilities.copy()
    others[places, truth] = -1.0
    margin = mine - others.max(axis=1)
    tied = (margin == 0) & (probabilities.argmax(axis=1) != truth)
    return np.where(tied, -1e-12, margin)


def _bounded(change: Floats, budget: float, norm: str, scale: Floats) -> Floats:
    """The same, no longer than the budget; in no feature that is constant."""
    change = change * (scale > 0)
    if norm == "linf":
        return np.clip(change, -budget, budget)
    length = np.linalg.norm(change, axis=1, keepdims=True)
    return np.asarray(change * np.minimum(1.0, budget / np.maximum(length, 1e-12)))


def _size(change: Floats, norm: str) -> Floats:
    return np.asarray(np.abs(change).max(axis=1) if norm == "linf" else np.linalg.norm(change, axis=1))
