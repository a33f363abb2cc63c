"""Backdoors: what is planted is ranked above the rest at every share, and clean rows are not named."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.metrics import roc_auc_score

from casemate.screening import rows_of
from casemate.screening.triggers import find_triggers, nearest, repeated, spectral_scores

FEATURES, LABELS = make_classification(600, 12, n_informative=6, n_classes=2, class_sep=1.5, flip_y=0.0, random_state=4)


def planted(share: float, *, clean_label: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    features, labels, bad = FEATURES.copy(), LABELS.copy(), np.zeros(len(LABELS), bool)
    chosen = rng.choice(np.flatnonzero(labels == int(clean_label)), int(share * len(labels)), replace=False)
    for j in (2, 5, 9):
        features[chosen, j] = features[:, j].max()
    labels[chosen], bad[chosen] = 1, True
    return features, labels, bad


@pytest.mark.parametrize(("share", "clean_label"), [(0.02, False), (0.2, False), (0.05, True)])
def test_a_stamp_is_found_at_any_share(share: float, clean_label: bool) -> None:
    features, labels, bad = planted(share, clean_label=clean_label)
    score = find_triggers(rows_of(features, labels), seed=1).score
    assert roc_auc_score(bad, score) > 0.97
    assert (score[bad] > 1).mean() > 0.8


def test_rows_without_a_stamp_are_not_named() -> None:
    assert (find_triggers(rows_of(FEATURES, LABELS), seed=1).score > 1).sum() <= 2


def test_nobody_is_a_neighbour_of_itself() -> None:
    near = nearest(FEATURES, np.arange(len(FEATURES)), 5)
    assert not (near == np.arange(len(FEATURES))[:, None]).any()
    apart = np.linalg.norm(FEATURES[0] - FEATURES, axis=1)
    assert set(near[0]) == set(np.argsort(apart)[1:6])


def test_a_value_is_repeated_only_beyond_its_surroundings() -> None:
    values = np.random.default_rng(6).normal(size=400)
    assert not len(repeated(values))
    values[:12] = 0.5
    assert set(range(12)) <= set(repeated(values)) <= set(range(12)) | set(np.flatnonzero(np.abs(values - 0.5) < 0.01))
    assert not len(repeated(np.round(values)))  # a grid repeats itself


def test_the_median_is_not_moved_by_a_minority() -> None:
    inner = np.concatenate([np.random.default_rng(7).normal(size=(90, 3)), np.full((10, 3), 8.0)])
    scores = spectral_scores(inner, np.zeros(100, int))
    assert scores[90:].min() > scores[:90].max()
