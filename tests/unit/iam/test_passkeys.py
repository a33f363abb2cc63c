"""What a passkey signed counts for one challenge, one relying party, one origin and one credential, and nothing else."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any

import pytest
from soft_passkey import AT, UP, UV, SoftPasskey

from casemate.core import InputError, VerificationError
from casemate.iam.passkeys import (
    RelyingParty,
    decode_base64url,
    encode_base64url,
    read_assertion,
    read_registration,
    relying_party,
    verify_assertion,
    verify_registration,
)
from casemate.iam.records import PasskeyAdded

PARTY = RelyingParty(origin="https://casemate.example:8444", rp_id="casemate.example")
NAMED = {"rp_id": PARTY.rp_id, "origin": PARTY.origin}
USER = "usr_" + "a" * 32
CHALLENGE = os.urandom(32)
MAKING = {
    "challenge": encode_base64url(CHALLENGE),
    "rp": {"id": PARTY.rp_id},
    "user": {"id": encode_base64url(USER.encode())},
}
ASKING = {"challenge": encode_base64url(CHALLENGE), "rpId": PARTY.rp_id}


def added(device: SoftPasskey, **more: Any) -> PasskeyAdded:
    made = verify_registration(device.create(MAKING, PARTY.origin), challenge=CHALLENGE, **NAMED)
    return PasskeyAdded(
        id="pky_" + "b" * 32,
        principal=USER,
        credential=made.credential,
        key=made.key,
        rp_id=PARTY.rp_id,
        aaguid=made.aaguid,
        transports=made.transports,
        count=made.count,
        synced=made.synced,
        name="laptop",
        added_at=datetime(2026, 1, 1, tzinfo=UTC),
        **more,
    )


def why(caught: pytest.ExceptionInfo[VerificationError]) -> str:
    return str(caught.value.details["why"])


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA", "RS256"])
def test_a_passkey_proves_its_person(algorithm: str) -> None:
    device = SoftPasskey(algorithm=algorithm)
    record = added(device)
    assert record.transports == ("hybrid", "internal")
    answer = device.get(ASKING, PARTY.origin)
    assert read_assertion(answer).challenge == CHALLENGE
    assert read_assertion(answer).user == USER
    for _ in range(2):  # pure: whether a challenge was used is the caller's to know
        verified = verify_assertion(record, answer, challenge=CHALLENGE, **NAMED)
        assert (verified.count, verified.verified) == (1, True)


def test_a_device_that_vouches_for_itself_is_taken_and_names_no_maker() -> None:
    made = SoftPasskey().create(MAKING, PARTY.origin, statement="self")
    assert verify_registration(made, challenge=CHALLENGE, **NAMED).aaguid == "00000000-0000-0000-0000-000000000000"


LIES: list[tuple[dict[str, Any], str]] = [
    ({"origin": "https://casemate.example"}, "origin"),
    ({"origin": "https://casemate.example.evil.test:8444"}, "origin"),
    ({"crossOrigin": True}, "origin"),
    ({"topOrigin": "https://evil.test"}, "origin"),
    ({"type": "webauthn.create"}, "ceremony"),
    ({"challenge": encode_base64url(os.urandom(32))}, "challenge"),
    ({"challenge": encode_base64url(CHALLENGE) + "="}, "challenge"),
    ({"rp_id": "evil.test"}, "RP ID"),
    ({"flags": UV}, "not present"),
    ({"flags": UP}, "not verified"),
    ({"flags": UP | UV | AT}, "another form"),
]


@pytest.mark.parametrize(("lie", "told"), LIES)
def test_a_lie_in_an_assertion_is_refused_the_same(lie: dict[str, Any], told: str) -> None:
    device = SoftPasskey()
    record = added(device)
    with pytest.raises(VerificationError) as caught:
        verify_assertion(record, device.get(ASKING, PARTY.origin, **lie), challenge=CHALLENGE, **NAMED)
    assert caught.value.code == "bad-assertion"
    assert told in why(caught)
    assert caught.value.message == "This answer of a passkey does not count: try again."


def test_presence_alone_counts_where_the_caller_says_so() -> None:
    device = SoftPasskey()
    record, answer = added(device), device.get(ASKING, PARTY.origin, flags=UP)
    assert not verify_assertion(record, answer, challenge=CHALLENGE, **NAMED, require_verified=False).verified


def test_every_flipped_byte_is_refused() -> None:
    device = SoftPasskey()
    record, answer = added(device), device.get(ASKING, PARTY.origin)
    for member in ("clientDataJSON", "authenticatorData", "signature"):
        data = decode_base64url(answer["response"][member], "test")
        for place in range(len(data)):
            flipped = bytearray(data)
            flipped[place] ^= 1
            changed = {**answer["response"], member: encode_base64url(bytes(flipped))}
            with pytest.raises(VerificationError):
                verify_assertion(record, {**answer, "response": changed}, challenge=CHALLENGE, **NAMED)


def test_another_credential_is_refused() -> None:
    device, other = SoftPasskey(), SoftPasskey()
    record, others = added(device), added(other)
    answer = other.get(ASKING, PARTY.origin)
    with pytest.raises(VerificationError, match="does not count"):
        verify_assertion(record, answer, challenge=CHALLENGE, **NAMED)
    passed_off = {**answer, "id": record.credential, "rawId": record.credential}
    with pytest.raises(VerificationError, match="does not count"):
        verify_assertion(record, passed_off, challenge=CHALLENGE, **NAMED)
    with pytest.raises(VerificationError, match="does not count"):
        verify_assertion(others, {**answer, "rawId": record.credential}, challenge=CHALLENGE, **NAMED)


MISSHAPEN: list[Any] = [
    None, [], "x", {}, {"id": 1}, {"id": "a", "rawId": "a", "response": {}},
    {"id": "a", "rawId": "a", "response": {"clientDataJSON": "!", "authenticatorData": "", "signature": ""}},
    {"id": "a" * 20000, "rawId": "a", "response": {"clientDataJSON": "", "authenticatorData": "", "signature": ""}},
]  # fmt: skip


@pytest.mark.parametrize("answer", MISSHAPEN)
def test_what_has_another_form_is_refused_in_one_sentence(answer: Any) -> None:
    record = added(SoftPasskey())
    with pytest.raises(VerificationError) as caught:
        verify_assertion(record, answer, challenge=CHALLENGE, **NAMED)
    assert caught.value.code == "bad-assertion"
    with pytest.raises(VerificationError) as caught:
        verify_registration(answer, challenge=CHALLENGE, **NAMED)
    assert caught.value.code == "bad-passkey"


@pytest.mark.parametrize("text", ["{}", "[]", "nonsense", '{"type": "webauthn.get", "challenge": "é", "origin": 1}'])
def test_client_data_that_cannot_be_read_is_refused(text: str) -> None:
    device = SoftPasskey()
    record, answer = added(device), device.get(ASKING, PARTY.origin)
    answer["response"]["clientDataJSON"] = encode_base64url(text.encode())
    with pytest.raises(VerificationError):
        verify_assertion(record, answer, challenge=CHALLENGE, **NAMED)
    with pytest.raises(VerificationError):
        _ = read_assertion(answer).challenge


REGISTRATION_LIES: list[dict[str, Any]] = [
    {"origin": "https://evil.test"},
    {"challenge": encode_base64url(os.urandom(32))},
    {"type": "webauthn.get"},
    {"crossOrigin": True},
    {"rp_id": "evil.test"},
    {"flags": UP},
    {"flags": UV},
    {"statement": ("packed", {"alg": -7, "sig": b"x", "x5c": [b"certificate"]})},
    {"statement": ("packed", {"alg": -7, "sig": b"x"})},
    {"statement": ("tpm", {})},
    {"statement": ("none", {"sig": b"x"})},
]


@pytest.mark.parametrize("lie", REGISTRATION_LIES)
def test_a_lie_in_a_registration_is_refused(lie: dict[str, Any]) -> None:
    with pytest.raises(VerificationError) as caught:
        verify_registration(SoftPasskey().create(MAKING, PARTY.origin, **lie), challenge=CHALLENGE, **NAMED)
    assert caught.value.code == "bad-passkey"


def test_a_weak_key_and_an_id_passed_off_are_refused() -> None:
    with pytest.raises(VerificationError):
        weak = SoftPasskey(algorithm="RS256", rsa_bits=1024).create(MAKING, PARTY.origin)
        verify_registration(weak, challenge=CHALLENGE, **NAMED)
    made = SoftPasskey().create(MAKING, PARTY.origin)
    other = encode_base64url(os.urandom(32))
    with pytest.raises(VerificationError):
        verify_registration({**made, "id": other, "rawId": other}, challenge=CHALLENGE, **NAMED)
    assert read_registration(made).challenge == CHALLENGE


@pytest.mark.parametrize(
    ("url", "origin", "rp_id"),
    [
        ("https://localhost:8444", "https://localhost:8444", "localhost"),
        ("https://Casemate.Example", "https://casemate.example", "casemate.example"),
        ("https://casemate.example:443", "https://casemate.example", "casemate.example"),
    ],
)
def test_the_relying_party_is_the_public_address(url: str, origin: str, rp_id: str) -> None:
    assert relying_party(url) == RelyingParty(origin=origin, rp_id=rp_id)


@pytest.mark.parametrize(
    "url", ["https://127.0.0.1:8444", "https://[::1]:8444", "http://localhost", "", "https://-a.b"]
)
def test_an_address_without_a_name_takes_no_passkeys(url: str) -> None:
    with pytest.raises(InputError, match="control_url"):
        relying_party(url)
