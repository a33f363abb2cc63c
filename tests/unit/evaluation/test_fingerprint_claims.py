"""What a suspect's answers are worth, and that a fingerprint tells a copy and calls nobody else one."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from scipy import stats
from sklearn.datasets import make_classification
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression

from casemate.core import Digest, InputError
from casemate.evaluation.answers import Oracle, RawAnswer
from casemate.evaluation.claims import Calibration, Fingerprint, claim_of, read_fingerprint, seed_of
from casemate.evaluation.fingerprints import make_questions

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
KNOWN = Fingerprint(
    kind="casemate-fingerprint", model="risk@1", digest=Digest("sha256:" + "a" * 64), key="00", input="X",
    datatype="FP32", features=(), classes=("no", "yes"), queries=((0.5,),) * 100, answers=("no", "yes") * 50,
    calibration=Calibration(references=(40, 48), families=("a", "b"), chance=0.6), made_by="usr_1", made_at="2026",
)  # fmt: skip
DATA = msgspec.json.encode(KNOWN)


def test_a_claim_is_the_exact_binomial_tail_and_names_the_file() -> None:
    claim = claim_of(KNOWN, DATA, ["no", "yes"] * 45 + ["yes", "no"] * 5)
    assert claim.agree == 90
    assert claim.false_claim == pytest.approx(sum(stats.binom.pmf(k, 100, 0.6) for k in range(90, 101)))
    assert claim.copy
    assert not claim_of(KNOWN, DATA, ["no"] * 100).copy
    assert not claim_of(KNOWN, DATA, ["no", "yes"] * 50, at_most=1e-300).copy
    assert claim_of(KNOWN, DATA, ["0", "1"] * 50).agree == 100, "numbered in order"
    assert claim_of(KNOWN, DATA, ["maybe"] * 100).agree == 0


@pytest.mark.parametrize("count", [0, 99, 101])
def test_another_number_of_answers_is_refused(count: int) -> None:
    with pytest.raises(InputError) as refused:
        claim_of(KNOWN, DATA, ["no"] * count)
    assert refused.value.code == "bad-predictions"


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "other"}, {"schema": 2}, {"answers": ("no",)}, {"answers": ("perhaps",) * 100}, {"queries": ((),) * 100},
        {"queries": ((0.1,), (0.1, 0.2)) * 50}, {"calibration": Calibration(references=(), families=(), chance=0.5)},
        {"calibration": Calibration(references=(1,), families=("a",), chance=1.0)},
    ],
)  # fmt: skip
def test_what_is_no_fingerprint_is_refused(change: dict) -> None:
    assert read_fingerprint(DATA) == KNOWN
    with pytest.raises(InputError) as refused:
        read_fingerprint(msgspec.json.encode(msgspec.structs.replace(KNOWN, **change)))
    assert refused.value.code == "bad-fingerprint"
    for data in (b"", b"{}", b"[" * 3000, DATA[:-1], b"\xff"):
        with pytest.raises(InputError):
            read_fingerprint(data)


def test_questions_follow_the_key_tell_a_copy_and_call_nobody_else_one() -> None:
    features, truth = make_classification(500, 6, n_informative=4, random_state=8)
    mine, theirs = slice(None, 250), slice(250, None)
    model = LogisticRegression().fit(features[mine], truth[mine])

    def oracle() -> Oracle:
        made = Oracle(lambda rows: RawAnswer(scores=model.predict_proba(rows)), ("0", "1"))
        made.learn_columns(RawAnswer(scores=model.predict_proba(features)))
        return made

    seeds = [seed_of(bytes(32), "sha256:1"), seed_of(b"\1" * 32, "sha256:1"), seed_of(bytes(32), "sha256:2")]
    assert len(set(seeds)) == 3
    made = [make_questions(features[mine], truth[mine], oracle(), count=100, seed=seed) for seed in seeds[:2]]
    assert not np.isin(made[0].queries[:, 0], made[1].queries[:, 0]).any()
    first = made[0]
    assert (first.queries >= features[mine].min(axis=0)).all()
    assert (first.queries <= features[mine].max(axis=0)).all()
    assert abs(int((first.answers == 0).sum()) - 50) <= 10
    assert (model.predict(first.queries) == first.answers).all()
    assert max(first.agreed) / 100 <= first.chance < 1
    own = ExtraTreesClassifier(50, random_state=1).fit(features[theirs], truth[theirs])
    agree = int((own.predict(first.queries) == first.answers).sum())
    assert stats.binom.sf(agree - 1, 100, first.chance) > 1e-3
    assert stats.binom.sf(99, 100, first.chance) < 1e-3


def test_too_few_rows_or_one_answer_give_no_fingerprint() -> None:
    features, truth = make_classification(300, 4, random_state=8)
    same = Oracle(lambda rows: RawAnswer(scores=np.tile([0.9, 0.1], (len(rows), 1))), ("0", "1"))
    same.learn_columns(RawAnswer(scores=np.tile([0.9, 0.1], (5, 1))))
    for rows in (features, features[:100]):
        with pytest.raises(InputError) as refused:
            make_questions(rows, truth[: len(rows)], same, count=50, seed=1)
        assert refused.value.code == "fingerprint-rows"
