"""Passkeys as factors: enrol, sign in, step up, add, name, remove; one answer for whatever is wrong; nothing counts twice."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pyotp
import pytest
from people_house import AFAR, HERE, SITE, WORDS, PeopleHouse, people_house
from soft_passkey import UP, SoftPasskey
from sqlalchemy import text

from casemate.core import AuthError, CasemateError, ConflictError, InputError, LimitError, Principal, VerificationError
from casemate.iam import SignedIn, Visitor, describe_person, reset_person, revoke_person
from casemate.iam.challenges import LIFE
from casemate.iam.passkey_factors import MAX_PASSKEYS
from casemate.iam.passkeys import decode_base64url, encode_base64url

BROWSER = "what-this-browser-was-left"


@pytest.fixture
def house(tmp_path: Path):
    with people_house(tmp_path) as made:
        yield made


class Keyed:
    """A person with a passkey alone."""

    def __init__(self, house: PeopleHouse, name: str = "ada", role: str = "owner") -> None:
        self.house, self.name, self.device = house, name, SoftPasskey()
        code = house.invite(name, role).code
        options = house.passkeys.ask_enrol(code)
        done = house.passkeys.enrol(code, self.device.create(options, SITE), " work  laptop ", HERE)
        self.recovery, self.token = done.recovery_codes, done.signed_in.started.token
        self.id = done.signed_in.started.session.principal
        house.clock.advance(1)

    @property
    def principal(self) -> Principal:
        return self.house.who(self.token)

    @property
    def held(self) -> list[Any]:
        return self.house.passkeys.all(self.principal)

    def sign_in(self, visitor: Visitor = HERE, device: SoftPasskey | None = None, **lies: Any) -> SignedIn:
        options = self.house.proof.ask_sign_in(BROWSER)
        answer = (device or self.device).get(options, lies.pop("site", SITE), **lies)
        return self.house.proof.sign_in(answer, BROWSER, visitor)

    def add(self, device: SoftPasskey | None = None, name: str = "spare", **lies: Any) -> Any:
        device = device or SoftPasskey()
        options = self.house.passkeys.ask_add(self.principal)
        return self.house.passkeys.add(self.principal, device.create(options, SITE, **lies), name, intent="int_x")


def events(house: PeopleHouse) -> list[Any]:
    return [one for one in house.log.events if one.kind == "sign-in"]


def refused(house: PeopleHouse, attempt: Any) -> tuple[CasemateError, str]:
    """What the person is told, and what is on record of it."""
    with pytest.raises(CasemateError) as caught:
        attempt()
    return caught.value, events(house)[-1].reason


def test_a_passkey_alone_enrols_and_signs_in(house: PeopleHouse) -> None:
    ada = Keyed(house)
    assert house.who(ada.token).id == ada.id
    signed_in = ada.sign_in()
    assert house.who(signed_in.started.token).id == ada.id
    assert signed_in.started.session.methods == ("passkey",)
    event = events(house)[-1]
    assert (event.outcome, event.actor, event.facts["methods"]) == ("allowed", ada.id, ["passkey"])
    shown = describe_person(house.access, house.access.snapshot.people[ada.id], now=house.clock.at)
    assert (shown.state, shown.factors, shown.recovery_codes) == ("active", ("passkey",), 10)
    (held,) = ada.held
    assert (held.name, held.used_at, held.works_here) == ("work laptop", house.clock.at, True)
    assert house.authorizer.is_fresh(house.who(signed_in.started.token))


def test_options_name_nobody_and_ask_for_both_factors(house: PeopleHouse) -> None:
    Keyed(house)
    options = house.proof.ask_sign_in(BROWSER)
    assert options["allowCredentials"] == []
    assert (options["rpId"], options["userVerification"]) == ("casemate.example", "required")
    assert len(decode_base64url(options["challenge"], "test")) == 32
    made = house.passkeys.ask_enrol(house.invite("bob", "caller").code)
    assert made["authenticatorSelection"]["residentKey"] == "required"
    assert made["authenticatorSelection"]["userVerification"] == "required"
    assert made["attestation"] == "none"


def test_whatever_is_wrong_gets_one_answer_and_a_reason_on_record(house: PeopleHouse) -> None:
    ada, bob = Keyed(house), Keyed(house, "bob")
    gone = Keyed(house, "gone")
    house.append(revoke_person(house.access, gone.id, by=ada.principal, reason="left", now=house.clock.at))
    stranger = SoftPasskey()
    stranger.user = ada.id.encode()

    def answered(**changes: Any) -> Any:
        answer = ada.device.get(house.proof.ask_sign_in(BROWSER), SITE)
        answer["response"] |= changes
        return lambda: house.proof.sign_in(answer, BROWSER, HERE)

    def at_another_browser() -> None:
        answer = ada.device.get(house.proof.ask_sign_in("another browser"), SITE)
        house.proof.sign_in(answer, BROWSER, HERE)

    def without_a_browser() -> None:
        house.proof.sign_in(ada.device.get(house.proof.ask_sign_in(""), SITE), "", HERE)

    def with_a_challenge_of(options: dict[str, Any]) -> Any:
        asked = {"rpId": "casemate.example", **options}
        return lambda: house.proof.sign_in(ada.device.get(asked, SITE), BROWSER, HERE)

    own = {"challenge": encode_base64url(b"c" * 32)}
    attempts: list[tuple[Any, str]] = [
        (lambda: ada.sign_in(site="https://casemate.example"), "passkey-origin"),
        (lambda: ada.sign_in(site="https://casemate.example.evil.test:8444"), "passkey-origin"),
        (lambda: ada.sign_in(rp_id="evil.test"), "bad-passkey"),
        (lambda: ada.sign_in(flags=UP), "bad-passkey"),
        (lambda: ada.sign_in(device=stranger), "passkey-unknown"),
        (lambda: ada.sign_in(user=bob.id.encode()), "passkey-unknown"),
        (lambda: ada.sign_in(user=b"usr_" + b"0" * 32), "bad-sign-in"),
        (lambda: ada.sign_in(user=b""), "bad-sign-in"),
        (lambda: ada.sign_in(device=gone.device), "bad-sign-in"),
        (answered(signature=encode_base64url(b"x" * 70)), "bad-passkey"),
        (answered(authenticatorData="!"), "bad-passkey"),
        (answered(clientDataJSON="!"), "bad-sign-in"),
        (at_another_browser, "passkey-challenge"),
        (without_a_browser, "passkey-challenge"),
        (with_a_challenge_of(own), "passkey-challenge"),
        (with_a_challenge_of(house.passkeys.ask_add(ada.principal)), "passkey-challenge"),
        (with_a_challenge_of(house.proof.ask_verify(ada.principal)), "passkey-challenge"),
        (lambda: house.proof.sign_in({}, BROWSER, HERE), "bad-sign-in"),
        (lambda: house.proof.sign_in(None, BROWSER, HERE), "bad-sign-in"),
    ]
    told = set()
    for number, (attempt, reason) in enumerate(attempts):
        house.clock.advance(3600)  # whoever waits is not delayed
        ada.token = ada.sign_in().started.token if number in (14, 15) else ada.token
        error, on_record = refused(house, attempt)
        assert on_record in (reason, "locked"), number
        told.add((type(error), error.code, error.message, tuple(error.details)))
    assert len(told) == 1
    assert told.pop()[:2] == (AuthError, "bad-sign-in")
    ada.sign_in()


def test_a_challenge_is_good_once_and_for_two_minutes(house: PeopleHouse) -> None:
    ada = Keyed(house)
    answer = ada.device.get(house.proof.ask_sign_in(BROWSER), SITE)
    house.proof.sign_in(answer, BROWSER, HERE)
    assert refused(house, lambda: house.proof.sign_in(answer, BROWSER, HERE))[1] == "passkey-challenge"
    late = ada.device.get(house.proof.ask_sign_in(BROWSER), SITE)
    house.clock.advance(LIFE.total_seconds())
    assert refused(house, lambda: house.proof.sign_in(late, BROWSER, HERE))[1] == "passkey-challenge"
    spoiled = ada.device.get(house.proof.ask_sign_in(BROWSER), SITE)
    wrong = {**spoiled, "response": {**spoiled["response"], "signature": "AAAA"}}
    assert refused(house, lambda: house.proof.sign_in(wrong, BROWSER, HERE))[1] == "bad-passkey"
    assert refused(house, lambda: house.proof.sign_in(spoiled, BROWSER, HERE))[1] == "passkey-challenge"


def test_of_many_answers_at_once_to_one_challenge_one_counts(house: PeopleHouse) -> None:
    ada = Keyed(house)
    ada.add(device := SoftPasskey(counts=False))
    answer = device.get(house.proof.ask_sign_in(BROWSER), SITE)

    def attempt(_: int) -> str:
        try:
            house.proof.sign_in(answer, BROWSER, HERE)
        except CasemateError as error:
            return error.code
        return "in"

    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(attempt, range(8)))
    assert told.count("in") == 1
    assert set(told) <= {"in", "bad-sign-in", "sign-in-delayed"}


def test_a_counter_that_does_not_grow_is_refused_and_on_record(house: PeopleHouse) -> None:
    ada = Keyed(house)
    ada.sign_in()
    ada.device.count = 7
    ada.sign_in()
    for back in (7, 0, -1):
        ada.device.count = back  # the next one is one more
        error, reason = refused(house, ada.sign_in)
        assert (error.code, reason) == ("bad-sign-in", "passkey-counter")
        assert events(house)[-1].facts["passkey"] == ada.held[0].id
        house.clock.advance(60)
    ada.device.count = 9
    ada.sign_in()


def test_an_authenticator_without_a_counter_is_taken(house: PeopleHouse) -> None:
    ada = Keyed(house)
    device = SoftPasskey(counts=False)
    ada.add(device)
    ada.sign_in(device=device)
    ada.sign_in(device=device)
    assert ada.held[1].used_at == house.clock.at


def test_guessing_is_slowed_as_with_passwords(house: PeopleHouse) -> None:
    ada = Keyed(house)
    for _ in range(4):
        refused(house, lambda: ada.sign_in(AFAR, flags=UP))
    with pytest.raises(LimitError) as caught:
        ada.sign_in(AFAR)
    assert (caught.value.code, caught.value.retry_after) == ("sign-in-delayed", 2.0)
    with pytest.raises(LimitError):
        house.sign_in.sign_in("ada", WORDS, "000000", AFAR)  # one count for one account
    ada.sign_in(HERE)  # a network that is known
    house.clock.advance(2)
    refused(house, lambda: ada.sign_in(AFAR, flags=UP))
    assert events(house)[-1].reason == "locked"


def test_a_passkey_is_the_second_factor_after_a_password(house: PeopleHouse) -> None:
    enrolled = house.enrol()
    ada = Keyed.__new__(Keyed)
    ada.house, ada.device, ada.token = house, SoftPasskey(), enrolled.signed_in.started.token
    ada.add(ada.device, "key")

    def after(name: str, password: str, **lies: Any) -> SignedIn:
        answer = ada.device.get(house.proof.ask_sign_in(BROWSER), SITE, **lies)
        return house.proof.sign_in_after_password(name, password, answer, BROWSER, HERE)

    signed_in = after("ada", WORDS, flags=UP)  # presence is enough here
    assert signed_in.started.session.methods == ("pwd", "passkey")
    worked = house.passwords.worked
    told = set()
    for attempt in (
        lambda: after("ada", "wrong-wrong-wrong"),
        lambda: after("nobody", WORDS),
        lambda: after("ada", WORDS, flags=4),
        lambda: house.proof.sign_in_after_password("ada", WORDS, {}, BROWSER, HERE),
    ):
        error, _ = refused(house, attempt)
        told.add((error.code, error.message))
        house.clock.advance(60)
    assert len(told) == 1
    assert house.passwords.worked == worked + 4, "the same work for each"
    with pytest.raises(AuthError):
        house.sign_in.sign_in("ada", WORDS, "", HERE)


def test_a_person_without_an_authenticator_app_comes_in_by_no_code(house: PeopleHouse) -> None:
    ada = Keyed(house)
    house.enrolment.change_password(ada.principal, "", "glacier tuba nickel fog", HERE, intent="int_p")
    house.clock.advance(1)
    decoy = pyotp.TOTP(house.sign_in._decoy).at(house.clock.at)
    with pytest.raises(AuthError):
        house.sign_in.sign_in("ada", "glacier tuba nickel fog", decoy, HERE)
    assert house.sign_in.sign_in("ada", "glacier tuba nickel fog", ada.recovery[0], HERE)


def test_a_fresh_assertion_is_a_fresh_second_factor(house: PeopleHouse) -> None:
    ada = Keyed(house)
    house.clock.advance(600)
    principal = ada.principal
    assert not house.authorizer.is_fresh(principal)
    options = house.proof.ask_verify(principal)
    assert [one["id"] for one in options["allowCredentials"]] == [encode_base64url(ada.device.id)]
    answer = ada.device.get(options, SITE)
    renewed = house.proof.verify(principal, answer, HERE)
    assert renewed is not None
    assert house.authorizer.is_fresh(house.who(renewed.token))
    with pytest.raises(AuthError):
        house.who(ada.token)
    ada.token = renewed.token
    error, reason = refused(house, lambda: house.proof.verify(ada.principal, answer, HERE))
    assert (error.code, reason) == ("bad-passkey", "passkey-challenge")
    other = Keyed(house, "bob")
    options = house.proof.ask_verify(ada.principal)
    refused(house, lambda: house.proof.verify(ada.principal, other.device.get(options, SITE), HERE))
    presence = ada.device.get(house.proof.ask_verify(ada.principal), SITE, flags=UP)
    assert refused(house, lambda: house.proof.verify(ada.principal, presence, HERE))[1] == "bad-passkey"
    foreign = ada.device.get(house.proof.ask_verify(other.principal), SITE)
    assert refused(house, lambda: house.proof.verify(ada.principal, foreign, HERE))[1] == "passkey-challenge"


def test_the_last_thing_to_sign_in_with_stays(house: PeopleHouse) -> None:
    ada = Keyed(house)
    (only,) = ada.held
    with pytest.raises(ConflictError, match="all that you can sign in with"):
        house.passkeys.remove(ada.principal, only.id, HERE, intent="int_r")
    spare = SoftPasskey()
    ada.add(spare)
    other = ada.sign_in().started.token
    house.clock.advance(1)
    verified_at = ada.principal.verified_at
    started = house.passkeys.remove(ada.principal, only.id, HERE, intent="int_r")
    assert started is not None
    with pytest.raises(AuthError):
        house.who(other)
    ada.token = started.token
    assert ada.principal.verified_at == verified_at, "removing proves nothing anew"
    assert [one.name for one in ada.held] == ["spare"]
    refused(house, ada.sign_in)
    ada.sign_in(device=spare)
    assert len(house.access.snapshot.people[ada.id].recovery) == 10


def test_a_password_and_an_app_let_the_last_passkey_go(house: PeopleHouse) -> None:
    ada = Keyed(house)
    house.clock.advance(1)
    ada.token = house.enrolment.change_password(ada.principal, "", WORDS, HERE, intent="int_p").token
    with pytest.raises(ConflictError):
        house.passkeys.remove(ada.principal, ada.held[0].id, HERE, intent="int_r")
    offered = house.enrolment.offer_totp(ada.principal)
    house.clock.advance(1)
    code = pyotp.TOTP(offered.secret).at(house.clock.at)
    ada.token = house.enrolment.confirm_totp(ada.principal, code, HERE, intent="int_t").token
    house.clock.advance(1)
    assert house.passkeys.remove(ada.principal, ada.held[0].id, HERE, intent="int_r") is not None
    with pytest.raises(AuthError, match="password is wrong"):  # from now on the old one is asked for
        signed_in = house.sign_in.sign_in("ada", WORDS, ada.recovery[0], HERE)
        house.enrolment.change_password(
            house.who(signed_in.started.token), "", "glacier tuba nickel fog", HERE, intent="int_p"
        )


def test_names_are_given_and_changed(house: PeopleHouse) -> None:
    ada = Keyed(house)
    renamed = house.passkeys.rename(ada.principal, ada.held[0].id, "schlüssel 2", intent="int_n")
    assert [one.name for one in ada.held] == [renamed.name] == ["schlüssel 2"]
    for bad in ("", "   ", "x" * 61, "a\x00b", "a\u202eb"):
        with pytest.raises(InputError, match="Name the passkey"):
            house.passkeys.rename(ada.principal, ada.held[0].id, bad, intent="int_n")
    with pytest.raises(InputError, match="no passkey"):
        house.passkeys.rename(ada.principal, "pky_" + "0" * 32, "x", intent="int_n")
    bob = Keyed(house, "bob")
    with pytest.raises(InputError, match="no passkey"):
        house.passkeys.remove(bob.principal, ada.held[0].id, HERE, intent="int_r")


def test_a_passkey_is_one_persons_and_there_are_not_too_many(house: PeopleHouse) -> None:
    ada, bob = Keyed(house), Keyed(house, "bob")
    with pytest.raises(ConflictError, match="somebody's already"):
        bob.add(ada.device)
    for number in range(MAX_PASSKEYS - 1):
        ada.add(name=f"key {number}")
    with pytest.raises(InputError, match="remove one first"):
        ada.add()


def test_a_registration_is_bound_to_who_asked_for_it(house: PeopleHouse) -> None:
    ada, bob = Keyed(house), Keyed(house, "bob")
    made = SoftPasskey().create(house.passkeys.ask_add(ada.principal), SITE)
    with pytest.raises(InputError, match="begin again"):
        house.passkeys.add(bob.principal, made, "stolen", intent="int_a")
    with pytest.raises(InputError, match="begin again"):
        house.passkeys.add(ada.principal, made, "used up", intent="int_a")
    with pytest.raises(InputError, match="does not count"):
        ada.add(flags=UP)
    with pytest.raises(InputError, match="does not count"):
        house.passkeys.add(ada.principal, {}, "x", intent="int_a")


def test_an_invitation_is_used_once_and_by_its_own_ceremony(house: PeopleHouse) -> None:
    code, other = house.invite("ada", "owner").code, house.invite("bob", "caller").code
    made = SoftPasskey().create(house.passkeys.ask_enrol(code), SITE)
    with pytest.raises(InputError, match="begin again"):
        house.passkeys.enrol(other, made, "laptop", HERE)
    made = SoftPasskey().create(house.passkeys.ask_enrol(code), SITE)
    house.passkeys.enrol(code, made, "laptop", HERE)
    with pytest.raises(AuthError):
        house.passkeys.ask_enrol(code)
    with pytest.raises(AuthError):
        house.passkeys.ask_enrol("cmi_" + "x" * 49)
    house.clock.advance(73 * 3600)
    with pytest.raises(AuthError):
        house.passkeys.ask_enrol(other)


def test_a_reset_ends_every_passkey(house: PeopleHouse) -> None:
    ada = Keyed(house)
    boss = house.enrol("boss")
    by = house.who(boss.signed_in.started.token)
    made = reset_person(house.access, ada.id, by=by, reason="lost", now=house.clock.at)
    house.append(made.entries)
    refused(house, ada.sign_in)
    device = SoftPasskey()
    house.passkeys.enrol(made.code, device.create(house.passkeys.ask_enrol(made.code), SITE), "new", HERE)
    ada.sign_in(device=device)


def test_another_address_takes_no_old_passkeys_and_one_without_a_name_none(house: PeopleHouse) -> None:
    ada = Keyed(house)
    house.url = "https://elsewhere.example"
    assert [one.works_here for one in ada.held] == [False]
    with pytest.raises(InputError, match="no passkey for this address"):
        house.proof.ask_verify(ada.principal)
    options = house.proof.ask_sign_in(BROWSER)
    answer = ada.device.get(options, house.url)
    assert refused(house, lambda: house.proof.sign_in(answer, BROWSER, HERE))[1] == "passkey-unknown"
    house.url = "https://127.0.0.1:8444"
    for attempt in (lambda: house.proof.ask_sign_in(BROWSER), lambda: house.passkeys.ask_add(ada.principal)):
        with pytest.raises(InputError, match="control_url"):
            attempt()
    assert [one.works_here for one in ada.held] == [False]


def test_a_challenge_in_the_database_that_was_altered_counts_for_nothing(house: PeopleHouse) -> None:
    ada = Keyed(house)
    answer = ada.device.get(house.proof.ask_sign_in(BROWSER), SITE)
    with house.engine.begin() as connection:
        connection.execute(text("UPDATE people_rows SET ends_at = '2099-01-01T00:00:00Z' WHERE kind = 'challenge'"))
    with pytest.raises(VerificationError) as caught:
        house.proof.sign_in(answer, BROWSER, HERE)
    assert caught.value.code == "row-altered"


def test_nothing_secret_is_on_record(house: PeopleHouse) -> None:
    ada = Keyed(house)
    ada.sign_in()
    said = msgspec.json.encode([line.body for line in house.ledger.lines] + house.log.events).decode()
    assert BROWSER not in said
    assert not [code for code in ada.recovery if code in said]
    assert ada.token not in said
    assert timedelta(minutes=1) <= LIFE <= timedelta(minutes=5)
