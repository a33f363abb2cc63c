"""Sessions begin, idle out, rotate and end; nobody makes or prolongs one with the database alone."""

from __future__ import annotations

import inspect
import secrets
from datetime import timedelta
from pathlib import Path

import pytest
from people_house import HERE, PeopleHouse, people_house
from sqlalchemy import text

from casemate.core import AuthError, CasemateError, VerificationError
from casemate.iam import Sessions, SignIn, end_all_sessions, end_session, invite, issue_key, reset_person, revoke_person
from casemate.iam.bearer import Kind, new_secret
from casemate.iam.factors import new_recovery_codes, new_totp_secret
from casemate.iam.sessions import ABSOLUTE, IDLE, MAX_SESSIONS


@pytest.fixture
def house(tmp_path: Path):
    with people_house(tmp_path) as made:
        yield made


def refused(house: PeopleHouse, token: str) -> str:
    with pytest.raises(AuthError) as caught:
        house.who(token)
    return caught.value.code


def test_a_session_says_who_it_is_and_when_the_second_factor_was(house: PeopleHouse) -> None:
    ada = house.enrol()
    found = house.who(ada.signed_in.started.token)
    session = ada.signed_in.started.session
    assert (found.id, found.name, found.credential) == (ada.id, "ada", session.id)
    assert found.verified_at == session.verified_at
    assert ada.signed_in.started.token not in repr(ada.signed_in)


def test_it_ends_when_it_idles_and_at_the_latest_after_twelve_hours(house: PeopleHouse) -> None:
    token = house.enrol().signed_in.started.token
    house.clock.advance(IDLE.total_seconds() - 31)
    house.who(token)
    house.clock.advance(IDLE.total_seconds() - 1)
    house.who(token)
    house.clock.advance(IDLE.total_seconds())
    assert refused(house, token) == "bad-session", "its row has ended, and tells nothing more"
    token = house.log_in(house.enrol("bob")).started.token
    begun = house.clock.at - timedelta(seconds=30)
    while house.clock.at + timedelta(minutes=20) < begun + ABSOLUTE:
        house.clock.advance(20 * 60)
        house.who(token)
    house.clock.at = begun + ABSOLUTE
    assert refused(house, token) == "bad-session"


def test_a_clock_that_goes_back_revives_nothing(house: PeopleHouse) -> None:
    token = house.enrol().signed_in.started.token
    house.clock.advance(IDLE.total_seconds())
    refused(house, token)
    house.clock.advance(-IDLE.total_seconds())
    refused(house, token)


@pytest.mark.parametrize("token", ["", "cms_", "cms_" + "x" * 49, "cms_" + "é" * 49, "cmi_" + "x" * 49])
def test_what_is_no_session_is_refused(house: PeopleHouse, token: str) -> None:
    with pytest.raises(AuthError):
        house.who(token)


def test_one_flipped_character_is_another_token(house: PeopleHouse) -> None:
    token = house.enrol().signed_in.started.token
    for at in range(4, len(token)):
        flipped = token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]
        assert refused(house, flipped) == "bad-session"


def test_a_fresh_factor_rotates_the_token_and_keeps_the_session(house: PeopleHouse) -> None:
    ada = house.enrol()
    first = house.who(ada.signed_in.started.token)
    house.clock.advance(600)
    renewed = house.sign_in.verify(first, ada.code(house.clock.at), HERE)
    assert renewed is not None
    assert refused(house, ada.signed_in.started.token) == "bad-session"
    second = house.who(renewed.token)
    assert second.credential == first.credential
    assert second.verified_at == house.clock.at
    assert renewed.session.expires_at == ada.signed_in.started.session.expires_at, "and lives no longer"


@pytest.mark.parametrize("how", ["one", "all", "person", "here"])
def test_an_end_is_at_once_and_on_record(house: PeopleHouse, how: str) -> None:
    ada = house.enrol()
    token, session = ada.signed_in.started.token, ada.signed_in.started.session
    by, now = house.who(token), house.clock.at
    if how == "one":
        house.append(end_session(session.id, by=by, reason="lost", now=now))
    elif how == "all":
        house.append(end_all_sessions(ada.id, by=by, reason="lost", now=now))
    elif how == "person":
        house.append(revoke_person(house.access, ada.id, by=by, reason="left", now=now))
    else:
        assert house.sessions.end(ada.id, session.id, now=now)
        assert not house.sessions.end(ada.id, session.id, now=now)
    refused(house, token)
    assert house.sessions.of(ada.id, now=now) == []


def test_a_row_that_is_put_back_revives_no_session_that_was_ended(house: PeopleHouse) -> None:
    ada = house.enrol()
    token, session = ada.signed_in.started.token, ada.signed_in.started.session
    with house.engine.begin() as connection:
        connection.execute(text("CREATE TABLE kept AS SELECT * FROM people_rows"))
    house.append(end_session(session.id, by=house.who(token), reason="lost", now=house.clock.at))
    house.sessions.end(ada.id, session.id, now=house.clock.at)
    with house.engine.begin() as connection:
        connection.execute(text("DELETE FROM people_rows"))
        connection.execute(text("INSERT INTO people_rows SELECT * FROM kept"))
    assert refused(house, token) == "ended-session"
    house.sessions = Sessions(house.rows, house.access)  # another process
    assert house.sessions.of(ada.id, now=house.clock.at) == []


@pytest.mark.parametrize("column", ["principal", "ends_at", "body", "kind"])
def test_with_the_database_alone_nobody_makes_or_prolongs_one(house: PeopleHouse, column: str) -> None:
    ada, bob = house.enrol("ada", "caller"), house.enrol("bob", "owner")
    token, row = ada.signed_in.started.token, ada.signed_in.started.session.row
    other = bob.signed_in.started.session.row
    values = {
        "ends_at": "'2099-01-01T00:00:00.000000Z'",
        "kind": "'step'",
        "principal": f"'{bob.id}'",
        "body": f"(SELECT body FROM people_rows WHERE id = '{other}')",
    }
    with house.engine.begin() as connection:
        connection.execute(text(f"UPDATE people_rows SET {column} = {values[column]} WHERE id = '{row}'"))
    with pytest.raises(CasemateError) as caught:
        house.sessions.authenticate(token, house.clock.at)
    assert isinstance(caught.value, AuthError | VerificationError)


def test_one_person_has_a_bounded_number_of_sessions(house: PeopleHouse) -> None:
    ada = house.enrol()
    person = house.access.snapshot.people[ada.id]
    for _ in range(MAX_SESSIONS + 3):
        house.clock.advance(1)
        house.sessions.start(person, methods=("pwd", "otp"), visitor=HERE, now=house.clock.at)
    assert len(house.sessions.of(ada.id, now=house.clock.at)) == MAX_SESSIONS
    refused(house, ada.signed_in.started.token)


def test_secrets_come_from_the_kernel_and_none_is_short() -> None:
    for maker in (SignIn, Sessions, invite, reset_person, issue_key):
        assert inspect.signature(maker).parameters["random_bytes"].default is secrets.token_bytes, maker
    asked: list[int] = []

    def counted(size: int) -> bytes:
        asked.append(size)
        return secrets.token_bytes(size)

    made = [new_secret(kind, counted) for kind in Kind]
    assert asked == [32] * len(Kind), "256 bits each"
    assert len({secret[4:] for secret in made}) == len(Kind)
    asked.clear()
    assert len(new_totp_secret(counted)) == 32
    assert asked == [20]
    asked.clear()
    codes = new_recovery_codes(counted)
    assert len(set(codes)) == 10
    assert all(size * 8 >= 112 for size in asked), asked
    assert {len(code.replace("-", "")) for code in codes} == {25}, "125 bits of base32"
