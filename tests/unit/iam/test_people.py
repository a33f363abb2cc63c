"""People are invited, enrol with a second factor or not at all, change their factors, are reset and revoked."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pyotp
import pytest
from iam_house import OWNER
from people_house import HERE, WORDS, PeopleHouse, people_house

from casemate.core import (
    Action,
    AuthError,
    CasemateError,
    ConflictError,
    Environment,
    InputError,
    Principal,
    PrincipalKind,
    Resource,
    VerificationError,
)
from casemate.iam import (
    check_password,
    describe_person,
    list_people,
    local_owner,
    person_request,
    reset_person,
    revoke_person,
)
from casemate.iam.people import INVITATION_LIFE
from casemate.iam.records import Enrolled, Invited, PasswordSet, PrincipalCreated


@pytest.fixture
def house(tmp_path: Path):
    with people_house(tmp_path) as made:
        yield made


def code_of(offered, house: PeopleHouse) -> str:
    return pyotp.TOTP(offered.secret).at(house.clock.at)


def test_a_person_is_active_only_once_the_second_factor_is_confirmed(house: PeopleHouse) -> None:
    made = house.invite("ada", "owner")
    person = Principal(id=made.person, kind=PrincipalKind.USER, name="ada")
    assert not house.authorizer.decide(person, Action.MODEL_READ, Resource("model", "m")).allowed
    offered = house.enrolment.begin(made.code, WORDS)
    assert not house.access.snapshot.people[made.person].is_active
    with pytest.raises(AuthError) as caught:
        house.enrolment.confirm(made.code, "000000", HERE)
    assert caught.value.code == "bad-code"
    with pytest.raises(AuthError):
        house.sign_in.sign_in("ada", WORDS, code_of(offered, house), HERE)
    house.clock.advance(60)
    done = house.enrolment.confirm(made.code, code_of(offered, house), HERE)
    assert house.access.snapshot.people[made.person].is_active
    assert len(set(done.recovery_codes)) == 10
    assert house.who(done.signed_in.started.token).id == made.person


def test_a_person_approves_as_one_only_with_a_second_factor(house: PeopleHouse) -> None:
    invited = house.invite("eve")
    ada = house.who(house.enrol().signed_in.started.token)
    assert house.access.is_person(ada.id)
    assert house.access.is_person(OWNER.id)
    assert not house.access.is_person(invited.person)
    assert not house.access.is_person("svc_" + "0" * 32)


def test_an_invitation_is_good_once_and_for_72_hours(house: PeopleHouse) -> None:
    made = house.invite()
    offered = house.enrolment.begin(made.code, WORDS)
    offered = house.enrolment.begin(made.code, WORDS + "-again")  # begun anew: the last one counts
    house.enrolment.confirm(made.code, code_of(offered, house), HERE)
    for attempt in (
        lambda: house.enrolment.begin(made.code, WORDS),
        lambda: house.enrolment.confirm(made.code, "1", HERE),
    ):
        with pytest.raises(AuthError) as caught:
            attempt()
        assert caught.value.code == "bad-invitation"
    late = house.invite("bob", "caller")
    house.clock.advance(INVITATION_LIFE.total_seconds())
    with pytest.raises(AuthError):
        house.enrolment.begin(late.code, WORDS)
    (bob,) = [one for one in list_people(house.access, now=house.clock.at) if one.name == "bob"]
    assert bob.state == "lapsed"
    again = reset_person(house.access, late.person, by=OWNER, reason="was away", now=house.clock.at)
    house.append(again.entries)
    house.enrolment.begin(again.code, WORDS)


@pytest.mark.parametrize("code", ["", "cmi_", "cmi_" + "x" * 49, "cm_" + "x" * 49, "\ud800"])
def test_what_is_no_invitation_is_refused(house: PeopleHouse, code: str) -> None:
    house.invite()
    with pytest.raises(AuthError) as caught:
        house.enrolment.begin(code, WORDS)
    assert caught.value.code == "bad-invitation"


def test_a_revoked_person_cannot_enrol_and_their_name_is_free(house: PeopleHouse) -> None:
    made = house.invite()
    house.append(revoke_person(house.access, made.person, by=OWNER, reason="mistake", now=house.clock.at))
    with pytest.raises(AuthError):
        house.enrolment.begin(made.code, WORDS)
    assert revoke_person(house.access, made.person, by=OWNER, reason="", now=house.clock.at) == []
    house.enrol("ada")


def test_two_people_do_not_share_a_name(house: PeopleHouse) -> None:
    house.invite()
    with pytest.raises(ConflictError) as caught:
        house.invite()
    assert caught.value.code == "name-taken"


@pytest.mark.parametrize("name", ["", "Ada", "ada lovelace", "аda", "a" * 64, "ada\n"])
def test_names_that_look_alike_or_odd_are_refused(house: PeopleHouse, name: str) -> None:
    with pytest.raises(InputError):
        person_request(name, role="owner", scope="*", now=house.clock.at)


def test_a_reset_ends_factors_and_sessions_and_begins_anew(house: PeopleHouse) -> None:
    ada = house.enrol()
    house.clock.advance(1)
    again = reset_person(house.access, ada.id, by=OWNER, reason="lost the phone", now=house.clock.at)
    house.append(again.entries)
    with pytest.raises(AuthError):
        house.who(ada.signed_in.started.token)
    with pytest.raises(AuthError):
        house.log_in(ada)
    shown = describe_person(house.access, house.access.snapshot.people[ada.id], now=house.clock.at)
    assert (shown.state, shown.factors, shown.recovery_codes) == ("invited", (), 0)
    offered = house.enrolment.begin(again.code, WORDS)
    house.enrolment.confirm(again.code, code_of(offered, house), HERE)
    with pytest.raises(AuthError):
        house.who(ada.signed_in.started.token)


def test_a_new_password_ends_every_other_session(house: PeopleHouse) -> None:
    ada = house.enrol()
    other = house.log_in(ada)
    principal = house.who(ada.signed_in.started.token)
    new = "glacier-tuba-nickel-fog"
    with pytest.raises(AuthError) as caught:
        house.enrolment.change_password(principal, "not-the-old-one", new, HERE, intent="int_1")
    assert caught.value.code == "bad-password"
    for _ in range(4):
        house.clock.advance(60)
        with pytest.raises(AuthError):
            house.enrolment.change_password(principal, "not-the-old-one", new, HERE, intent="int_1")
    assert house.log.events[-1].reason == "locked"
    house.clock.advance(60)
    started = house.enrolment.change_password(principal, WORDS, new, HERE, intent="int_1")
    house.who(started.token)
    for ended in (ada.signed_in.started.token, other.started.token):
        with pytest.raises(AuthError):
            house.who(ended)
    with pytest.raises(AuthError):
        house.log_in(ada)
    house.clock.advance(30)
    ada.password = new
    house.log_in(ada)


def test_a_new_second_factor_counts_once_it_is_confirmed(house: PeopleHouse) -> None:
    ada = house.enrol()
    principal = house.who(ada.signed_in.started.token)
    offered = house.enrolment.offer_totp(principal)
    house.log_in(ada)
    with pytest.raises(AuthError):
        house.enrolment.confirm_totp(principal, "000000", HERE, intent="int_1")
    started = house.enrolment.confirm_totp(principal, code_of(offered, house), HERE, intent="int_1")
    house.who(started.token)
    with pytest.raises(AuthError):
        house.who(ada.signed_in.started.token)
    house.clock.advance(30)
    with pytest.raises(AuthError):
        house.log_in(ada)
    ada.secret = offered.secret
    house.clock.advance(30)
    house.log_in(ada)


def test_new_recovery_codes_take_the_place_of_the_old(house: PeopleHouse) -> None:
    ada = house.enrol()
    codes = house.enrolment.new_recovery_codes(house.who(ada.signed_in.started.token), intent="int_1")
    with pytest.raises(AuthError):
        house.sign_in.sign_in("ada", WORDS, ada.recovery[0], HERE)
    house.sign_in.sign_in("ada", WORDS, codes[0], HERE)


def test_a_service_has_no_factors_to_change(house: PeopleHouse) -> None:
    with pytest.raises(InputError) as caught:
        house.enrolment.offer_totp(house.holder())
    assert caught.value.code == "no-second-factor"


def test_whoever_invited_the_approver_is_no_second_person(house: PeopleHouse) -> None:
    ada = house.enrol("ada")
    by = house.who(ada.signed_in.started.token)
    bob = house.enrol("bob", "approver", by=by)
    kim = house.enrol("kim", "approver")  # by the machine's own owner
    pushed = Resource("model", "m", environment=Environment.PRODUCTION, attributes={"pushed_by": ada.id})
    for who, allowed in ((bob, False), (kim, True)):
        decision = house.authorizer.decide(house.who(who.signed_in.started.token), Action.MODEL_APPROVE, pushed)
        assert decision.allowed == allowed, who.name
    again = reset_person(house.access, kim.id, by=by, reason="lost the phone", now=house.clock.at)
    house.append(again.entries)
    offered = house.enrolment.begin(again.code, WORDS)
    done = house.enrolment.confirm(again.code, code_of(offered, house), HERE)
    kim = house.who(done.signed_in.started.token)
    assert house.authorizer.decide(kim, Action.MODEL_APPROVE, pushed).policies == ("four-eyes",)


# Passwords ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "password",
    ["", "short", "elevenchars", "x" * 129, "password1234", "qwertyuiop12", "aaaaaaaaaaaaaaa", "casemate-is-mine-99",
     "123456789012", "grace-and-mountains-9", "GRACE-and-mountains-9", "abcdefghijklmnop"],
)  # fmt: skip
def test_weak_passwords_are_refused_with_what_to_do(password: str) -> None:
    with pytest.raises(InputError) as caught:
        check_password(password, name="grace")
    assert caught.value.code == "weak-password"
    assert password == "" or len(password) < 6 or password not in caught.value.message


@pytest.mark.parametrize(
    "password",
    [
        WORDS,
        "correct zebra staple quilt",
        "пароль из многих слов и рек",
        "n" + "ø" * 3 + " vågal hest fjord",
        "x7#kQ!mmZ2pL",
    ],
)
def test_long_ones_of_any_characters_are_taken(password: str) -> None:
    check_password(password, name="grace")


def test_a_password_is_the_same_however_it_is_composed(house: PeopleHouse) -> None:
    hashed = house.passwords.hash("cafe\u0301 au lait bien chaud")
    assert house.passwords.verify(hashed, "café au lait bien chaud")
    assert hashed.startswith("$argon2id$")
    assert house.passwords.hash("café au lait bien chaud") != hashed, "each has its own salt"


# The record --------------------------------------------------------------------------------------------------------


def test_a_record_that_contradicts_itself_stops_the_fold(house: PeopleHouse) -> None:
    made = house.invite()
    at = house.clock.at
    invitation = house.access.snapshot.people[made.person].invitation.id
    bad = [
        Enrolled(principal=made.person, invitation=invitation, enrolled_at=at),  # without a factor
        Enrolled(principal=made.person, invitation="inv_" + "0" * 32, enrolled_at=at),
        PasswordSet(principal="usr_" + "0" * 32, hash="$argon2id$x", set_at=at),  # nobody's
        PrincipalCreated(
            id="usr_" + "1" * 32, kind=PrincipalKind.USER, name="ada", project="default", created_by="x", created_at=at
        ),
    ]
    for record in bad:
        kept = list(house.ledger.lines)
        house.ledger.append([("principal", record.body())])
        with pytest.raises(VerificationError) as caught:
            house.access.refresh()
        assert caught.value.code == "state-unreadable"
        house.ledger.lines[:] = kept
        house.access.refresh()
    ada = house.enrol("eve")
    twice = Invited(
        id="inv_" + "2" * 32, principal=ada.id, hash="0" * 64, reason="", invited_by="x", invited_at=at, expires_at=at
    )
    house.ledger.append([("principal", twice.body())])
    with pytest.raises(VerificationError):
        house.access.refresh()


def test_no_secret_is_in_a_list_or_repr(house: PeopleHouse) -> None:
    made = house.invite("bob", "caller")
    ada = house.enrol()
    text = msgspec.json.encode(list_people(house.access, now=house.clock.at)).decode()
    for secret in (made.code, ada.secret, "argon2", *ada.recovery):
        assert secret not in text + repr(made) + repr(ada.signed_in)


def test_only_the_homes_owner_is_local_and_only_once(house: PeopleHouse) -> None:
    for by, code in (
        (house.who(house.enrol("bob").signed_in.started.token), "not-local"),
        (local_owner(7), "not-local"),
    ):
        with pytest.raises(CasemateError) as caught:
            house.invite("eve", "owner", by=by, local=True)
        assert caught.value.code == code
    house.enrol("me", local=True)
    with pytest.raises(ConflictError):
        house.invite("me-too", "owner", local=True)


def test_every_character_of_a_password_counts(house: PeopleHouse) -> None:
    ada = house.enrol()
    long = "Tidal gravel " * 9 + "otter"
    house.enrolment.change_password(house.who(ada.signed_in.started.token), WORDS, long, HERE, intent="int_1")
    for other in (long[:-1], long[:72], long[:64], long.lower(), long.upper(), long + " ", " " + long, long + "\x00"):
        assert not house.passwords.verify(house.access.snapshot.people[ada.id].password.hash, other)
    ada.password = long
    house.clock.advance(30)
    house.log_in(ada)


def test_a_password_does_not_age(house: PeopleHouse) -> None:
    ada = house.enrol()
    house.clock.advance(10 * 366 * 86400)
    house.log_in(ada)
