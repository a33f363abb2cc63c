"""Evaluations on record: gates, exceptions, what `strict` asks for, and that nobody swaps what was signed. What is measured is
the evaluation room's own tests' business; here a model does as a test says."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from registry_house import ANA, BEN, House, push_model, table
from sqlalchemy import delete, select, update

from casemate.core import (
    Environment,
    InputError,
    NotFoundError,
    PolicyError,
    Profile,
    Ref,
    VerificationError,
)
from casemate.evaluation import EvaluationReport
from casemate.registry import Asked, Evaluations, Lineage, admission, deployments, took_effect
from casemate.storage.database import attestations

GOOD = {"rows": 500.0, "overlap": 0.0, "accuracy": 0.95, "balanced_accuracy": 0.94, "ece": 0.02}
ASKED = Asked(on=Ref("loans"), label="label")
REF = Ref("diagnosis", 1)


@dataclass
class Measure:
    """Says what it is told to, and remembers what it was asked."""

    figures: dict[str, float] = field(default_factory=lambda: dict(GOOD))
    asked: list = field(default_factory=list)

    def __call__(self, model, parquet, *, columns, members=None, config=None) -> EvaluationReport:
        self.asked.append((str(model.about), columns.label, members is not None))
        return EvaluationReport(
            task="classification",
            rows=500,
            classes=("0", "1"),
            figures=dict(self.figures),
            notes=("a slice named ana",),
        )


@pytest.fixture
def measure() -> Measure:
    return Measure()


@pytest.fixture
def evaluations(house: House, measure: Measure) -> Evaluations:
    push_model(house)
    with table() as made:
        house.datasets.push("loans", made, actor=ANA, intent="evt_d")
    return Evaluations(house.stores, house.datasets, house.models, house.pen, measure=measure)


@pytest.fixture(autouse=True)
def approved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two people's approvals, and whole cards, are tried in test_own_approvals.py."""
    monkeypatch.setattr(deployments, "check_card", lambda *_: None)
    monkeypatch.setattr(admission, "check_approved", lambda *_: None)


def evaluate(evaluations: Evaluations, asked: Asked = ASKED, *, ref: Ref = REF, intent: str = "evt_e") -> dict:
    return evaluations.evaluate(ref, asked, actor=BEN, intent=intent)


def deploy(house: House, *, ref: Ref = REF, profile: Profile = Profile.STRICT, intent: str = "evt_y") -> dict:
    return house.deployments.deploy("live", ref, actor=ANA, intent=intent, profile=profile, environment=Environment.DEV)


def refusal(house: House, **how) -> str:
    with pytest.raises(PolicyError) as refused:
        deploy(house, **how)
    return refused.value.code


def test_strict_takes_only_what_was_evaluated_and_passed(house, evaluations, measure) -> None:
    assert refusal(house) == "not-evaluated"
    assert deploy(house, profile=Profile.STANDARD)["version"] == 1
    measure.figures["balanced_accuracy"] = 0.5
    assert evaluate(evaluations)["state"] == "failed"
    assert took_effect(house.stores, "evt_e")
    assert refusal(house) == "evaluation-failed"
    with pytest.raises(PolicyError, match=r"balanced_accuracy>=0.6 \(0.5\)"):
        deploy(house)
    measure.figures |= GOOD
    told = evaluate(evaluations, intent="evt_e2")
    assert (told["state"], told["evaluation"]["evaluations"]) == ("passed", 2)
    assert deploy(house, intent="evt_y2")["version"] == 1
    shown = house.models.show(REF)["evaluation"]
    assert (shown["state"], shown["on"], shown["figures"]["accuracy"]) == ("passed", "loans@1", 0.95)
    assert "ana" not in str(shown), "a slice's name is in the sealed statement alone"


def test_gates_of_ones_own_hold_and_what_they_name_must_be_measured(house, evaluations, measure) -> None:
    evaluate(evaluations)
    set_to = {"reason": "board", "actor": ANA, "intent": "evt_g"}
    told = evaluations.set_gates("diagnosis", set_gates=["accuracy>=0.99", "ece <= .5"], **set_to)
    assert told["stated"] == ["accuracy>=0.99", "ece<=0.5"]
    assert "ece<=0.15" not in told["gates"], "what is stated stands in the place of the default"
    assert refusal(house) == "evaluation-failed"
    evaluations.set_gates("diagnosis", set_gates=["membership_auc<=0.6"], unset=["accuracy"], **set_to)
    with pytest.raises(PolicyError, match=r"membership_auc<=0.6 .not measured"):
        deploy(house)
    evaluations.set_gates("diagnosis", unset=["membership_auc"], on="held-back", **set_to)
    with pytest.raises(PolicyError, match="the gates ask for held-back"):
        deploy(house)
    evaluations.set_gates("diagnosis", on="loans", label="label", **set_to)
    assert deploy(house)["version"] == 1
    assert evaluations.gates("diagnosis")["on"] == "loans"
    for bad in ("accuracy", "accuracy=0.9", "speed>=1", "accuracy>=nan"):
        with pytest.raises(InputError) as refused:
            evaluations.set_gates("diagnosis", set_gates=[bad], **set_to)
        assert refused.value.code == "bad-gate", bad
    with pytest.raises(InputError, match="nothing to unset"):
        evaluations.set_gates("diagnosis", unset=["f1"], **set_to)


def test_an_owner_lets_a_version_pass_on_record_until_that_ends(house, evaluations) -> None:
    with pytest.raises(InputError) as refused:
        evaluations.except_version(REF, reason="", actor=ANA, intent="evt_x")
    assert refused.value.code == "no-reason"
    told = evaluations.except_version(REF, reason="a pilot", actor=ANA, intent="evt_x")
    assert told["state"] == "excepted"
    assert house.models.show(REF)["evaluation"]["exception"]["reason"] == "a pilot"
    assert evaluations.is_evaluated(REF)
    deploy(house)
    evaluations.except_version(REF, reason="it is over", ended=True, actor=ANA, intent="evt_z")
    assert not evaluations.is_evaluated(REF)
    assert refusal(house, intent="evt_y3") == "not-evaluated"


def test_rollback_asks_for_an_evaluation_of_what_never_served_as_strict(house, evaluations, measure) -> None:
    push_model(house, 2.0, intent="evt_2")
    deploy(house, profile=Profile.STANDARD)
    evaluate(evaluations, ref=Ref("diagnosis", 2))
    deploy(house, ref=Ref("diagnosis", 2), intent="evt_y2")
    with pytest.raises(PolicyError) as refused:
        house.deployments.rollback("live", actor=ANA, intent="evt_r")
    assert refused.value.code == "not-evaluated"
    evaluate(evaluations, intent="evt_e1")
    deploy(house, intent="evt_y3")
    evaluations.set_gates("diagnosis", set_gates=["accuracy>=0.999"], reason="r", actor=ANA, intent="evt_g")
    assert refusal(house, ref=Ref("diagnosis", 2), intent="evt_y4") == "evaluation-failed"
    told = house.deployments.rollback("live", actor=ANA, intent="evt_r2")
    assert told["version"] == 2, "the way out waits for no gate that was raised since"


def test_a_statement_that_was_swapped_or_taken_is_told_and_does_not_count(house, evaluations, measure) -> None:
    evaluate(evaluations)
    with house.stores.engine.begin() as connection:
        first = connection.execute(select(attestations).where(attestations.c.predicate_type.like("%evaluation%"))).one()
    measure.figures["balanced_accuracy"] = 0.5
    evaluate(evaluations, intent="evt_e2")
    with house.stores.engine.begin() as connection:
        where = attestations.c.predicate_type == first.predicate_type
        connection.execute(update(attestations).where(where).values(envelope=first.envelope))
    assert house.models.verify(REF)["problems"][0].id == "evaluation-altered"
    with pytest.raises(VerificationError) as refused:
        deploy(house)
    assert refused.value.code == "evaluation-altered"
    with house.stores.engine.begin() as connection:
        connection.execute(delete(attestations).where(where))
    assert house.models.verify(REF)["problems"][0].id == "evaluation-missing"
    with pytest.raises(VerificationError):
        evaluations.report(REF)
    assert evaluate(evaluations, intent="evt_e3")["state"] == "failed"
    assert house.models.verify(REF)["ok"]
    assert evaluations.report(REF)["report"]["notes"] == ["a slice named ana"]


def test_the_training_rows_come_from_the_lineage_and_nothing_is_said_of_another_version(
    house, evaluations, measure
) -> None:
    about = house.datasets.find(Ref("loans")).about
    push_model(house, 3.0, intent="evt_3", lineage=Lineage(dataset=about))
    told = evaluate(evaluations, ref=Ref("diagnosis", 2))
    assert measure.asked == [("default/model/diagnosis@2", "label", True)]
    assert told["evaluation"]["members"] == "loans@1"
    assert house.models.show(REF)["evaluation"] == {"state": "not-evaluated"}
    with pytest.raises(NotFoundError) as refused:
        evaluations.report(REF)
    assert refused.value.code == "not-evaluated"
    with pytest.raises(InputError):
        evaluate(evaluations, Asked(on=Ref("loans"), label=""))
    with pytest.raises(NotFoundError):
        evaluate(evaluations, Asked(on=Ref("nothing"), label="label"))


def test_the_card_and_the_bill_tell_the_figures(house, evaluations) -> None:
    evaluate(evaluations)
    card = house.models.card(REF)
    assert card["evaluation"]["state"] == "passed"
    bom = house.models.bom(REF)["bom"]["metadata"]["component"]
    metrics = bom["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert {"type": "accuracy", "value": "0.95"}.items() <= next(m for m in metrics if m["type"] == "accuracy").items()
    assert {"name": "casemate:evaluation", "value": "passed"} in bom["properties"]
