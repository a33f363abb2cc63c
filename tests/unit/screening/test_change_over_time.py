"""Change against a former version, slow feedback, limits of contributors, near duplicates and outliers."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_wine

from casemate.core import InputError, Verdict
from casemate.screening import ScreeningConfig, rows_of, screen
from casemate.screening.clusters import near_duplicates, outlier_scores
from casemate.screening.former import beyond_feedback, change, over_limit, slow_drift

FEATURES, LABELS = load_wine(return_X_y=True)


def test_change_names_what_is_relabelled_new_and_gone() -> None:
    former = rows_of(FEATURES[:170], LABELS[:170])
    labels = LABELS[5:].copy()
    labels[:3] = 2  # they were 0
    labels[-4:] = 0  # new rows of class 2, said to be 0
    since = change(rows_of(FEATURES[5:], labels), former)
    assert np.flatnonzero(since.relabelled).tolist() == [0, 1, 2]
    assert np.flatnonzero(since.added).tolist() == list(range(165, 173))
    assert set(np.flatnonzero(since.against)) <= set(range(169, 173))
    assert since.against.sum() >= 3
    assert since.removed == 5


def test_other_columns_are_refused() -> None:
    with pytest.raises(InputError, match="other features"):
        change(rows_of(FEATURES, LABELS), rows_of(FEATURES[:, :5], LABELS))


@pytest.mark.parametrize(("worst", "alarmed"), [(0.0, False), (0.5, True)])
def test_feedback_that_grows_worse_is_told(worst: float, alarmed: bool) -> None:
    rng = np.random.default_rng(8)
    features = np.concatenate([rng.normal(-2, 1, (400, 3)), rng.normal(2, 1, (400, 3))])
    labels, when = np.repeat([0, 1], 400), rng.permutation(np.linspace(0, 1, 800))
    lies = rng.random(800) < worst * np.clip((when - 0.4) / 0.6, 0, 1)
    named, height = slow_drift(rows_of(features, np.where(lies, 1 - labels, labels), times=when))
    assert (height > 1) is alarmed
    assert named.any() == alarmed
    if alarmed:
        assert lies[named].mean() > 0.9


def test_a_contributor_over_the_limit_is_named_and_not_set_aside() -> None:
    who = ["one"] * 120 + ["two"] * 58
    rows = rows_of(FEATURES, LABELS, contributors=who)
    assert [name for name, _ in over_limit(rows, share=0.5)] == ["one"]
    found = screen(rows)
    assert "contributor-over-limit" in {one.finding.id for one in found.report.suspicions}
    assert "contributor-over-limit" not in found.named


def test_feedback_beyond_what_one_may_give_is_set_aside_the_newest_first() -> None:
    who = ["eve"] * 60 + ["ann"] * 50 + [""] * 68
    when = np.concatenate([np.arange(60)[::-1], np.arange(118)])
    found = screen(rows_of(FEATURES, LABELS, contributors=who, times=when), config=ScreeningConfig(feedback=50))
    (said,) = [one for one in found.report.suspicions if one.finding.id == "feedback-over-limit"]
    assert found.report.verdict is Verdict.REFUSED
    assert np.flatnonzero(found.named["feedback-over-limit"]).tolist() == [*range(10), *range(160, 178)]
    assert said.finding.evidence == "28 rows beyond 50 of one contributor, by '', 'eve'"


def test_feedback_within_what_one_may_give_is_no_finding() -> None:
    rows = rows_of(FEATURES, LABELS, contributors=[f"user{place % 30}" for place in range(178)])
    assert not beyond_feedback(rows, most=6).any()
    assert beyond_feedback(rows, most=5).sum() == 28


def test_feedback_without_a_contributor_is_refused() -> None:
    with pytest.raises(InputError, match="--contributor"):
        screen(rows_of(FEATURES, LABELS), config=ScreeningConfig(feedback=5))


def test_near_duplicates_are_clusters() -> None:
    features = np.vstack([FEATURES, FEATURES[:1] + np.zeros((6, 1)), FEATURES[50:51] + np.zeros((2, 1))])
    clusters = near_duplicates(rows_of(features, np.concatenate([LABELS, np.zeros(8, int)])))
    assert len(set(clusters[[0, *range(178, 184)]])) == 1
    assert clusters[0] > 0
    assert (clusters > 0).sum() == 7


def test_a_row_like_no_other_is_an_outlier() -> None:
    features = FEATURES.copy()
    features[3] = features.max(0) * 10
    scores = outlier_scores(rows_of(features, LABELS))
    assert np.flatnonzero(scores > 1).tolist() == [3]
