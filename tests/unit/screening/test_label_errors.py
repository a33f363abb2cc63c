"""Label errors, where they gather, and what people say of them."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from sklearn.datasets import load_wine

from casemate.core import InputError, Verdict
from casemate.screening import HumanVerdict, Judged, Rows, read_verdicts, rows_of, screen
from casemate.screening.gatherings import by_contributor, by_time, targeted_flips
from casemate.screening.labels import confident_errors, label_errors
from casemate.screening.statistics import above, discovered, rate_bound
from casemate.screening.verdicts import HIGHEST, LOWEST, learned, row_digests

FEATURES, LABELS = load_wine(return_X_y=True)


@pytest.fixture(scope="module")
def flipped() -> tuple[Rows, np.ndarray]:
    rng = np.random.default_rng(1)
    labels, who = LABELS.copy(), rng.integers(0, 4, len(LABELS))
    when = rng.permutation(len(LABELS)).astype(float)
    bad = np.flatnonzero((LABELS == 1) & (who == 2))[:12]
    labels[bad] = 0
    return rows_of(FEATURES, labels, contributors=who, times=when), bad


@pytest.fixture(scope="module")
def errors(flipped):
    return label_errors(flipped[0], seed=2)


def test_flipped_labels_are_found_and_the_others_are_not(flipped, errors) -> None:
    named = np.flatnonzero(errors.likely > 0.5)
    assert len(np.intersect1d(named, flipped[1])) >= 8  # of twelve, a sixth of the class: each hides the others
    assert len(np.setdiff1d(named, flipped[1])) <= 2
    assert (errors.meant[flipped[1]] == 1).mean() > 0.9


def test_the_pair_of_classes_and_the_contributor_are_named(flipped, errors) -> None:
    rows, _ = flipped
    wrong = errors.likely > 0.5
    assert [one.what for one in targeted_flips(rows, errors, wrong)] == ["'1' labelled '0'"]
    (one,) = by_contributor(rows, wrong)
    assert one.what == "contributor '2'"
    assert one.bound > one.usual
    assert one.chance < 1e-4


def test_errors_spread_evenly_over_time_name_no_stretch(flipped, errors) -> None:
    assert by_time(flipped[0], errors.likely > 0.5) == []


def test_a_clean_table_passes_and_says_what_was_not_looked_at() -> None:
    report = screen(rows_of(FEATURES, LABELS)).report
    assert report.verdict is Verdict.CLEAN
    assert not [one for one in report.suspicions if one.finding.id in ("label-error", "backdoor-trigger")]
    assert len(report.skipped) == 3


@pytest.mark.slow
def test_the_same_rows_give_the_same_report(flipped) -> None:
    first, second = screen(flipped[0]), screen(flipped[0])
    assert msgspec.json.encode(first.report) == msgspec.json.encode(second.report)
    assert first.report.verdict is Verdict.REFUSED
    ids = {one.finding.id for one in first.report.suspicions}
    assert {"label-error", "targeted-flip", "contributor-disagrees"} <= ids
    assert {
        s.contributor for one in first.report.suspicions if one.finding.id == "label-error" for s in one.suspects
    } >= {"2"}


@pytest.mark.slow
def test_a_row_that_a_person_called_fine_is_not_named_again(flipped) -> None:
    rows, bad = flipped
    said = [
        HumanVerdict(rule="label-error", row=name, score=1.0, judged=Judged.FINE) for name in row_digests(rows, bad[:3])
    ]
    found = screen(rows, verdicts=said)
    assert not found.named["label-error"][bad[:3]].any()
    assert found.report.thresholds["label-error"] == 0.5  # three verdicts move nothing


def test_thresholds_learn_within_bounds_only() -> None:
    def verdicts(judged: Judged, scores: np.ndarray) -> list[HumanVerdict]:
        return [HumanVerdict(rule="r", row="sha256:" + "0" * 64, score=float(s), judged=judged) for s in scores]

    all_fine = verdicts(Judged.FINE, np.linspace(0.5, 1, 50))
    all_bad = verdicts(Judged.POISONED, np.linspace(0.1, 1, 50))
    assert learned(0.5, "r", all_fine[:9]) == 0.5
    assert learned(0.5, "r", all_fine) == pytest.approx(0.5 * HIGHEST)
    assert learned(0.5, "r", all_bad) == pytest.approx(0.5 * LOWEST)
    assert learned(0.5, "other", all_fine) == 0.5
    mixed = verdicts(Judged.FINE, np.linspace(0.5, 0.59, 30)) + verdicts(Judged.POISONED, np.linspace(0.6, 0.9, 20))
    assert 0.5 < learned(0.5, "r", mixed) < 0.6


@pytest.mark.parametrize(
    "line", [b"{", b'{"rule": "r"}', b"[1]", b'{"rule":"r","row":"x","score":1,"judged":"maybe"}', b"\xff"]
)
def test_a_bad_line_of_verdicts_is_named(line: bytes) -> None:
    good = msgspec.json.encode(HumanVerdict(rule="r", row="sha256:" + "0" * 64, score=1.0, judged=Judged.FINE))
    assert len(read_verdicts(good + b"\n\n" + good)) == 2
    with pytest.raises(InputError, match="Line 2"):
        read_verdicts(good + b"\n" + line)


def test_confident_errors_are_those_over_the_bar_of_another_class() -> None:
    said = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.15, 0.85], [0.9, 0.1], [0.55, 0.45]])
    assert confident_errors(said, np.array([0, 0, 1, 1, 1, 1])).tolist() == [False, False, False, False, True, False]


def test_bounds_are_exact() -> None:
    assert rate_bound(np.array([0.0, 5.0]), np.array([10.0, 10.0]))[0] == 0
    bound = rate_bound(np.array([5.0]), np.array([10.0]), confidence=0.99)
    assert above(np.array([5.0]), np.array([10.0]), bound)[0] == pytest.approx(0.01)
    assert above(np.array([1.0]), np.array([2.0]), np.array([0.5]))[0] == pytest.approx(0.75)


def test_few_discoveries_among_chances_are_false() -> None:
    rng = np.random.default_rng(3)
    assert not discovered(rng.random(1000)).any()
    chances = np.concatenate([np.full(20, 1e-8), rng.random(1000)])
    assert discovered(chances)[:20].all()
    assert discovered(chances).sum() <= 22
    assert not discovered(np.array([])).any()
