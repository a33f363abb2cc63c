"""Figures against ones worked out by hand, or by scikit-learn."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from sklearn import metrics

from casemate.core import InputError
from casemate.evaluation import DEFAULT_GATES, Columns, EvaluationConfig, RawAnswer, answer_of, judged, parse_gate
from casemate.evaluation.evaluated import evaluate
from casemate.evaluation.gates import has_passed, in_force
from casemate.evaluation.quality import calibration, class_quality, number_quality, ranking_quality
from casemate.evaluation.rows import rows_of_table
from casemate.evaluation.slices import bias_figures, groups_of, slices_of
from casemate.evaluation.statistics import area_interval, area_under, proportion_interval

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
RANDOM = np.random.default_rng(11)
QUICK = EvaluationConfig(shadows=4, steps=8, attacked=20)


def test_quality_is_scikit_learns() -> None:
    truth, given = RANDOM.integers(0, 4, 500), RANDOM.integers(0, 4, 500)
    scores = RANDOM.dirichlet(np.ones(4), 500)
    found = class_quality(truth, given, 4) | ranking_quality(truth, scores)
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(truth, given))
    assert found["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(truth, given))
    assert found["f1"] == pytest.approx(metrics.f1_score(truth, given, average="macro"))
    assert found["auc"] == pytest.approx(metrics.roc_auc_score(truth, scores, multi_class="ovr"))
    numbers, guessed = RANDOM.normal(size=300), RANDOM.normal(size=300)
    assert number_quality(numbers, guessed)["r2"] == pytest.approx(metrics.r2_score(numbers, guessed))
    assert "r2" not in number_quality(np.ones(5), np.ones(5))


def test_calibration_of_one_who_says_what_is_so_and_of_one_who_boasts() -> None:
    said = RANDOM.uniform(0.5, 1, 20_000)
    truth = (RANDOM.uniform(size=20_000) < said).astype(np.int64)
    honest, curve = calibration(truth, np.column_stack([1 - said, said]), bins=10)
    assert honest["ece"] < 0.02
    assert [one.rows for one in curve] == [2000] * 10
    boasting, _ = calibration(truth, np.column_stack([0.01 + 0 * said, 0.99 + 0 * said]), bins=10)
    assert boasting["ece"] == pytest.approx(0.99 - truth.mean())
    two = np.array([[0.2, 0.8], [0.6, 0.4]])
    assert calibration(np.array([1, 1]), two, bins=2)[0]["brier"] == pytest.approx((0.04 + 0.36) / 2)


def test_intervals_hold_as_often_as_they_say() -> None:
    held = [(i := proportion_interval(int(h), 60)).low <= 0.9 <= i.high for h in RANDOM.binomial(60, 0.9, 400)]
    assert np.mean(held) >= 0.95
    scores = np.array([0.1, 0.4, 0.35, 0.8])
    assert area_under(scores, np.array([False, False, True, True])) == 0.75
    areas = []
    for _ in range(300):
        inside = np.repeat([True, False], 80)
        interval = area_interval(RANDOM.normal(inside * 1.0), inside)
        areas.append(interval.low <= 0.7602 <= interval.high)
    assert np.mean(areas) > 0.91


def test_the_worst_slice_is_told_with_an_interval_for_all_together_and_small_ones_are_not() -> None:
    right = np.ones(400, bool)
    right[:20] = False
    where = np.array(["bad"] * 40 + ["good"] * 350 + ["tiny"] * 10)
    found = slices_of({"ward": where}, right=right, error=None)
    assert [(one.name, one.rows, one.value) for one in found] == [("bad", 40, 0.5), ("good", 350, 1.0)]
    alone = proportion_interval(20, 40)
    assert found[0].interval.low < alone.low
    error = slices_of({"ward": where}, right=None, error=np.where(right, 1.0, 3.0))
    assert (error[0].name, error[0].metric, error[0].value) == ("bad", "mae", 2.0)


def test_bias_between_groups_worked_out_by_hand() -> None:
    values = np.array(["f"] * 50 + ["m"] * 50)
    truth = np.array([1] * 25 + [0] * 25 + [1] * 25 + [0] * 25)
    given = np.array([1] * 10 + [0] * 40 + [1] * 20 + [0] * 5 + [1] * 5 + [0] * 20)
    groups = groups_of(values, "sex", truth=truth, given=given, good=1)
    found = bias_figures(groups)
    assert found["demographic_parity"] == pytest.approx(0.3)
    assert found["disparate_impact"] == pytest.approx(0.4)
    assert found["equal_opportunity"] == pytest.approx(0.4)
    assert found["equalised_odds"] == pytest.approx(0.4)
    few = groups_of(values, "sex", truth=np.ones(100, int), given=given, good=1)
    assert few[0].false_positive is None
    assert "equalised_odds" not in bias_figures(few)
    assert bias_figures(groups[:1]) == {}


def test_gates_are_judged_and_written_as_they_are_read() -> None:
    results = judged({"accuracy": 0.9, "rows": 500}, in_force([parse_gate("accuracy >= 0.9"), parse_gate("auc>=.5")]))
    by_name = {one.metric: one.passed for one in results}
    assert (by_name["accuracy"], by_name["auc"], by_name["rows"], by_name["ece"]) == (True, False, True, None)
    assert results[0].metric == "auc", "what failed comes first"
    assert not has_passed(results)
    for gate in DEFAULT_GATES:
        assert str(parse_gate(str(gate))) == str(gate)


def table(**columns) -> pa.Table:
    return pa.table(columns)


def both(count: int = 200) -> tuple[np.ndarray, np.ndarray]:
    truth = RANDOM.integers(0, 2, count)
    return RANDOM.normal(truth[:, None] * 2.0, size=(count, 2)), truth


@pytest.mark.parametrize(
    ("labels", "answer"),
    [
        ("int", lambda p: {"label": (p > 0.5).astype(np.int64), "probabilities": np.column_stack([1 - p, p])}),
        ("text", lambda p: {"l": np.where(p > 0.5, "yes", "no").astype(object), "s": np.column_stack([1 - p, p])}),
        ("text", lambda p: {"label": (p > 0.5).astype(np.int64), "probabilities": np.column_stack([1 - p, p])}),
        ("bool", lambda p: {"label": p > 0.5}),
        ("int", lambda p: {"Y": p[:, None].astype(np.float32)}),
        ("float", lambda p: {"scores": np.column_stack([-5 * (p - 0.5), 5 * (p - 0.5)])}),
        ("text", lambda p: {"label": np.where(p > 0.5, "yes", "no").astype(object), "s": np.column_stack([p, 1 - p])}),
    ],
    ids=["sklearn", "text", "boosted, numbered", "boolean", "one sigmoid", "logits", "columns in another order"],
)
def test_every_way_to_answer_is_read_alike(labels: str, answer) -> None:
    features, truth = both()
    column = {
        "int": truth, "bool": truth.astype(bool), "float": truth.astype(float), "text": np.where(truth, "yes", "no"),
    }[labels]  # fmt: skip
    rows = rows_of_table(table(a=features[:, 0], b=features[:, 1], y=column), Columns(label="y", width=2), QUICK)

    def ask(given: np.ndarray) -> RawAnswer:
        return answer_of(answer(1 / (1 + np.exp(-(given.sum(axis=1) - 2)))), len(given))

    report = evaluate(rows, ask, columns=Columns(label="y", width=2), config=QUICK)
    expected = ((features.sum(axis=1) > 2).astype(int) == truth).mean()
    assert report.figures["accuracy"] == pytest.approx(expected)
    assert report.task == "classification"
    if labels != "bool":
        assert report.figures["auc"] > 0.8


def test_numbers_are_measured_as_numbers() -> None:
    x = RANDOM.normal(size=(120, 2))
    where = np.where(x[:, 0] > 0, "up", "down")
    columns = Columns(label="y", width=2, slices=("where",))
    rows = rows_of_table(table(a=x[:, 0], b=x[:, 1], where=where, y=3 * x[:, 0]), columns, QUICK)
    report = evaluate(rows, lambda given: RawAnswer(values=2 * given[:, 0]), columns=columns, config=QUICK)
    assert report.task == "regression"
    assert report.figures["mae"] == pytest.approx(np.abs(x[:, 0]).mean(), rel=1e-4)
    assert report.slices[0].metric == "mae"


@pytest.mark.parametrize(
    ("columns", "word"),
    [
        (Columns(label="z", width=2), "no column 'z'"),
        (Columns(label="y", width=3), "takes 3 numbers"),
        (Columns(label="y", width=2, features=("a", "gone")), "'gone'"),
        (Columns(label="y", width=2, features=("a", "name")), "the model takes numbers"),
    ],
)
def test_rows_that_do_not_fit_are_refused_in_one_sentence(columns: Columns, word: str) -> None:
    features, truth = both()
    rows = table(a=features[:, 0], b=features[:, 1], name=["x"] * 200, y=truth)
    with pytest.raises(InputError, match=word):
        rows_of_table(rows, columns, QUICK)
    with pytest.raises(InputError, match="needs 30"):
        rows_of_table(rows.slice(0, 29), Columns(label="y", width=2), QUICK)


def test_rows_without_a_label_are_left_out_and_long_tables_are_sampled_alike_each_time() -> None:
    features, truth = both(300)
    labels = [None if place % 3 == 0 else int(one) for place, one in enumerate(truth)]
    whole = table(a=features[:, 0], b=features[:, 1], y=pa.array(labels))
    assert len(rows_of_table(whole, Columns(label="y", width=2), QUICK)) == 200
    few = EvaluationConfig(rows=100)
    first, again = (rows_of_table(whole, Columns(label="y", width=2), few) for _ in range(2))
    assert len(first) < 100
    assert (first.features == again.features).all()


def test_a_model_that_answers_nothing_that_can_be_read_is_refused() -> None:
    with pytest.raises(InputError, match="neither a class"):
        answer_of({"x": np.float64(3.0)}, 5)
    features, truth = both()
    named = ["ann" if one else "ben" for one in truth]
    rows = rows_of_table(table(a=features[:, 0], b=features[:, 1], y=named), Columns(label="y", width=2), QUICK)
    with pytest.raises(InputError, match="none of these is among") as caught:
        evaluate(
            rows,
            lambda given: RawAnswer(labels=np.array(["cat"] * len(given))),
            columns=Columns(label="y", width=2),
            config=QUICK,
        )
    assert "ann" not in str(caught.value), "whoever evaluates may not read rows"
