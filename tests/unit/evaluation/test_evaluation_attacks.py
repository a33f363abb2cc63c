"""The attacks find what is there, and nothing where nothing is: on models whose memory is known."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from casemate.evaluation.attributes import guess_attribute
from casemate.evaluation.evasion import evasion
from casemate.evaluation.membership import membership, told

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module")
def rows() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    features, truth = make_classification(600, 10, n_informative=5, flip_y=0.15, random_state=3)
    return features, truth, np.repeat([True, False], 300)


def test_who_learns_by_heart_gives_its_members_away_and_who_does_not_does_not(rows) -> None:
    features, truth, inside = rows
    forest = RandomForestClassifier(50, random_state=1).fit(features[inside], truth[inside])
    stiff = LogisticRegression(C=0.01).fit(features[inside], truth[inside])
    found, facts = membership(features, truth, forest.predict_proba(features), inside=inside, shadows=8, seed=5)
    assert found["membership_auc"] > 0.8
    assert found["membership_tpr_1pct"] > 0.2
    assert "membership_tpr_01pct" not in found, "300 others cannot tell 0.1 %"
    assert "1000 rows" in facts["rates"]["membership_tpr_01pct"]["why"]
    assert facts["family"] == "random forest"
    quiet, facts = membership(features, truth, stiff.predict_proba(features), inside=inside, shadows=8, seed=5)
    assert facts["auc_interval"]["low"] < 0.55
    assert quiet["membership_tpr_1pct"] < 0.06
    by_loss, facts = membership(features, truth, forest.predict_proba(features), inside=inside, shadows=0, seed=5)
    assert "without a reference" in facts["attack"]
    assert by_loss["membership_auc"] == facts["auc_by_loss"]


def test_rates_are_of_a_threshold_that_few_enough_others_exceed() -> None:
    scores = np.concatenate([np.linspace(0, 1, 1000), np.full(100, 0.9905), np.full(100, 0.5)])
    inside = np.repeat([False, True], [1000, 200])
    figures, rates = told(scores, inside)
    assert figures["membership_tpr_1pct"] == 0.5
    assert not rates["membership_tpr_01pct"]["sure"]
    assert figures["membership_tpr_01pct"] == 0
    same, _ = told(np.zeros(1200), inside)
    assert same == {"membership_auc": 0.5, "membership_tpr_1pct": 0.0, "membership_tpr_01pct": 0.0}


def test_a_column_is_guessed_from_a_model_that_stands_on_it_alone() -> None:
    random = np.random.default_rng(2)
    secret = random.integers(0, 2, 400).astype(float)
    features = np.column_stack([secret, random.normal(size=(400, 3))])
    truth = random.integers(0, 2, 400)

    def talks(given: np.ndarray) -> np.ndarray:
        said = 0.3 + 0.4 * given[:, 0]
        return np.column_stack([1 - said, said])

    def silent(given: np.ndarray) -> np.ndarray:
        return np.full((len(given), 2), 0.5)

    inside = np.repeat([True, False], 200)
    found = guess_attribute(features, truth, inside=inside, column=0, answers=talks, seed=1)
    assert found is not None
    assert found.advantage > 0.35
    quiet = guess_attribute(features, truth, inside=inside, column=0, answers=silent, seed=1)
    assert quiet is not None
    assert abs(quiet.advantage) < 0.12
    assert quiet.facts["members"]["interval"]["low"] < 0.05
    assert guess_attribute(features * 0, truth, inside=inside, column=0, answers=talks, seed=1) is None


def test_evasion_finds_a_boundary_that_is_near_and_keeps_its_budget() -> None:
    random = np.random.default_rng(4)
    features = random.normal(size=(60, 5))
    truth = (features[:, 0] > 0).astype(int)

    def answers(given: np.ndarray) -> np.ndarray:
        said = 1 / (1 + np.exp(-4 * given[:, 0]))
        return np.column_stack([1 - said, said])

    found = evasion(features, truth, answers=answers, spread=np.ones(5), steps=40, seed=1)
    near = {eps: float((np.abs(features[:, 0]) > eps).mean()) for eps in (0.1, 0.25, 0.5, 1.0)}
    assert found["clean"] == 1
    for eps in (0.1, 0.25, 0.5):
        assert found["linf"][f"{eps:g}"] == pytest.approx(near[eps], abs=0.02), "no more and no less than can fall"
    for eps in (0.25, 0.5, 1.0):
        assert near[eps] <= found["l2"][f"{eps:g}"] <= near[eps] + 0.15


def test_evasion_changes_no_constant_and_turns_no_model_that_answers_one_thing() -> None:
    features = np.column_stack([np.zeros(30), np.linspace(-1, 1, 30)])
    seen: list[np.ndarray] = []

    def answers(given: np.ndarray) -> np.ndarray:
        seen.append(given)
        return np.tile([0.9, 0.1], (len(given), 1))

    found = evasion(features, np.zeros(30, int), answers=answers, spread=features.std(axis=0), steps=10, seed=1)
    assert set(found["linf"].values()) == {1.0}
    assert all((given[:, 0] == 0).all() for given in seen)
