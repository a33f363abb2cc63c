"""The single door: nothing happens that is not written down first."""

import json
from collections.abc import Iterator

import pytest
from iam_house import OWNER, START, House

from casemate.core import (
    Action,
    ConflictError,
    Environment,
    Event,
    InputError,
    PolicyError,
    Resource,
    StorageError,
)
from casemate.iam import Gate, reconcile
from casemate.sandbox import ExitReason
from casemate.sandbox.exits import Exit, error_of

MODEL = Resource("model", "spam")
PUSH = Action.MODEL_PUSH


@pytest.fixture
def house() -> Iterator[House]:
    house = House()
    yield house
    house.log.refuse = frozenset()
    _CRASHED.clear()  # what is collected now closes itself, in a log that nobody reads any more


_CRASHED: list[object] = []


def crash(house: House) -> tuple[object, str]:
    """Leave an act in the middle, as a process that ends there does. Keep what it returns: it would close if collected."""
    gate = house.gate.open(OWNER, PUSH, MODEL)
    _CRASHED.append(gate)  # a process that is gone closes nothing, and neither may the garbage collector
    return gate, gate.__enter__().id


def kinds(house: House) -> list[tuple[str, str]]:
    return [(event.kind, event.outcome) for event in house.log.events]


def test_an_act_stands_between_its_intent_and_its_outcome(house: House) -> None:
    with house.gate.open(OWNER, PUSH, MODEL, reason="first version") as entry:
        assert kinds(house) == [("intent", "allowed")]
        entry.facts["digest"] = "sha256:00"
    intent, outcome = house.log.events
    assert kinds(house) == [("intent", "allowed"), ("outcome", "done")]
    assert intent.id == entry.id
    assert outcome.facts == {"intent": entry.id, "digest": "sha256:00"}
    assert (intent.actor, intent.action, intent.resource) == (OWNER.id, "model:push", "default/model:spam")
    assert intent.reason == "first version"
    assert intent.facts["policies"] == ["owner"]
    assert house.log.open_intents() == []


def test_a_refusal_is_recorded_and_nothing_runs(house: House) -> None:
    caller = house.holder("caller")
    with pytest.raises(PolicyError) as caught, house.gate.open(caller, PUSH, MODEL):
        pytest.fail("the block ran")
    assert caught.value.code == "forbidden"
    assert kinds(house) == [("decision", "refused")]
    assert house.log.events[0].credential == caller.credential
    assert "no policy lets caller do model:push" in house.log.events[0].facts["because"]


@pytest.mark.parametrize("refused", ["intent", "decision"])
def test_what_cannot_be_recorded_does_not_happen(house: House, refused: str) -> None:
    house.log.refuse = frozenset({refused})
    who = OWNER if refused == "intent" else house.holder("caller")
    with pytest.raises(StorageError), house.gate.open(who, PUSH, MODEL):
        pytest.fail("the block ran")
    assert house.log.events == []


def test_an_error_of_ours_is_recorded_and_raised_unchanged(house: House) -> None:
    error = ConflictError("It exists already.", code="version-exists", details={"number": 3})
    with pytest.raises(ConflictError) as caught, house.gate.open(OWNER, PUSH, MODEL):
        raise error
    assert caught.value is error
    facts = house.log.events[1].facts
    assert kinds(house)[1] == ("outcome", "failed")
    assert (facts["error"], facts["details"]) == ("version-exists", {"number": 3})


def test_any_other_error_is_internal_and_its_text_stays_out_of_the_log(house: House) -> None:
    with pytest.raises(ZeroDivisionError), house.gate.open(OWNER, PUSH, MODEL):
        raise ZeroDivisionError("password=hunter2")
    assert house.log.events[1].facts["error"] == "internal"
    assert "hunter2" not in str(house.log.events)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_a_stop_is_recorded_as_interrupted(house: House, stop: type[BaseException]) -> None:
    with pytest.raises(stop), house.gate.open(OWNER, PUSH, MODEL):
        raise stop
    assert kinds(house)[1] == ("outcome", "interrupted")


@pytest.mark.parametrize("failure", [StorageError("The disk is full.", code="disk-full"), OSError("disk")])
@pytest.mark.parametrize("act", [None, InputError("wrong")])
def test_an_outcome_that_cannot_be_recorded_is_told_and_settled_at_the_next_start(house: House, failure, act) -> None:
    house.log.refuse, house.log.failure = frozenset({"outcome"}), failure
    with pytest.raises(StorageError), house.gate.open(OWNER, PUSH, MODEL):
        if act:
            raise act
    assert len(house.log.open_intents()) == 1
    house.log.refuse = frozenset()
    assert len(reconcile(house.log.open_intents(), house.log, lambda _: True, house.clock)) == 1
    assert house.log.open_intents() == []


@pytest.mark.parametrize(
    ("failure", "committed", "outcome"),
    [
        (StorageError("no head", code="head-not-kept"), True, "done"),
        (StorageError("no head", code="head-not-kept"), False, "failed"),  # undone since, or never there
        (OSError("lost"), True, "done"),
        (InputError("wrong"), True, "failed"),  # ours, and says that it was not done
    ],
)
def test_what_a_failure_of_storage_left_open_is_settled_by_the_signed_state(
    house: House, failure: Exception, *, committed: bool, outcome: str
) -> None:
    gate = Gate(log=house.log, authorizer=house.authorizer, clock=house.clock, took_effect=lambda _: committed)
    with pytest.raises(type(failure)), gate.open(OWNER, PUSH, MODEL):
        raise failure
    assert kinds(house)[1] == ("outcome", outcome)
    assert house.log.events[1].facts["error"] == getattr(failure, "code", "internal")


def test_facts_never_hold_a_key(house: House) -> None:
    issued = house.issue()
    with house.gate.open(OWNER, Action.KEY_ISSUE, MODEL_KEY, reason=f"for {issued.key}", note=issued.key) as entry:
        entry.facts["issued"] = {"nested": [issued.key], issued.key: 1}
    with pytest.raises(InputError), house.gate.open(OWNER, PUSH, MODEL):
        raise InputError(f"echoes {issued.key}")
    assert issued.key not in json.dumps([event.facts for event in house.log.events])
    assert issued.key not in str(house.log.events)
    assert "[API key]" in house.log.events[0].reason


def test_a_key_in_the_place_of_a_name_stays_out_of_the_record(house: House) -> None:
    """Whole, or as a cut at 80 characters leaves it: DELETE /keys/cm_... is an easy mistake."""
    key = house.issue().key
    for name in (key, ("https://casemate/keys/" + "x" * 20 + key)[:80]):
        with house.gate.open(OWNER, Action.KEY_REVOKE, Resource("key", name)):
            pass
        house.gate.read(OWNER, Action.KEY_READ, Resource("key", name))
    assert {event.resource[-9:] for event in house.log.events} == {"[API key]"}
    assert key[:30] not in str(house.log.events)


MODEL_KEY = Resource("key", "web", attributes={"role": "caller", "scope": "*"})


@pytest.mark.parametrize(
    "value", [object(), {1, 2}, START, b"\xff", float("nan"), "\ud800", {("a",): 1}, "x" * 100_000]
)
def test_facts_that_cannot_be_written_still_close_the_intent(house: House, value: object) -> None:
    with house.gate.open(OWNER, PUSH, MODEL) as entry:
        entry.facts["value"] = value
    assert house.log.open_intents() == []
    assert len(json.dumps(house.log.events[1].facts)) < 70_000


def test_facts_that_contain_themselves_still_close_the_intent(house: House) -> None:
    with house.gate.open(OWNER, PUSH, MODEL) as entry:
        entry.facts["self"] = entry.facts
    assert house.log.open_intents() == []


def test_facts_cannot_pretend_to_be_another_intents_outcome(house: House) -> None:
    with house.gate.open(OWNER, PUSH, MODEL) as entry:
        entry.facts["intent"] = "int_other"
    assert house.log.events[1].facts["intent"] == entry.id


def test_one_person_alone_in_dev_is_recorded_as_self_approved(house: House) -> None:
    resource = Resource("model", "spam", environment=Environment.DEV, attributes={"pushed_by": OWNER.id})
    with house.gate.open(OWNER, Action.MODEL_APPROVE, resource) as entry:
        assert entry.decision.self_approved
    assert [event.facts["self_approved"] for event in house.log.events] == [True, True]
    production = Resource("model", "spam", environment=Environment.PRODUCTION, attributes={"pushed_by": OWNER.id})
    with pytest.raises(PolicyError, match="four-eyes"), house.gate.open(OWNER, Action.MODEL_APPROVE, production):
        pytest.fail("the block ran")


def test_a_key_that_the_pusher_issued_is_no_second_person(house: House) -> None:
    """Nor is one issued by such a key; one that somebody else issued is."""
    pusher = house.holder("owner", "*")
    friend = house.holder("approver", "*", issuer=pusher)
    helper = house.holder("owner", "*", issuer=pusher)
    friend_of_helper = house.holder("approver", "*", issuer=helper)
    somebody = house.holder("approver", "*")
    production = Resource("model", "m", environment=Environment.PRODUCTION, attributes={"pushed_by": pusher.id})
    decide = house.authorizer.decide
    assert decide(friend, Action.MODEL_APPROVE, production).policies == ("four-eyes",)
    assert decide(friend_of_helper, Action.MODEL_APPROVE, production).policies == ("four-eyes",)
    assert decide(somebody, Action.MODEL_APPROVE, production).allowed
    dev = Resource("model", "m", environment=Environment.DEV, attributes={"pushed_by": pusher.id})
    assert decide(friend, Action.MODEL_APPROVE, dev).self_approved


def test_whoever_knows_the_secret_of_what_pushed_is_no_second_person(house: House) -> None:
    """With a key of their own making, one owner would push and approve, or propose and agree, alone."""
    maker, other = house.holder("owner", "*"), house.holder("owner", "*")
    tool = house.holder("owner", "*", issuer=maker)
    tool_of_tool, sibling = (house.holder("owner", "*", issuer=one) for one in (tool, maker))
    for action, pushed, policy in (
        (Action.MODEL_APPROVE, "pushed_by", "four-eyes"),
        (Action.POLICY_APPROVE, "holder", "four-eyes-policies"),
    ):
        kind = action.partition(":")[0]
        for by in (tool, tool_of_tool):
            about = Resource(kind, "m", environment=Environment.PRODUCTION, attributes={pushed: by.id})
            assert house.authorizer.decide(maker, action, about).policies == (policy,)
            assert house.authorizer.decide(sibling, action, about).policies == (policy,)
            assert house.authorizer.decide(other, action, about).allowed
            assert house.authorizer.decide(OWNER, action, about).allowed, "the machine's own owner is excepted"


def test_a_read_is_one_event(house: House) -> None:
    assert house.gate.read(OWNER, Action.MODEL_READ, MODEL).allowed
    with pytest.raises(PolicyError):
        house.gate.read(house.holder("caller"), Action.MODEL_READ, MODEL)
    assert kinds(house) == [("decision", "allowed"), ("decision", "refused")]


def test_a_read_that_cannot_be_recorded_is_refused(house: House) -> None:
    house.log.refuse = frozenset({"decision"})
    with pytest.raises(StorageError):
        house.gate.read(OWNER, Action.MODEL_READ, MODEL)


@pytest.mark.parametrize(
    ("effect", "outcome", "said"),
    [
        (True, "done", "it had taken effect"),
        (False, "interrupted", "it had not taken effect"),
        (None, "interrupted", "its effect is not known"),
    ],
)
def test_a_crash_between_intent_and_outcome_is_closed_at_start(house: House, effect, outcome: str, said: str) -> None:
    _gate, intent_id = crash(house)
    asked = []

    def took_effect(intent: Event) -> bool | None:
        asked.append(intent.id)
        return effect

    (closed,) = reconcile(house.log.open_intents(), house.log, took_effect, house.clock)
    assert asked == [intent_id]
    assert (closed.outcome, closed.reason) == (outcome, f"closed at start: {said}")
    assert (closed.actor, closed.action, closed.resource) == (OWNER.id, "model:push", "default/model:spam")
    assert reconcile(house.log.open_intents(), house.log, took_effect, house.clock) == []
    assert len(house.log.events) == 2


def test_what_cannot_be_judged_or_written_stays_open(house: House) -> None:
    _gate, _ = crash(house)

    def broken(_: Event) -> bool:
        raise StorageError("The registry cannot be read.")

    with pytest.raises(StorageError):
        reconcile(house.log.open_intents(), house.log, broken, house.clock)
    house.log.refuse = frozenset({"outcome"})
    with pytest.raises(StorageError):
        reconcile(house.log.open_intents(), house.log, lambda _: True, house.clock)
    assert len(house.log.open_intents()) == 1


def test_an_intent_named_twice_is_closed_once(house: House) -> None:
    _gate, _ = crash(house)
    assert len(reconcile(house.log.open_intents() * 2, house.log, lambda _: None, house.clock)) == 1


def test_what_a_confined_process_said_stays_out_of_the_log(house: House) -> None:
    crashed = error_of(Exit(None, 11, ExitReason.CRASHED), output=b"row 1: anna, 43, ill")
    quoted = InputError("invalid value 'anna'", code="dataset-types", details={"foreign": True})
    for error in (crashed, quoted):
        with pytest.raises(type(error)), house.gate.open(OWNER, PUSH, MODEL):
            raise error
    assert house.log.events[1].facts["details"] == {"code": None, "signal": 11}
    assert [event.facts["error"] for event in house.log.events[1::2]] == ["sandbox-crashed", "dataset-types"]
    assert "anna" not in str(house.log.events)
