"""Signing in: the same answer and the same work for whatever is wrong; codes are good once; guessing locks nobody out."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from people_house import AFAR, CHEAP, HERE, WORDS, PeopleHouse, people_house

from casemate.core import AuthError, CasemateError, LimitError, StorageError
from casemate.iam import Passwords, Visitor, revoke_person
from casemate.iam.lockout import FREE, FREE_STRANGERS, LONGEST, delay, network_prefix


@pytest.fixture
def house(tmp_path: Path):
    with people_house(tmp_path) as made:
        yield made


def tried(house: PeopleHouse, name: str, password: str, code: str, visitor: Visitor = HERE) -> CasemateError:
    with pytest.raises(CasemateError) as caught:
        house.sign_in.sign_in(name, password, code, visitor)
    return caught.value


def test_name_password_and_code_let_in_and_are_on_record(house: PeopleHouse) -> None:
    ada = house.enrol()
    signed_in = house.log_in(ada)
    assert house.who(signed_in.started.token).id == ada.id
    event = [one for one in house.log.events if one.kind == "sign-in"][-1]
    assert (event.outcome, event.actor, event.credential) == ("allowed", ada.id, signed_in.started.session.id)
    assert event.facts["address"] == HERE.address
    assert (event.facts["network"], event.facts["client"]) == ("192.0.2.0/24", "casemate test")
    assert event.facts["known_place"] is True


def test_every_wrong_thing_gets_the_same_answer_for_the_same_work(house: PeopleHouse) -> None:
    ada = house.enrol()
    house.enrol("gone", visitor=AFAR)
    house.append(
        revoke_person(
            house.access,
            house.access.snapshot.people_by_name["gone"],
            by=house.who(ada.signed_in.started.token),
            reason="left",
            now=house.clock.at,
        )
    )
    house.invite("late", "caller")
    right = ada.code(house.clock.at)
    attempts = [
        ("nobody", WORDS, right),
        ("", "", ""),
        ("Ada", WORDS, right),
        ("ada\x00", WORDS, right),
        ("late", WORDS, right),  # not enrolled yet
        ("gone", WORDS, right),
        ("ada", "another-long-password", right),
        ("ada", "", right),
        ("ada", "x" * 100_000, right),
        ("ada", WORDS, "000000"),
        ("ada", WORDS, "x"),
    ]
    told = set()
    for number, attempt in enumerate(attempts):
        before = house.passwords.worked
        error = tried(house, *attempt, Visitor(address=f"203.0.{number}.1"))
        assert house.passwords.worked == before + 1, attempt
        told.add((type(error), error.code, error.message, tuple(error.details)))
    assert len(told) == 1
    house.sign_in.sign_in("ada", WORDS, right, HERE)


def test_an_unknown_name_and_no_secret_is_on_record(house: PeopleHouse) -> None:
    house.enrol()
    tried(house, "my-password-by-mistake", "hunter2hunter2hunter2", "123456")
    text = msgspec.json.encode(house.log.events).decode()
    assert "mistake" not in text
    assert "hunter2" not in text
    assert "123456" not in text


def test_a_code_is_good_once_and_within_one_step(house: PeopleHouse) -> None:
    ada = house.enrol()
    code = ada.code(house.clock.at)
    house.sign_in.sign_in("ada", WORDS, code, HERE)
    assert tried(house, "ada", WORDS, code).code == "bad-sign-in"
    early = ada.code(house.clock.at + timedelta(seconds=30))
    house.sign_in.sign_in("ada", WORDS, early, HERE)
    house.clock.advance(30)
    assert tried(house, "ada", WORDS, ada.code(house.clock.at)).code == "bad-sign-in", "it was used early"
    house.clock.advance(30)
    assert tried(house, "ada", WORDS, ada.code(house.clock.at - timedelta(seconds=60))).code == "bad-sign-in"
    assert tried(house, "ada", WORDS, ada.code(house.clock.at + timedelta(seconds=60))).code == "bad-sign-in"


def test_a_wrong_password_uses_no_code_up(house: PeopleHouse) -> None:
    ada = house.enrol()
    code = ada.code(house.clock.at)
    tried(house, "ada", "wrong-wrong-wrong", code)
    house.sign_in.sign_in("ada", WORDS, code, HERE)


def test_a_recovery_code_is_good_once_however_it_is_typed(house: PeopleHouse) -> None:
    ada = house.enrol()
    first = ada.recovery[0]
    house.sign_in.sign_in("ada", WORDS, first.upper().replace("-", " "), HERE)
    assert tried(house, "ada", WORDS, first).code == "bad-sign-in"
    assert len(house.access.snapshot.people[ada.id].recovery) == 9
    text = msgspec.json.encode([line.body for line in house.ledger.lines]).decode()
    assert first not in text
    assert ada.secret not in text
    assert WORDS not in text


def test_who_cannot_be_recorded_is_not_let_in(house: PeopleHouse) -> None:
    ada = house.enrol()
    house.log.refuse = frozenset({"sign-in"})
    with pytest.raises(StorageError):
        house.log_in(ada)
    house.log.refuse = frozenset()
    assert len(house.sessions.of(ada.id, now=house.clock.at)) == 1, "the one of the enrolment"


def test_guessing_is_slowed_the_same_for_a_name_that_is_nobodys(house: PeopleHouse) -> None:
    house.enrol()
    for name in ("ada", "nobody"):
        for _ in range(FREE):
            assert tried(house, name, "wrong-wrong-wrong", "000000", AFAR).code == "bad-sign-in"
        assert tried(house, name, "wrong-wrong-wrong", "000000", AFAR).code == "bad-sign-in"
        worked = house.passwords.worked
        error = tried(house, name, WORDS, "000000", AFAR)
        assert isinstance(error, LimitError)
        assert (error.code, error.retry_after) == ("sign-in-delayed", 2.0)
        assert house.passwords.worked == worked, "nothing is looked at"
        house.clock.advance(2)
        assert tried(house, name, WORDS, "000000", AFAR).code == "bad-sign-in"
        assert tried(house, name, WORDS, "000000", AFAR).retry_after == 4.0
    locked = [one for one in house.log.events if one.reason == "locked"]
    assert {one.facts["failures"] for one in locked} == {5}


def test_the_delay_grows_to_a_quarter_of_an_hour_and_no_further() -> None:
    assert [delay(n, 3).total_seconds() for n in (1, 3, 4, 5, 6)] == [0, 0, 2, 4, 8]
    assert delay(10**6, 3) == LONGEST


def test_strangers_never_keep_the_owner_out_of_a_known_network_or_device(house: PeopleHouse) -> None:
    ada = house.enrol(visitor=HERE)
    for number in range(FREE_STRANGERS + 5):  # from many networks, as a botnet does
        stranger = Visitor(address=f"203.0.{number}.1")
        tried(house, "ada", "wrong-wrong-wrong", "000000", stranger)
    assert tried(house, "ada", WORDS, "000000", Visitor(address="203.0.200.1")).code == "sign-in-delayed"
    house.log_in(ada, HERE)
    device = ada.signed_in.device
    house.log_in(ada, Visitor(address="203.0.201.1", device=device))
    for _ in range(10):  # somebody in the same network guesses
        with pytest.raises(CasemateError):
            house.sign_in.sign_in("ada", "wrong-wrong-wrong", "000000", HERE)
    assert tried(house, "ada", WORDS, "000000", HERE).code == "sign-in-delayed"
    house.log_in(ada, msgspec.structs.replace(HERE, device=device))


def test_a_device_secret_that_was_guessed_makes_nobody_known(house: PeopleHouse) -> None:
    house.enrol()
    for number in range(FREE_STRANGERS + 1):
        visitor = Visitor(address=f"203.0.{number}.1", device="cmd_" + "x" * 49)
        tried(house, "ada", "wrong-wrong-wrong", "000000", visitor)
    assert tried(house, "ada", WORDS, "000000", Visitor(address="203.0.99.1")).code == "sign-in-delayed"


def test_a_delay_survives_a_restart(house: PeopleHouse, tmp_path: Path) -> None:
    house.enrol()
    for _ in range(FREE + 1):
        tried(house, "ada", "wrong-wrong-wrong", "000000", AFAR)
    again = PeopleHouse(tmp_path)
    again.ledger, again.clock.at = house.ledger, house.clock.at
    again.access._ledger = house.ledger
    again.access.refresh()
    assert tried(again, "ada", WORDS, "000000", AFAR).code == "sign-in-delayed"
    again.engine.dispose()


def test_codes_for_a_session_are_slowed_too(house: PeopleHouse) -> None:
    ada = house.enrol()
    principal = house.who(ada.signed_in.started.token)
    for _ in range(FREE + 1):
        with pytest.raises(AuthError) as caught:
            house.sign_in.verify(principal, "000000", HERE)
        assert caught.value.code == "bad-code"
    with pytest.raises(LimitError):
        house.sign_in.verify(principal, ada.code(house.clock.at), HERE)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.77", "192.0.2.0/24"),
        ("2001:db8:1:2::5", "2001:db8:1::/48"),
        ("::ffff:192.0.2.77", "192.0.2.0/24"),
        ("fe80::1%eth0", "fe80::/48"),
        ("local", "local"),
    ],
)
def test_a_network_is_a_prefix(address: str, network: str) -> None:
    assert network_prefix(address) == network


def test_hashes_at_once_are_bounded() -> None:
    passwords = Passwords(msgspec.structs.replace(CHEAP, at_once=1, wait=0.01))
    with passwords._place(), pytest.raises(LimitError) as caught:
        passwords.verify(None, WORDS)
    assert caught.value.code == "sign-in-busy"
    assert not passwords.verify(None, WORDS)


def test_a_hash_of_another_cost_is_replaced_at_the_next_sign_in_and_ends_no_session(house: PeopleHouse) -> None:
    ada = house.enrol()
    before = house.access.snapshot.people[ada.id].password
    house.sign_in.passwords = Passwords(msgspec.structs.replace(CHEAP, memory=128))
    tried(house, "ada", "not-the-password", ada.code(house.clock.at))
    assert house.access.snapshot.people[ada.id].password == before
    house.clock.advance(30)
    house.log_in(ada)
    after = house.access.snapshot.people[ada.id].password
    assert before is not None
    assert after is not None
    assert ("m=64," in before.hash, "m=128," in after.hash) == (True, True)
    assert house.who(ada.signed_in.started.token).id == ada.id
    house.log_in(ada)
    assert house.access.snapshot.people[ada.id].password == after, "once"


def test_a_hash_that_finds_no_place_waits_for_the_next_sign_in(house: PeopleHouse) -> None:
    ada = house.enrol()
    dearer = Passwords(msgspec.structs.replace(CHEAP, memory=128, wait=0.0))
    house.sign_in.passwords = dearer
    verify, places = dearer.verify, dearer._places

    def then_busy(hashed: str | None, password: str) -> bool:
        right = verify(hashed, password)
        for _ in range(CHEAP.at_once):
            assert places.acquire(blocking=False)
        return right

    dearer.verify = then_busy
    house.log_in(ada)
    held = house.access.snapshot.people[ada.id].password
    assert held is not None
    assert "m=64," in held.hash
