"""What models that never saw a row think of its label: probabilities out of fold, from models of different kinds."""

from __future__ import annotations

from typing import Any

import numpy as np

from casemate.screening.columns import Bools, Floats, Ints, Rows

FOLDS = 5
FITTED = 4000  # rows that a model is fitted on at most; the others are only judged
_EXACT = 6000  # rows of a table up to which the kernel machine is fitted whole, and not on a sketch of its kernel
_JUDGED = 20_000  # rows judged at a time
_FLOOR = 1e-4  # least probability, so that one model alone never decides
_HELD = 6.0  # spreads; no single value outweighs a row


def opinions(rows: Rows, *, seed: int, without: Bools | None = None, fitted: int = FITTED) -> Floats:
    """float64 (n, classes), > 0, rows sum to 1: how likely each class is, said by models that were not fitted on that row.

    The mean of a nearest-neighbour vote, a kernel machine and extremely randomised trees, over 5 folds.
    Args: without: rows that nothing is fitted on, since they are suspects. fitted: rows that a model learns from, at most.
    """
    rng = np.random.default_rng(seed)
    usable = np.ones(len(rows), bool) if without is None else ~without
    fold, scaled = _folds(rows.labels, rng), scaled_of(rows, usable)
    total = np.zeros((len(rows), len(rows.classes)))
    for number in range(FOLDS):
        learnt = np.flatnonzero(usable & (fold != number))
        learnt = rng.choice(learnt, fitted, replace=False) if len(learnt) > fitted else learnt
        judged = np.flatnonzero(fold == number)
        if len(np.unique(rows.labels[learnt])) < 2:
            total[judged] += 1.0
            continue
        for make in (_neighbours, kernel_machine, _trees):
            model = make(seed + number, len(learnt), len(rows)).fit(scaled[learnt], rows.labels[learnt])
            for start in range(0, len(judged), _JUDGED):
                part = judged[start : start + _JUDGED]
                total[np.ix_(part, model.classes_)] += probabilities(model, scaled[part])
    total = np.maximum(total / total.sum(1, keepdims=True), _FLOOR)
    return np.asarray(total / total.sum(1, keepdims=True))


def scaled_of(rows: Rows, usable: Bools | None = None) -> Floats:
    """float64 (n, d): the features of rows as `standardised`, each by its weight."""
    scaled = standardised(rows.features, usable)
    return scaled if rows.weights is None else np.asarray(scaled * rows.weights)


def standardised(features: Floats, usable: Bools | None = None) -> Floats:
    """Middle 0 and spread 1 by the rows that are no suspects, held within 6 spreads."""
    seen = features if usable is None or not usable.any() else features[usable]
    spread = seen.std(0)
    spread[spread < 1e-12] = 1.0
    return np.asarray(np.clip((features - seen.mean(0)) / spread, -_HELD, _HELD))


class Scale:
    """Middle and spread of features, by rows that are usable; `of` puts any rows of the table on it, held within 6 spreads."""

    def __init__(self, rows: Rows, usable: Bools | None = None, *, surface: bool = False) -> None:
        self._surface = surface and rows.surface is not None
        features = self._features(rows)
        seen = features if usable is None or not usable.any() else features[usable]
        self._middle, self._spread = seen.mean(0), seen.std(0)
        self._spread[self._spread < 1e-12] = 1.0
        self._weights = rows.weights if not self._surface else None

    def of(self, rows: Rows) -> Floats:
        """float64 (n, d)."""
        scaled = np.clip((self._features(rows) - self._middle) / self._spread, -_HELD, _HELD)
        return scaled if self._weights is None else np.asarray(scaled * self._weights)

    def _features(self, rows: Rows) -> Floats:
        return rows.surface if self._surface and rows.surface is not None else rows.features


def models_of(scaled: Floats, labels: Ints, seed: int, *, many: bool) -> list[Any]:
    """A nearest-neighbour vote, a kernel machine and trees, fitted on these rows. Args: many: rows are judged by the million."""
    rows = _EXACT + 1 if many else len(labels)
    makers = (_neighbours, kernel_machine, _trees)
    return [make(seed, len(labels), rows).fit(scaled, labels) for make in makers]


def said_by(models: list[Any], scaled: Floats, width: int) -> Floats:
    """float64 (n, width), > 0, rows sum to 1: the mean of what models say."""
    total = np.zeros((len(scaled), width))
    for model in models:
        total[:, model.classes_] += probabilities(model, scaled)
    total = np.maximum(total / total.sum(1, keepdims=True), _FLOOR)
    return np.asarray(total / total.sum(1, keepdims=True))


def _folds(labels: Ints, rng: np.random.Generator) -> Ints:
    """int64 (n,) in 0..FOLDS-1; each class is spread evenly."""
    order = rng.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    found = np.empty(len(labels), np.int64)
    found[order] = np.arange(len(labels)) % FOLDS
    return found


def probabilities(model: Any, scaled: Floats) -> Floats:
    """Probabilities; of a machine that has margins only, their softmax."""
    if hasattr(model, "predict_proba"):
        return np.asarray(model.predict_proba(scaled))
    margins = np.asarray(model.decision_function(scaled))
    margins = np.column_stack([-margins, margins]) if margins.ndim == 1 else 2 * margins
    powers = np.exp(margins - margins.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))


def _neighbours(_seed: int, learnt: int, _rows: int) -> Any:
    from sklearn.neighbors import KNeighborsClassifier

    return KNeighborsClassifier(n_neighbors=min(9, learnt), weights="distance", algorithm="brute")


def kernel_machine(seed: int, learnt: int, rows: int) -> Any:
    """Fitted on so many of so many rows: whole, or on a sketch of its kernel."""
    if rows <= _EXACT:
        from sklearn.svm import SVC

        return SVC(C=3.0, gamma="scale", random_state=seed)
    from sklearn.kernel_approximation import Nystroem
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    sketch = Nystroem(n_components=min(400, learnt), random_state=seed)
    return make_pipeline(sketch, LogisticRegression(C=10.0, max_iter=200))


def _trees(seed: int, _learnt: int, _rows: int) -> Any:
    from sklearn.ensemble import ExtraTreesClassifier

    return ExtraTreesClassifier(40, min_samples_leaf=3, random_state=seed, n_jobs=1)
