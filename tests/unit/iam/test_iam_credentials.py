"""API keys: shown once, stored as a hash, always ending."""

import base64
import json
import zlib
from datetime import timedelta

import pytest
from iam_house import OWNER, START, House

from casemate.core import AuthError, InputError, NotFoundError, Resource
from casemate.iam import issue_key, key_request, list_keys, revocation_resource, revoke_key


def request(**change):
    return key_request(**{"name": "web", "role": "caller", "scope": "deployment:spam", "now": START, **change})


def refused(house: House, key: str) -> str:
    with pytest.raises(AuthError) as caught:
        house.authorizer.authenticate(key)
    return caught.value.code


def test_a_key_proves_the_service_it_was_issued_to() -> None:
    house = House()
    issued = house.issue()
    principal = house.authorizer.authenticate(issued.key)
    assert (principal.name, principal.credential) == ("somebody", issued.id)
    assert principal.id.startswith("svc_")


def test_a_key_has_its_shape_and_two_are_never_alike() -> None:
    first, second = (issue_key(request(), issuer=OWNER) for _ in range(2))
    assert len(first.key) == len("cm_") + 43 + 6
    assert first.key.startswith("cm_")
    checksum = base64.urlsafe_b64encode(zlib.crc32(first.key[:-6].encode()).to_bytes(4))
    assert first.key[-6:] == checksum.decode().rstrip("=")
    assert first.key != second.key
    assert first.id != second.id


def test_the_ledger_and_the_repr_hold_no_key() -> None:
    issued = issue_key(request(), issuer=OWNER)
    assert [kind for kind, _ in issued.entries] == ["principal", "credential", "grant"]
    assert issued.key not in json.dumps(issued.entries)
    assert issued.key not in repr(issued)


def test_bodies_are_plain_json() -> None:
    entries = issue_key(request(), issuer=OWNER, reason="web shop").entries
    assert json.loads(json.dumps(entries)) == [list(entry) for entry in entries]


def test_any_changed_character_is_refused() -> None:
    house = House()
    key = house.issue().key
    for position, letter in enumerate(key):
        changed = key[:position] + ("A" if letter != "A" else "B") + key[position + 1 :]
        assert refused(house, changed) == "bad-credential"


@pytest.mark.parametrize("key", ["cm_", "Bearer", "cm_" + "A" * 49, "\udcff", "é" * 40, "cm_\x00", "A" * 100_000, " "])
def test_what_is_no_key_is_refused(key: str) -> None:
    assert refused(House(), key) == "bad-credential"


def test_refusals_have_one_shape_and_a_code_each() -> None:
    house = House()
    expired, revoked = house.issue(life=1), house.issue()
    house.append(revoke_key(house.access, revoked.id, by=OWNER, reason="", now=START))
    house.clock.advance(1)
    codes = {}
    for key in ("", "cm_wrong", expired.key, revoked.key):
        with pytest.raises(AuthError) as caught:
            house.authorizer.authenticate(key)
        codes[caught.value.code] = caught.value.message.partition(": ")[2]
        assert not key or key not in caught.value.message
    assert set(codes) == {"no-credential", "bad-credential", "expired-credential", "revoked-credential"}
    assert len(set(codes.values())) == 1


def test_revoked_is_told_before_expired() -> None:
    house = House()
    issued = house.issue(life=1)
    house.append(revoke_key(house.access, issued.id, by=OWNER, reason="", now=START))
    house.clock.advance(5)
    assert refused(house, issued.key) == "revoked-credential"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"name": "Web"}, "bad-name"),
        ({"name": "web shop"}, "bad-name"),
        ({"name": ""}, "bad-name"),
        ({"role": "root"}, "bad-role"),
        ({"role": ""}, "bad-role"),
        ({"scope": ""}, "bad-scope"),
        ({"scope": "deployment"}, "bad-name"),
        ({"scope": "deployment:*"}, "bad-name"),
        ({"scope": "deployment:Spam"}, "bad-name"),
        ({"scope": "key:web"}, "bad-scope"),
        ({"scope": "deployment:a:b"}, "bad-name"),
        ({"life": 0}, "bad-expiry"),
        ({"life": -1}, "bad-expiry"),
        ({"life": 366 * 86400 + 1}, "bad-expiry"),
        ({"life": float("nan")}, "bad-expiry"),
        ({"life": float("inf")}, "bad-expiry"),
        ({"rate": 0}, "bad-rate"),
        ({"rate": float("nan")}, "bad-rate"),
        ({"rate": 1e-320}, "bad-rate"),
        ({"rate": float("inf")}, "bad-rate"),
        ({"rate": 1e9}, "bad-rate"),
        ({"project": "../x"}, "bad-name"),
    ],
)
def test_a_bad_request_gets_one_sentence(change: dict, code: str) -> None:
    with pytest.raises(InputError) as caught:
        request(**change)
    assert caught.value.code == code


def test_a_key_lives_90_days_unless_said_otherwise() -> None:
    assert request().expires_at == START + timedelta(days=90)
    assert request(life=1).expires_at == START + timedelta(seconds=1)
    assert request(life=366 * 86400).expires_at == START + timedelta(days=366)


def test_the_gate_is_asked_about_exactly_what_is_issued() -> None:
    assert request().resource() == Resource(
        kind="key",
        name="web",
        attributes={"role": "caller", "scope": "deployment:spam", "expires_at": "2026-04-01T00:00:00.000000Z"},
    )


def test_the_list_shows_states_and_no_secret() -> None:
    house = House()
    live, short, lost = house.issue(), house.issue(life=1), house.issue()
    elsewhere = house.issue(project="fraud")
    house.append(revoke_key(house.access, lost.id, by=OWNER, reason="lost", now=START))
    house.clock.advance(1)
    rows = list_keys(house.access, now=house.clock.now())
    assert {row.id: row.state for row in rows} == {live.id: "active", short.id: "expired", lost.id: "revoked"}
    assert not any(key.key in repr(rows) for key in (live, short, lost))
    assert [row.id for row in list_keys(house.access, now=house.clock.now(), project="fraud")] == [elsewhere.id]


def test_revoking_twice_changes_nothing_and_an_unknown_key_is_told() -> None:
    house = House()
    issued = house.issue()
    house.append(revoke_key(house.access, issued.id, by=OWNER, reason="", now=START))
    assert revoke_key(house.access, issued.id, by=OWNER, reason="", now=START) == []
    with pytest.raises(NotFoundError) as caught:
        revoke_key(house.access, "key_x", by=OWNER, reason="", now=START)
    assert caught.value.code == "key-not-found"


def test_the_gate_is_asked_about_the_role_and_scope_of_the_key_to_revoke() -> None:
    house = House()
    issued = house.issue("approver", "model:spam")
    assert revocation_resource(house.access, issued.id).attributes == {"role": "approver", "scope": "model:spam"}
    assert revocation_resource(house.access, "key_x").attributes == {}


def test_a_keys_own_rate_is_on_its_record() -> None:
    house = House()
    issued = issue_key(request(rate=2.5), issuer=OWNER)
    house.append(issued.entries)
    assert house.access.snapshot.credentials[issued.id].rate == 2.5
