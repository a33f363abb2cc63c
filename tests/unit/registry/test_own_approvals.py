"""Strict: two people, each with a signature of their own that no control plane can make, over exactly this version."""

from __future__ import annotations

import base64
import os
from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest
from registry_house import ANA, BEN, a_house, copy_house, push_model
from soft_passkey import SoftPasskey

from casemate.core import (
    ConflictError,
    Environment,
    InputError,
    NotFoundError,
    PolicyError,
    Principal,
    PrincipalKind,
    Profile,
    StorageError,
    VerificationError,
    parse_ref,
    rfc3339,
)
from casemate.iam import PasskeyAdded
from casemate.iam.passkeys import encode_base64url
from casemate.registry import (
    PASSKEY,
    Approver,
    Approvers,
    admitted,
    challenge,
    checked_description,
    passkey_envelope,
)
from casemate.registry.approvers import MAX_LIFE
from casemate.registry.ended import Ended
from casemate.registry.evaluation_records import exception_entry
from casemate.signing import OwnKey, encode_envelope

CAT = Principal(id="usr_cat", kind=PrincipalKind.USER, name="cat")
REF, ORIGIN = parse_ref("diagnosis@1"), "https://casemate.example"
KEYS = {person.id: OwnKey.make() for person in (ANA, BEN, CAT)}
PASSPHRASE = "correct horse battery"
WHOLE = {
    "intended_use": "Sorts scans for a doctor.",
    "owner": "Team Imaging",
    "licence": "Apache-2.0",
    "limits": "Seen no scans of children.",
    "metrics": [{"name": "accuracy", "value": 0.97}],
}


@pytest.fixture(scope="module")
def pushed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    with a_house(folder) as house:
        push_model(house, 1.0, actor=ANA, intent="evt_p1")
        push_model(house, 2.0, actor=ANA, intent="evt_p2")
        for ref in (REF, parse_ref("diagnosis@2")):  # strict asks for it
            house.models.write_card(ref, checked_description(WHOLE), actor=ANA, intent="evt_c")
    return folder


@pytest.fixture
def house(pushed, tmp_path):
    """Two versions that Ana pushed, and the keys of all three people pinned."""
    copy_house(pushed, tmp_path / "copy")
    with a_house(tmp_path / "copy") as found:
        for person in (ANA, BEN, CAT):
            pin(found, person, key=KEYS[person.id].public_pem.decode())
        for number in (1, 2):  # gates are tried in test_evaluations.py
            version = found.models.find(parse_ref(f"diagnosis@{number}"))
            entry = exception_entry(found.stores, version, reason="approvals are tried", ended=False, actor=ANA)
            found.commit([entry], f"evt_e{number}")
        yield found


def pin(house, person, *, life=timedelta(days=1), **how):
    now = house.clock.now()
    made = Approver(person=person.id, name=person.name, pinned_at=now, until=now + life, **how)
    house.pins[0] = house.pins[0].with_pin(made)


def signed(house, person, *, ref=REF, environment=Environment.DEV, key=None):
    words = house.models.approval_words(ref, environment, approver=person)
    return encode_envelope((key or KEYS[person.id]).sign(base64.b64decode(words.payload))).decode()


def approve(house, person, *, ref=REF, environment=Environment.DEV, own=None):
    own = signed(house, person, ref=ref, environment=environment) if own is None else own
    return house.models.approve(ref, environment, actor=person, intent=f"evt_{os.urandom(4).hex()}", own=own)


def deploy(house, *, name="live", ref=REF, profile=Profile.STRICT, environment=None):
    return house.deployments.deploy(
        name, ref, actor=ANA, intent=f"evt_{os.urandom(4).hex()}", profile=profile, environment=environment
    )


def refused(code, kind, call, *args, **kwargs):
    with pytest.raises(kind) as caught:
        call(*args, **kwargs)
    assert caught.value.code == code
    return caught.value


def test_strict_needs_two_people_with_signatures_of_their_own(house):
    approve(house, BEN)
    assert refused("not-approved", PolicyError, deploy, house).details == {"signed_by": [BEN.id], "needed": 2}
    approve(house, BEN)  # the same person again
    refused("not-approved", PolicyError, deploy, house)
    approve(house, CAT)
    assert deploy(house)["version"] == 1
    found, model = house.deployments.load("live")
    model.close()
    assert found.profile is Profile.STRICT
    assert house.models.show(REF)["approvals"][0]["own_signature"]


def test_an_approval_without_a_signature_counts_elsewhere_only(house):
    approve(house, BEN, own="")
    approve(house, CAT, own="")
    refused("not-approved", PolicyError, deploy, house)
    assert deploy(house, profile=Profile.STANDARD)["version"] == 1


def test_who_pushed_it_does_not_count(house):
    approve(house, ANA)
    approve(house, BEN)
    refused("not-approved", PolicyError, deploy, house)
    words = house.models.approval_words(REF, Environment.DEV, approver=BEN)
    assert words.signed_by == (BEN.id,)
    assert words.keys == (KEYS[BEN.id].keyid,)


def test_a_control_plane_that_signs_in_their_name_approves_nothing(house):
    """It holds the release key and writes any record; it cannot make what their keys make."""
    stolen = OwnKey.make()
    refused("approver-not-pinned", VerificationError, approve, house, BEN, own=signed(house, BEN, key=stolen))
    approve(house, BEN, own="")
    approve(house, CAT, own="")
    (first, second) = (e.body for e in house.stores.state.entries() if e.kind == "approval")
    forged = [
        {**first, "own": signed(house, BEN, key=stolen)},
        {**first, "own": signed(house, CAT)},  # another's signature under this name
        {**second, "own": signed(house, CAT, ref=parse_ref("diagnosis@2"))},  # of another version
        {**second, "own": signed(house, CAT, environment=Environment.STAGING)},
        {**second, "own": "{}"},
        {**second, "own": signed(house, CAT)[:-9]},
    ]
    for body in forged:
        house.commit([("approval", body)], "evt_forged")
    assert house.models.approval_words(REF, Environment.DEV, approver=ANA).signed_by == ()
    refused("not-approved", PolicyError, deploy, house)
    house.commit([("approval", {**first, "own": signed(house, BEN)})], "evt_honest")
    assert house.models.approval_words(REF, Environment.DEV, approver=ANA).signed_by == (BEN.id,)


def test_what_is_said_of_another_home_does_not_count(house):
    there = msgspec.structs.replace(house.pins[0], home="hom_elsewhere")
    here, house.pins[0] = house.pins[0], there
    own = signed(house, BEN)
    house.pins[0] = here
    refused("approval-mismatch", VerificationError, approve, house, BEN, own=own)


def test_a_key_counts_from_when_to_until_when_it_is_pinned(house):
    house.pins[0] = house.pins[0].without(BEN.name)
    late = signed(house, BEN)
    refused("approver-not-pinned", VerificationError, approve, house, BEN, own=late)
    pin(house, BEN, key=KEYS[BEN.id].public_pem.decode(), life=timedelta(seconds=5))
    approve(house, BEN)
    approve(house, CAT)
    deploy(house)
    house.clock.at += timedelta(seconds=5)
    refused("not-approved", PolicyError, house.deployments.load, "live")
    refused("approver-not-pinned", VerificationError, approve, house, BEN)


def test_an_approval_from_before_a_key_was_pinned_does_not_count(house):
    """A ledger entry's time is the keeper's: a record cannot be dated back to when a lost key still counted."""
    approve(house, CAT)
    approve(house, BEN)
    old = house.pins[0].find(KEYS[BEN.id].keyid)
    moved = msgspec.structs.replace(old, pinned_at=house.clock.now(), until=house.clock.now() + timedelta(days=1))
    house.pins[0] = house.pins[0].without(BEN.id).with_pin(moved)
    refused("not-approved", PolicyError, deploy, house)
    body = next(e.body for e in house.stores.state.entries() if e.kind == "approval" and e.body["approver"] == BEN.id)
    ended = msgspec.structs.replace(old, until=house.clock.now())
    house.pins[0] = house.pins[0].without(BEN.id).with_pin(ended)
    house.clock.at += timedelta(seconds=1)
    house.commit([("approval", {**body, "at": "2026-11-24T12:00:00Z"})], "evt_dated_back")
    refused("not-approved", PolicyError, deploy, house)


def test_an_unpinned_key_does_not_count_any_more(house):
    approve(house, BEN)
    approve(house, CAT)
    deploy(house)
    house.pins[0] = house.pins[0].without(KEYS[CAT.id].keyid[:12])
    refused("not-approved", PolicyError, house.deployments.load, "live")


def renew(house, person, *, life=timedelta(days=2)):
    pin(house, person, key=KEYS[person.id].public_pem.decode(), life=life)


def test_a_key_that_is_pinned_for_longer_counts_on(house):
    """The yearly renewal ends no deployment."""
    approve(house, BEN)
    approve(house, CAT)
    deploy(house)
    before = house.pins[0].find(KEYS[BEN.id].keyid)
    house.clock.at += timedelta(hours=23)
    renew(house, BEN)
    renew(house, CAT)
    house.clock.at += timedelta(hours=47)
    house.deployments.load("live")[1].close()
    assert house.pins[0].find(KEYS[BEN.id].keyid).pinned_at == before.pinned_at
    assert house.pins[0].find(KEYS[BEN.id].keyid).until > before.until


def test_a_key_that_is_pinned_again_after_it_ended_begins_anew(house):
    approve(house, BEN)
    approve(house, CAT)
    house.clock.at += timedelta(days=1)
    renew(house, BEN)
    renew(house, CAT)
    refused("not-approved", PolicyError, deploy, house)


def test_what_was_signed_before_a_key_was_pinned_again_is_not_played_back(house):
    """Taking a key away ends what it signed; the control plane still has it, and sends it in once more."""
    kept = {person: signed(house, person) for person in (BEN, CAT)}
    approve(house, BEN, own=kept[BEN])
    house.pins[0] = house.pins[0].without(BEN.id)
    renew(house, BEN)
    refused("approver-not-pinned", VerificationError, approve, house, BEN, own=kept[BEN])
    body = next(e.body for e in house.stores.state.entries() if e.kind == "approval")
    house.commit([("approval", body)], "evt_played_back")
    approve(house, CAT, own=kept[CAT])
    refused("not-approved", PolicyError, deploy, house)
    approve(house, BEN)
    deploy(house)


@pytest.mark.parametrize("at", ["soon", "", "0001-01-01T00:00:00+23:59", "2099-01-01T00:00:00.000000Z", "1999-01-01"])
def test_what_was_signed_says_when(house, at):
    """Its words come from the control plane, or from an approver who wrote them alone."""
    payload = base64.b64decode(house.models.approval_words(REF, Environment.DEV, approver=BEN).payload)
    said = msgspec.json.decode(payload)
    said["predicate"]["at"] = at
    own = encode_envelope(KEYS[BEN.id].sign(msgspec.json.encode(said))).decode()
    with pytest.raises(VerificationError):
        approve(house, BEN, own=own)
    forge(house, BEN, own)
    assert house.models.approval_words(REF, Environment.DEV, approver=ANA).signed_by == ()


def test_who_was_revoked_signs_nothing_more(house):
    """Their key is still pinned; the ledger, which only grows, says since when they are gone."""
    own = signed(house, CAT)
    approve(house, BEN)
    end(house, CAT.id)
    refused("approver-ended", VerificationError, approve, house, CAT, own=own)
    forge(house, CAT, own)
    refused("not-approved", PolicyError, deploy, house)


def test_what_somebody_signed_while_they_were_here_counts_on(house):
    approve(house, BEN)
    approve(house, CAT)
    end(house, CAT.id)
    deploy(house)


def forge(house, person, own):
    """As a control plane would that was broken into: an honest record, with another name and signature."""
    approve(house, person, own="")
    body = [entry.body for entry in house.stores.state.entries() if entry.kind == "approval"][-1]
    house.commit([("approval", {**body, "own": own})], "evt_forged")


def end(house, principal):
    at = rfc3339(house.clock.now())
    body = {"op": "revoke", "id": principal, "reason": "left", "revoked_by": "local:1000", "revoked_at": at}
    house.commit([("principal", body)], "evt_ended")


def test_a_passkey_that_was_removed_or_reset_signs_nothing_more(house):
    """Whoever lost the device takes it off their account, and need not know of any pin."""
    device = SoftPasskey()
    pin_passkey(house, CAT, device)
    approve(house, BEN)
    own = by_passkey(house, CAT, device)
    at = rfc3339(house.clock.now())
    gone = {
        "op": "remove-passkey",
        "id": "pky_0123456789abcdef0123456789abcdef",
        "principal": "usr_" + "0" * 32,
        "removed_at": at,
    }
    house.commit([("principal", gone)], "evt_removed")
    refused("approver-ended", VerificationError, approve, house, CAT, own=own)
    forge(house, CAT, own)
    refused("not-approved", PolicyError, deploy, house)
    assert house.models.approval_words(REF, Environment.DEV, approver=CAT).passkeys == ()


def test_a_reset_ends_the_passkeys_from_before_it_and_no_key_in_a_file():
    now, hour = a_moment(), timedelta(hours=1)
    passkey = PasskeyAdded(
        id="pky_" + "0" * 32, principal=CAT.id, credential="c" * 16, key="k" * 40, rp_id="casemate.example",
        aaguid="00000000-0000-0000-0000-000000000000", name="laptop", added_at=now,
    )  # fmt: skip
    pinned = Approver(person=CAT.id, name="cat", pinned_at=now, until=now + MAX_LIFE, passkey=passkey, origin=ORIGIN)
    key = msgspec.structs.replace(pinned, passkey=None, key=KEYS[CAT.id].public_pem.decode())
    ended = Ended(reset={CAT.id: now + hour})
    assert not ended.holds(pinned, now + hour - timedelta(microseconds=1))
    assert ended.holds(pinned, now + hour)
    assert not ended.holds(key, now + hour)
    later = msgspec.structs.replace(pinned, passkey=msgspec.structs.replace(passkey, added_at=now + hour))
    assert not ended.holds(later, now + hour)


def test_what_cannot_be_read_is_not_taken_for_what_nobody_signed(house):
    approve(house, BEN)
    approve(house, CAT)

    def broken():
        raise StorageError("The file is broken.", code="key-file-broken")

    stores = replace(house.stores, approvers=broken)
    about = house.models.find(REF).about
    refused("key-file-broken", StorageError, admitted, stores, "live", about, Environment.DEV, Profile.STRICT)


def test_strict_asks_for_a_whole_card(house):
    approve(house, BEN)
    approve(house, CAT)
    house.models.write_card(REF, checked_description(WHOLE | {"limits": ""}), actor=ANA, intent="evt_c")
    assert "does not say limits" in refused("card-incomplete", PolicyError, deploy, house).message
    assert deploy(house, name="mild", profile=Profile.STANDARD)["version"] == 1
    house.models.write_card(REF, checked_description(WHOLE), actor=ANA, intent="evt_c")
    assert deploy(house)["version"] == 1
    house.models.write_card(REF, checked_description({}), actor=ANA, intent="evt_c")
    house.deployments.load("live")[1].close()  # what serves goes on serving


def test_rolling_back_in_strict_asks_again(house):
    second = parse_ref("diagnosis@2")
    for ref in (REF, second):
        for person in (BEN, CAT):
            approve(house, person, ref=ref)
        deploy(house, ref=ref)
    house.pins[0] = house.pins[0].without(BEN.id)
    refused("not-approved", PolicyError, house.deployments.rollback, "live", actor=ANA, intent="evt_r")
    assert house.deployments.find("live").model.number == 2


@pytest.mark.parametrize(
    ("profile", "environment"), [(Profile.STANDARD, None), (Profile.OPEN, None), (Profile.STRICT, Environment.STAGING)]
)
def test_what_was_strict_stays_so_whatever_the_ledger_says_next(house, profile, environment):
    approve(house, BEN)
    approve(house, CAT)
    number = deploy(house)["number"]
    entry = next(e for e in house.stores.state.entries() if e.number == number)
    weaker = {**entry.body, "profile": profile.value}
    weaker |= {"environment": environment.value} if environment else {}
    house.commit([("deployment", weaker)], "evt_forged")
    refused("strict-stays", PolicyError, house.deployments.load, "live")
    house.pins[0] = msgspec.structs.replace(house.pins[0], relaxed={"live": number - 1})
    refused("strict-stays", PolicyError, house.deployments.load, "live")
    house.pins[0] = msgspec.structs.replace(house.pins[0], relaxed={"live": number})
    if environment is None:
        house.deployments.load("live")[1].close()


def test_a_change_that_was_undone_leaves_it_strict(house):
    approve(house, BEN)
    approve(house, CAT)
    house.gateway.broken = True
    with pytest.raises(Exception, match="did not start"):
        deploy(house)
    house.gateway.broken = False
    assert house.deployments.all() == {}
    refused("strict-stays", PolicyError, deploy, house, profile=Profile.STANDARD)
    assert deploy(house)["version"] == 1


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA", "RS256"])
def test_a_passkey_signs_as_a_key_does(house, algorithm):
    device = SoftPasskey(algorithm=algorithm)
    pin_passkey(house, CAT, device)
    approve(house, BEN)
    approve(house, CAT, own=by_passkey(house, CAT, device))
    assert deploy(house)["version"] == 1


@pytest.mark.parametrize(
    ("lies", "code"),
    [
        ({"challenge": encode_base64url(bytes(32))}, "bad-assertion"),
        ({"rp_id": "elsewhere.example"}, "bad-assertion"),
        ({"flags": 1}, "bad-assertion"),  # nobody made sure who it was
        ({"type": "webauthn.create"}, "bad-assertion"),
        ({"site": "https://elsewhere.example"}, "bad-assertion"),
    ],
)
def test_a_passkey_that_says_something_else_does_not_count(house, lies, code):
    device = SoftPasskey()
    pin_passkey(house, CAT, device)
    own = by_passkey(house, CAT, device, **lies)
    refused(code, VerificationError, approve, house, CAT, own=own)


def test_a_passkeys_answer_counts_for_the_words_that_it_signed(house):
    device = SoftPasskey()
    pin_passkey(house, CAT, device)
    own = msgspec.json.decode(by_passkey(house, CAT, device))
    other = house.models.approval_words(parse_ref("diagnosis@2"), Environment.DEV, approver=CAT)
    moved = msgspec.json.encode({**own, "payload": other.payload}).decode()
    refused("bad-assertion", VerificationError, approve, house, CAT, ref=parse_ref("diagnosis@2"), own=moved)


def pin_passkey(house, person, device):
    added = PasskeyAdded(
        id="pky_0123456789abcdef0123456789abcdef",
        principal=person.id,
        credential=encode_base64url(device.id),
        key=encode_base64url(_cbor(device.cose())),
        rp_id="casemate.example",
        aaguid="00000000-0000-0000-0000-000000000000",
        name="laptop",
        added_at=house.clock.now(),
    )
    pin(house, person, passkey=added, origin=ORIGIN)


def by_passkey(house, person, device, **lies):
    payload = base64.b64decode(house.models.approval_words(REF, Environment.DEV, approver=person).payload)
    options = {"challenge": lies.pop("challenge", encode_base64url(challenge(payload))), "rpId": "casemate.example"}
    answer = device.get(options, lies.pop("site", ORIGIN), **lies)
    answer.pop("clientExtensionResults")
    return passkey_envelope(payload, answer, PASSKEY + encode_base64url(device.id))


def _cbor(value):
    import cbor2

    return cbor2.dumps(value)


def test_pins():
    now = a_moment()
    pem = KEYS[BEN.id].public_pem.decode()
    ben = Approver(person=BEN.id, name="ben", pinned_at=now, until=now + MAX_LIFE, key=pem)
    pins = Approvers(home="hom_1").with_pin(ben)
    assert pins.with_pin(ben).pinned == (ben,)
    cat = msgspec.structs.replace(ben, person=CAT.id, name="cat")
    refused("pinned-for-another", ConflictError, pins.with_pin, cat)
    for until in (now, now - timedelta(seconds=1), now + MAX_LIFE + timedelta(seconds=1)):
        refused("bad-expiry", InputError, pins.with_pin, msgspec.structs.replace(ben, until=until))
    refused("not-pinned", NotFoundError, pins.without, "")
    refused("not-pinned", NotFoundError, pins.without, "nobody")
    assert pins.without("ben").pinned == pins.without(ben.keyid[:6]).pinned == ()
    assert pins.of(BEN.id, now=now) == [ben]
    assert pins.of(BEN.id, now=now + MAX_LIFE) == []
    assert msgspec.json.decode(msgspec.json.encode(pins), type=Approvers) == pins


def a_moment():
    from datetime import UTC, datetime

    return datetime(2026, 1, 1, tzinfo=UTC)


def test_a_key_of_ones_own_lies_behind_a_passphrase():
    key = OwnKey.make()
    refused("weak-passphrase", InputError, key.sealed_pem, "short")
    sealed = key.sealed_pem(PASSPHRASE)
    assert OwnKey.open(sealed, PASSPHRASE).keyid == key.keyid
    refused("wrong-passphrase", InputError, OwnKey.open, sealed, PASSPHRASE + "x")
    refused("bad-private-key", InputError, OwnKey.open, key.public_pem, PASSPHRASE)


def test_who_may_serve_is_one_question_for_all(house):
    """The keeper asks it before it gives a data key, the gateway before it loads."""
    about = house.models.find(REF).about
    refused("not-approved", PolicyError, admitted, house.stores, "live", about, Environment.DEV, Profile.STRICT)
    approve(house, BEN)
    approve(house, CAT)
    assert admitted(house.stores, "live", about, Environment.DEV, Profile.STRICT).about == about
    house.deployments.revoke(REF, actor=BEN, intent="evt_v", reason="backdoor")
    refused("revoked", VerificationError, admitted, house.stores, "live", about, Environment.DEV, Profile.STRICT)
