"""Backdoors: rows whose label hangs on a few features that say it against all others, or that share one stamped value.

Four views of each row, none of which is enough alone (docs/screening.md has the figures of each):
  - against: neighbours in random halves of the features do not believe the label. A trigger of few features is missing from many
    halves, so what it hides in one shows in another; this does not weaken as the poisoned share grows.
  - stamped: the row has a value that its other features do not predict, and so have many others of its label, the same one.
  - spectral: how far it lies along the main direction of its class in a small network's representation
    (Tran et al., NeurIPS 2018), from the median, which a minority does not move.
  - together: the mean of the first two over its cluster of its class there (Chen et al., Activation Clustering, 2018).
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from scipy.stats import binom, poisson

from casemate.screening.columns import Floats, Ints, Rows
from casemate.screening.opinions import kernel_machine, probabilities, scaled_of, standardised
from casemate.screening.pieces import vocabulary_of, weigh_pieces

_HALVES = 24  # random halves of the features
_REFERENCE = 4000  # rows that others are compared with, at most
_LARGE, _LARGE_HALVES = 20_000, 12  # rows, from which on halves are fewer
_WEIGHED = (
    4000  # rows; of a larger table chance counts as in so many: what explains a value is never whole, and adds up
)
_NEIGHBOURS = 9
_CHUNK = 4000  # rows compared at a time
_SURPRISING = 2.5  # robust spreads from what the other features predict
_TIGHT = 0.003  # spreads; values of a column that is no grid are seldom so near each other
_FEW = 4  # rows that share a value, at least
_UNLIKE = 3.0  # spreads from the nearest rows
_LEAST_BELIEVED = 0.1  # share of a label, however little the neighbours think of it
_LOOKED_AT = 8  # halves in which values are compared, too
_WINDOW = 0.15  # spreads; values so near each other are the same
_SUBSETS = 5  # of other features, for the prediction; a trigger's features would predict each other
_CLUSTERS = 4  # of one class
_FOLDS = 3  # of models of texts and images
_LEAST = 8  # rows of a class or cluster


class Triggers(msgspec.Struct, frozen=True, kw_only=True):
    """Args: score: float64 (n,), >= 0; above 1: to be named. against, stamped, spectral, together: float64 (n,), the views."""

    score: Floats
    against: Floats
    stamped: Floats
    spectral: Floats
    together: Floats


def find_triggers(rows: Rows, *, seed: int = 0) -> Triggers:
    """How much each row looks like one of a backdoor."""
    rng = np.random.default_rng(seed)
    scaled = standardised(rows.features if rows.surface is None else rows.surface)
    against, unlike = views_in_halves(scaled, rows.labels, rng)
    if rows.views:  # what a plain feature leaves open, a text or an image may say
        against = views_of_texts_and_images(rows, scaled, seed)
    stamped = shared_surprise(scaled, rows.labels, against, unlike, rng) if scaled.shape[1] else np.zeros(len(rows))
    whole = scaled_of(rows)
    if rows.pieces is not None:
        held = vocabulary_of(rows.pieces).of(rows.pieces)
        near = nearest(whole, rng.permutation(len(rows))[:_REFERENCE], _NEIGHBOURS)
        stamped = np.maximum(stamped, weigh_pieces(held, rows.labels, against, near).rows(held, rows.labels))
    inner = representation(whole, rows.labels, seed)
    spectral = spectral_scores(inner, rows.labels)
    evidence = against + np.minimum(stamped, 3.0)
    together = pooled(inner, rows.labels, evidence, seed)
    if rows.pieces is not None:  # what a row holds itself is known there: its cluster alone names nothing
        together = np.minimum(together, 1.0)
    return Triggers(
        score=(evidence + together) / 2, against=against, stamped=stamped, spectral=spectral, together=together
    )


def views_in_halves(scaled: Floats, labels: Ints, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """What the nearest rows in random halves of the features say of a row.

    Returns: against: float64 (n,) in 0..1, the upper quartile over the halves of their votes for other labels. unlike: float64
    (n, d), >= 0, spreads between a value and their median, in the halves that do not hold its feature: the largest of few.
    """
    count, dims = scaled.shape
    if not dims:
        return np.zeros(count), np.zeros((count, 0))
    halves = _HALVES if count <= _LARGE else _LARGE_HALVES
    known = rng.permutation(count)[:_REFERENCE]
    votes = np.zeros((halves, count), np.float32)
    unlike = np.zeros((count, dims))
    for half in range(halves):
        chosen = rng.choice(dims, max(1, (dims + 1) // 2), replace=False)
        near = nearest(scaled[:, chosen], known, _NEIGHBOURS)
        votes[half] = (labels[near] != labels[:, None]).mean(1)
        if half < _LOOKED_AT:
            for j in np.setdiff1d(np.arange(dims), chosen):
                unlike[:, j] = np.maximum(unlike[:, j], np.abs(scaled[:, j] - np.median(scaled[near, j], axis=1)))
    return np.quantile(votes, 0.75, axis=0).astype(np.float64), unlike


def views_of_texts_and_images(rows: Rows, scaled: Floats, seed: int) -> Floats:
    """float64 (n,) in 0..1: what models of random halves of the words, or of the picture, that never saw the row think against its label;
    the upper quartile. Neighbours would do where every feature says something of the class; here few do."""
    votes = np.empty((len(rows.views), len(rows)))
    for half, view in enumerate(rows.views):
        kept = np.random.default_rng([seed, half]).random(scaled.shape[1]) < 0.5
        both = np.hstack([view, scaled[:, kept] / np.sqrt(max(scaled.shape[1], 1))])
        votes[half] = 1 - halved_opinion(both, rows.labels, seed + half)
    return np.asarray(np.quantile(votes, 0.75, axis=0))


def halved_opinion(view: Floats, labels: Ints, seed: int) -> Floats:
    """float64 (n,) in 0..1: how likely each row's label is by half of what it says, told by models of other rows."""
    rng = np.random.default_rng(seed)
    fold = rng.permutation(len(view)) % _FOLDS
    said = np.zeros(len(view))
    for number in range(_FOLDS):
        learnt, judged = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        learnt = rng.permutation(learnt)[:_REFERENCE]
        if len(np.unique(labels[learnt])) < 2:
            said[judged] = 1.0
            continue
        model = kernel_machine(seed + number, len(learnt), len(view)).fit(view[learnt], labels[learnt])
        known = np.searchsorted(model.classes_, labels[judged]).clip(0, len(model.classes_) - 1)
        there = model.classes_[known] == labels[judged]
        said[judged] = np.where(there, probabilities(model, view[judged])[np.arange(len(judged)), known], 0.0)
    return said


def nearest(scaled: Floats, known: Ints, neighbours: int) -> Ints:
    """int64 (n, k): places of the nearest of the rows `known`, never the row itself."""
    count = len(scaled)
    data = scaled.astype(np.float32)
    reference = data[known]
    lengths = (reference**2).sum(1)
    neighbours = min(neighbours, len(known) - 1)
    place = np.full(count, -1)
    place[known] = np.arange(len(known))
    found = np.empty((count, neighbours), np.int64)
    for start in range(0, count, _CHUNK):
        part = slice(start, start + _CHUNK)
        apart = lengths - 2 * data[part] @ reference.T
        own = place[part]
        apart[np.flatnonzero(own >= 0), own[own >= 0]] = np.inf
        found[part] = known[np.argpartition(apart, neighbours - 1, axis=1)[:, :neighbours]]
    return found


def shared_surprise(scaled: Floats, labels: Ints, against: Floats, unlike: Floats, rng: np.random.Generator) -> Floats:
    """float64 (n,), >= 0: how unlikely it is by chance that so many rows of this label share a surprising value; 1 is rare.

    A value is surprising when random subsets of the other features predict another (what the neighbours think of the label is
    then no surprise, and allowed for), when the nearest rows have another, or when it is repeated beyond its surroundings.
    Summed over the three features that say most.
    """
    evidence = np.sort(evidence_by_feature(scaled, labels, against, unlike, rng), axis=1)[:, -3:]
    return np.asarray(evidence.sum(1) / 10)


def evidence_by_feature(
    scaled: Floats, labels: Ints, against: Floats, unlike: Floats, rng: np.random.Generator
) -> Floats:
    """float64 (n, d), >= 0: what each value says, once allowed for how many are looked at."""
    count, dims = scaled.shape
    shares = (np.bincount(labels) / count)[labels]
    believed = np.maximum(1 - against, _LEAST_BELIEVED)
    evidence = np.zeros((count, dims))
    for j in range(dims):
        values = scaled[:, j]
        for places, usual in (
            (np.flatnonzero(_surprise(scaled, j, rng) > _SURPRISING), believed),
            (np.flatnonzero(unlike[:, j] > _UNLIKE), np.minimum(shares, believed)),
            (repeated(values), np.minimum(shares, believed)),
        ):
            if len(places) >= _FEW:
                found = _purity(values[places], labels[places], usual[places])
                evidence[places, j] = np.maximum(evidence[places, j], found)
    evidence = evidence * min(1.0, _WEIGHED / count)
    return np.asarray(np.maximum(evidence - np.log(dims * len(np.unique(labels))) - 4, 0))


def _purity(values: Floats, labels: Ints, usual: Floats) -> Floats:
    """float64 (k,): minus the logarithm of the chance that rows of nearly the same value share so many labels, each at its usual rate."""
    order = np.argsort(values)
    values, labels, usual = values[order], labels[order], usual[order]
    low, high = np.searchsorted(values, values - _WINDOW), np.searchsorted(values, values + _WINDOW, "right")
    found = np.zeros(len(values))
    for label in np.unique(labels):
        mine = labels == label
        seen = np.concatenate([[0], np.cumsum(mine)])
        rate = np.concatenate([[0.0], np.cumsum(usual * mine)])
        of_label = seen[high] - seen[low]
        expected = (rate[high] - rate[low]) / np.maximum(of_label, 1)
        chance = -binom.logsf(of_label - 1, high - low, np.clip(expected, 1e-6, 1 - 1e-6))
        found[order[mine]] = chance[mine]
    return found


def repeated(values: Floats) -> Ints:
    """Places of the rows whose value of one feature, most of whose values are distinct, is there far more often than its
    surroundings explain; none where values come from a grid."""
    count = len(values)
    if len(np.unique(values)) < count / 4:
        return np.empty(0, np.int64)
    ordered = np.sort(values)

    def within(reach: float) -> Ints:
        return np.searchsorted(ordered, values + reach, "right") - np.searchsorted(ordered, values - reach)

    here, around = within(_TIGHT), within(10 * _TIGHT)
    expected = np.maximum((around - here) / 9.0, 0.5)
    return np.flatnonzero(poisson.sf(here - 1, expected) < 1e-6)


def _surprise(scaled: Floats, j: int, rng: np.random.Generator) -> Floats:
    """float64 (n,): robust spreads between feature j and what subsets of the others predict; the mean of the two largest."""
    return Predicted.learn(scaled, j, rng).surprise(scaled)


class Predicted(msgspec.Struct, frozen=True, kw_only=True):
    """How subsets of the other features predict feature `j`. Args: by: (features, weights, middle and spread of what is left)."""

    j: int
    by: tuple[tuple[Ints, Floats, float, float], ...]

    @classmethod
    def learn(cls, scaled: Floats, j: int, rng: np.random.Generator) -> Predicted:
        count, dims = scaled.shape
        others = np.delete(np.arange(dims), j)
        fitted = rng.choice(count, min(count, _REFERENCE), replace=False)
        by = []
        for _ in range(_SUBSETS if len(others) else 1):
            some = rng.choice(others, max(1, len(others) // 3), replace=False) if len(others) else others
            table = np.column_stack([scaled[:, some], np.ones(count)])
            known = table[fitted]
            weights = np.linalg.solve(known.T @ known + np.eye(known.shape[1]), known.T @ scaled[fitted, j])
            rest = scaled[:, j] - table @ weights
            middle = float(np.median(rest))
            by.append((some, weights, middle, max(1.4826 * float(np.median(np.abs(rest - middle))), 0.2)))
        return cls(j=j, by=tuple(by))

    def surprise(self, scaled: Floats) -> Floats:
        """float64 (n,), >= 0: spreads, the mean of the two largest."""
        found = [
            np.abs(scaled[:, self.j] - scaled[:, some] @ weights[:-1] - weights[-1] - middle) / spread
            for some, weights, middle, spread in self.by
        ]
        return np.asarray(np.sort(found, axis=0)[-2:].mean(0))


def representation(scaled: Floats, labels: Ints, seed: int) -> Floats:
    """float64 (n, 32): the last hidden layer of a small network that was fitted on the labels as they are."""
    return inner_layer(fit_network(scaled, labels, seed), scaled)


def inner_layer(network: Any, scaled: Floats) -> Floats:
    """float64 (n, 32): what the last hidden layer makes of these rows."""
    inner = scaled
    for weights, bias in zip(network.coefs_[:-1], network.intercepts_[:-1], strict=True):
        inner = np.maximum(inner @ weights + bias, 0.0)
    return np.asarray(inner)


def fit_network(scaled: Floats, labels: Ints, seed: int) -> Any:
    """A small network of the labels as they are, not fitted to the end."""
    from sklearn.neural_network import MLPClassifier

    rng = np.random.default_rng(seed)
    fitted = rng.permutation(len(scaled))[: 2 * _REFERENCE]
    epochs = max(20, min(150, 150_000 // len(fitted)))
    network = MLPClassifier(
        (64, 32), max_iter=epochs, tol=0.0, n_iter_no_change=epochs, random_state=seed, batch_size=64
    )
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is not fitted to the end, and need not be
        network.fit(scaled[fitted], labels[fitted])
    return network


def spectral_scores(inner: Floats, labels: Ints) -> Floats:
    """float64 (n,), >= 0: squared place along the main direction of its class, over the median of that."""
    found = np.zeros(len(labels))
    for label in np.unique(labels):
        mine = labels == label
        centred = inner[mine] - np.median(inner[mine], 0)
        direction = np.linalg.svd(centred, full_matrices=False)[2][0]
        along = (centred @ direction) ** 2
        found[mine] = along / max(float(np.median(along)), 1e-9)
    return found


def pooled(inner: Floats, labels: Ints, evidence: Floats, seed: int) -> Floats:
    """float64 (n,): the mean evidence of the row's cluster within its class."""
    return Pools(inner, labels, evidence, seed).of(inner, labels, evidence)


class Pools:
    """Clusters of each class, and the mean evidence of each."""

    def __init__(self, inner: Floats, labels: Ints, evidence: Floats, seed: int) -> None:
        from sklearn.cluster import KMeans

        self._of: dict[int, tuple[Floats, Floats, Any, Floats]] = {}
        for label in np.unique(labels):
            mine = np.flatnonzero(labels == label)
            if len(mine) < _LEAST * 2:
                continue
            middle = inner[mine].mean(0)
            centred = inner[mine] - middle
            rng = np.random.default_rng(seed)
            sample = centred[rng.permutation(len(mine))[:_REFERENCE]]
            axes = np.linalg.svd(sample, full_matrices=False)[2][:8].T
            model = KMeans(min(_CLUSTERS, len(mine) // _LEAST), n_init=3, random_state=seed).fit(sample @ axes)
            cluster = model.predict(centred @ axes)
            means = np.array(
                [
                    evidence[mine[cluster == one]].mean() if (cluster == one).any() else 0.0
                    for one in range(model.n_clusters)
                ]
            )
            self._of[int(label)] = (middle, axes, model, means)

    def of(self, inner: Floats, labels: Ints, evidence: Floats) -> Floats:
        """float64 (n,): that of each row's cluster; its own, where the class is too small for clusters."""
        found = evidence.copy()
        for label, (middle, axes, model, means) in self._of.items():
            mine = np.flatnonzero(labels == label)
            if len(mine):
                found[mine] = means[model.predict((inner[mine] - middle) @ axes)]
        return found
