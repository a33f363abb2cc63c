"""A command line that is signed in from a browser: by its person, once, and no further than the browser's session."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from people_house import AFAR, Enrolled, PeopleHouse, people_house

from casemate.core import AuthError, InputError, Principal
from casemate.iam import CommandLine, Visitor, challenge_of, hand_over, redeem_command
from casemate.iam.sessions import ABSOLUTE

VERIFIER = "v" * 43
COMMAND = CommandLine(challenge=challenge_of(VERIFIER), port=4000)


@pytest.fixture
def house(tmp_path: Path):
    with people_house(tmp_path) as made:
        yield made


@pytest.fixture
def ada(house: PeopleHouse) -> Enrolled:
    return house.enrol("ada")


def browser_of(house: PeopleHouse, person: Enrolled) -> Principal:
    return house.who(person.signed_in.started.token)


def redeem(house: PeopleHouse, ticket: str, verifier: str = VERIFIER, visitor: Visitor = AFAR) -> Principal:
    return house.who(redeem_command(house.sign_in, ticket, verifier, visitor).started.token)


def refused(house: PeopleHouse, ticket: str, verifier: str = VERIFIER) -> str:
    with pytest.raises(AuthError) as caught:
        redeem(house, ticket, verifier)
    return caught.value.code


def test_it_is_a_session_of_its_own_as_strong_and_no_longer(house: PeopleHouse, ada: Enrolled) -> None:
    browser = browser_of(house, ada)
    house.clock.advance(600)
    command = redeem(house, hand_over(house.sign_in, browser, COMMAND))
    assert (command.id, command.credential != browser.credential) == (browser.id, True)
    assert command.verified_at == browser.verified_at, "no fresher than the browser's"
    ends = {one.id: one.expires_at for one in house.sessions.of(ada.id, now=house.clock.at)}
    assert ends[command.credential] == ends[browser.credential], "handing on prolongs nothing"
    assert ends[command.credential] - house.clock.at < ABSOLUTE
    assert house.log.events[-1].facts["address"] == AFAR.address


def test_a_ticket_counts_once_for_three_minutes_and_for_its_command(house: PeopleHouse, ada: Enrolled) -> None:
    browser = browser_of(house, ada)
    ticket = hand_over(house.sign_in, browser, COMMAND)
    assert refused(house, ticket, "w" * 43) == "bad-ticket"
    assert refused(house, "t" * 43) == refused(house, "") == refused(house, ticket, "") == "bad-ticket"
    redeem(house, ticket)
    assert refused(house, ticket) == "bad-ticket"
    late = hand_over(house.sign_in, browser, COMMAND)
    house.clock.advance(180)
    assert refused(house, late) == "bad-ticket"


def test_a_browser_that_signed_out_has_let_nobody_in(house: PeopleHouse, ada: Enrolled) -> None:
    browser = browser_of(house, ada)
    ticket = hand_over(house.sign_in, browser, COMMAND)
    house.sessions.end(browser.id, browser.credential, now=house.clock.at)
    assert refused(house, ticket) == "bad-ticket"
    with pytest.raises(AuthError):
        hand_over(house.sign_in, browser, COMMAND)


@pytest.mark.parametrize("command", [CommandLine(challenge="x", port=4000), CommandLine(challenge="c" * 43, port=80)])
def test_an_odd_command_is_refused(house: PeopleHouse, ada: Enrolled, command: CommandLine) -> None:
    with pytest.raises(InputError) as caught:
        hand_over(house.sign_in, browser_of(house, ada), command)
    assert caught.value.code == "bad-challenge"


def test_a_row_of_another_kind_is_no_ticket(house: PeopleHouse, ada: Enrolled) -> None:
    """Nor is a provider's ticket one: each is found under a name of its own."""
    ticket = hand_over(house.sign_in, browser_of(house, ada), COMMAND)
    assert refused(house, ticket[:-1] + ("A" if ticket[-1] != "A" else "B")) == "bad-ticket"
    house.clock.advance(timedelta(minutes=1).total_seconds())
    assert redeem(house, ticket).id == ada.id
