"""Backdoors in a large table: what was found in a sample, and where else it stands."""

from __future__ import annotations

from typing import Any

import numpy as np

from casemate.screening.columns import Bools, Floats, Ints, Rows
from casemate.screening.opinions import Scale, kernel_machine, probabilities
from casemate.screening.pieces import vocabulary_of, weigh_pieces
from casemate.screening.triggers import (
    Pools,
    Predicted,
    evidence_by_feature,
    fit_network,
    inner_layer,
    nearest,
    repeated,
    views_in_halves,
    views_of_texts_and_images,
)

_HALVES = 8
_KNOWN = 2000  # rows of the sample that others are compared with
_FITTED = 4000
_NEIGHBOURS = 9
_SURPRISING, _UNLIKE = 2.5, 3.0  # spreads, as in `triggers`
_TIGHT, _NEAR = 0.003, 0.15  # spreads


class TriggerModel:
    """Fitted on a sample; scores any other rows of the table, each by itself."""

    def __init__(self, sample: Rows, *, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self._whole, self._labels = Scale(sample), sample.labels
        self._surface = Scale(sample, surface=True)
        scaled, whole = self._surface.of(sample), self._whole.of(sample)
        dims = scaled.shape[1]
        against, unlike = views_in_halves(scaled, sample.labels, rng)
        self._views = self._fit_views(sample, seed)
        if sample.views:
            against = views_of_texts_and_images(sample, scaled, seed)
        found = evidence_by_feature(scaled, sample.labels, against, unlike, rng) if dims else np.zeros((len(sample), 0))
        self._predicted = [Predicted.learn(scaled, j, rng) for j in range(dims) if found[:, j].any()]
        self._stamps = {one.j: _Stamps(scaled[:, one.j], sample.labels, found[:, one.j]) for one in self._predicted}
        self._halves = (
            [rng.choice(dims, max(1, (dims + 1) // 2), replace=False) for _ in range(_HALVES)] if dims else []
        )
        self._known = rng.permutation(len(sample))[:_KNOWN]
        self._reference = scaled[self._known].astype(np.float32)
        evidence = np.minimum(np.sort(found, axis=1)[:, -3:].sum(1) / 10, 3.0)
        self._pieces = None
        if sample.pieces is not None:
            vocabulary = vocabulary_of(sample.pieces)
            held = vocabulary.of(sample.pieces)
            near = nearest(whole, rng.permutation(len(sample))[:_FITTED], _NEIGHBOURS)
            self._pieces = (vocabulary, weigh_pieces(held, sample.labels, against, near))
            evidence = np.minimum(np.maximum(evidence, self._pieces[1].rows(held, sample.labels)), 3.0)
        self._network = fit_network(whole, sample.labels, seed)
        self._pools = Pools(inner_layer(self._network, whole), sample.labels, against + evidence, seed)

    def score(self, rows: Rows) -> Floats:
        """float64 (n,), >= 0; above 1: to be named."""
        scaled = self._surface.of(rows)
        against, unlike = self._halved(scaled, rows.labels)
        if self._views:
            against = self._by_views(rows)
        stamped = self._stamped(scaled, rows.labels, unlike)
        if self._pieces is not None:
            vocabulary, weighed = self._pieces
            stamped = np.maximum(stamped, weighed.rows(vocabulary.of(rows.pieces or []), rows.labels))
        evidence = against + np.minimum(stamped, 3.0)
        together = self._pools.of(inner_layer(self._network, self._whole.of(rows)), rows.labels, evidence)
        return (evidence + (together if self._pieces is None else np.minimum(together, 1.0))) / 2

    def _halved(self, scaled: Floats, labels: Ints) -> tuple[Floats, dict[int, Floats]]:
        """As `views_in_halves`, by rows of the sample; unlike: of the features in which something was found."""
        count = len(scaled)
        votes = np.zeros((max(len(self._halves), 1), count), np.float32)
        unlike = {j: np.zeros(count) for j in self._stamps}
        known = self._labels[self._known]
        for half, chosen in enumerate(self._halves):
            reference = self._reference[:, chosen]
            near = _nearest_of(scaled[:, chosen], reference)
            votes[half] = (known[near] != labels[:, None]).mean(1)
            for j in self._stamps.keys() - set(chosen.tolist()):
                apart = np.abs(scaled[:, j] - np.median(self._reference[near, j], axis=1))
                unlike[j] = np.maximum(unlike[j], apart)
        return np.quantile(votes, 0.75, axis=0).astype(np.float64), unlike

    def _stamped(self, scaled: Floats, labels: Ints, unlike: dict[int, Floats]) -> Floats:
        found = np.zeros((len(scaled), max(len(self._predicted), 3)))
        for place, one in enumerate(self._predicted):
            stamps = self._stamps[one.j]
            odd = (one.surprise(scaled) > _SURPRISING) | (unlike[one.j] > _UNLIKE)
            found[:, place] = stamps.of(scaled[:, one.j], labels, odd)
        return np.asarray(np.sort(found, axis=1)[:, -3:].sum(1) / 10)

    def _fit_views(self, sample: Rows, seed: int) -> list[Any]:
        some = np.random.default_rng(seed).permutation(len(sample))[:_FITTED]
        return [
            kernel_machine(seed + half, len(some), len(sample)).fit(view[some], sample.labels[some])
            for half, view in enumerate(sample.views)
        ]

    def _by_views(self, rows: Rows) -> Floats:
        votes = np.empty((len(self._views), len(rows)))
        for half, (model, view) in enumerate(zip(self._views, rows.views, strict=True)):
            place = np.searchsorted(model.classes_, rows.labels).clip(0, len(model.classes_) - 1)
            said = probabilities(model, view)[np.arange(len(rows)), place]
            votes[half] = 1 - np.where(model.classes_[place] == rows.labels, said, 0.0)
        return np.asarray(np.quantile(votes, 0.75, axis=0))


class _Stamps:
    """Values of one feature of which a sample says something, label by label."""

    def __init__(self, values: Floats, labels: Ints, evidence: Floats) -> None:
        self._of: dict[int, tuple[Floats, Floats]] = {}
        for label in np.unique(labels[evidence > 0]):
            mine = np.flatnonzero((labels == label) & (evidence > 0))
            order = mine[np.argsort(values[mine])]
            self._of[int(label)] = (values[order], evidence[order])
        self._repeated = np.unique(values[repeated(values)])

    def of(self, values: Floats, labels: Ints, odd: Bools) -> Floats:
        """float64 (n,), >= 0. Args: odd: rows whose value is a surprise, beside those with a value that repeats."""
        again = _gap(self._repeated, values)[0] <= _TIGHT
        found = np.zeros(len(values))
        for label, (known, evidence) in self._of.items():
            mine = np.flatnonzero((labels == label) & (odd | again))
            apart, place = _gap(known, values[mine])
            found[mine] = np.where(apart <= _NEAR, evidence[place], 0.0)
        return found


def _gap(known: Floats, values: Floats) -> tuple[Floats, Ints]:
    """How far the nearest of `known`, ascending, is from each value, and its place."""
    if not len(known):
        return np.full(len(values), np.inf), np.zeros(len(values), np.int64)
    after = np.searchsorted(known, values).clip(0, len(known) - 1)
    before = (after - 1).clip(0)
    place = np.where(np.abs(known[before] - values) < np.abs(known[after] - values), before, after)
    return np.abs(known[place] - values), place


def _nearest_of(scaled: Floats, reference: Any) -> Ints:
    """int64 (n, 9): places of the nearest rows of `reference`."""
    from sklearn.neighbors import NearestNeighbors

    near = NearestNeighbors(n_neighbors=min(_NEIGHBOURS, len(reference)), algorithm="brute").fit(reference)
    return np.asarray(near.kneighbors(scaled.astype(np.float32), return_distance=False))
