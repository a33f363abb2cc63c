"""The keys of access tokens, and tokens that count once."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from casemate.core import AuthError, PolicyError, StorageError
from casemate.keys import AccessClaims, SpentTokens, TokenKeys, make_private_folder
from casemate.keys.token_keys import AFTER, AHEAD, ROTATION

AUDIENCE = "urn:casemate:home:data"


class Clock:
    at = 1_700_000_000.0

    def __call__(self) -> float:
        return self.at


def claims(clock: Clock, **more: object) -> bytes:
    said = AccessClaims(
        iss="https://models.example", sub="svc_1", aud=AUDIENCE, iat=int(clock()), exp=int(clock()) + 300,
        jti="tok_1", client_id="key_1", scope="*",
    )  # fmt: skip
    return msgspec.json.encode({**msgspec.to_builtins(said), **more})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_private_folder(tmp_path / "keys")
    return tmp_path / "keys"


def test_a_token_verifies_with_the_published_keys_and_bears_its_type(folder: Path) -> None:
    clock = Clock()
    keys = TokenKeys(folder, audience=AUDIENCE, now=clock)
    found = jwt.decode(keys.issue(claims(clock)), KeySet.import_key_set(keys.jwks()), algorithms=["ES256"])
    assert (found.header["typ"], found.claims["client_id"]) == ("at+jwt", "key_1")
    assert set(keys.jwks()["keys"][0]) == {"alg", "crv", "kid", "kty", "use", "x", "y"}
    assert (folder / "token.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "more",
    [
        {"aud": "https://elsewhere.example"}, {"aud": AUDIENCE + " "}, {"exp": 1_700_000_301}, {"exp": 1_700_000_000},
        {"iat": 1_700_000_061, "exp": 1_700_000_100}, {"iat": 1_699_999_000, "exp": 1_699_999_200},
        {"admin": True}, {"aud": [AUDIENCE]}, {"sub": ""}, {"cnf": {"jkt": "x"}},
    ],
)  # fmt: skip
def test_nothing_else_is_signed(folder: Path, more: dict) -> None:
    clock = Clock()
    with pytest.raises(PolicyError) as caught:
        TokenKeys(folder, audience=AUDIENCE, now=clock).issue(claims(clock, **more))
    assert caught.value.code == "token-refused"


def test_what_is_no_json_is_not_signed(folder: Path) -> None:
    with pytest.raises(PolicyError):
        TokenKeys(folder, audience=AUDIENCE, now=Clock()).issue(b"{")


def test_keys_rotate_by_themselves_and_the_old_one_stays_until_its_tokens_have_ended(folder: Path) -> None:
    clock = Clock()
    keys = TokenKeys(folder, audience=AUDIENCE, now=clock)

    def kids() -> list[str]:
        return [key["kid"] for key in keys.jwks()["keys"]]

    def signs() -> str:
        token = keys.issue(claims(clock))
        return jwt.decode(token, KeySet.import_key_set(keys.jwks()), algorithms=["ES256"]).header["kid"]

    (first,) = kids()
    start = clock.at
    clock.at = start + ROTATION - AHEAD
    assert len(kids()) == 2, "the next one is published before it signs"
    second = kids()[1]
    assert signs() == first
    clock.at = start + ROTATION - 1
    assert signs() == first
    clock.at = start + ROTATION
    assert signs() == second
    clock.at = start + ROTATION + AFTER - 1
    assert first in kids()
    clock.at = start + ROTATION + AFTER
    assert kids() == [second]


def test_a_home_that_slept_for_days_publishes_a_key_before_it_signs(folder: Path) -> None:
    clock = Clock()
    keys = TokenKeys(folder, audience=AUDIENCE, now=clock)
    (first,) = [key["kid"] for key in keys.jwks()["keys"]]
    clock.at += 10 * ROTATION
    assert len(keys.jwks()["keys"]) == 2
    token = keys.issue(claims(clock))
    assert jwt.decode(token, KeySet.import_key_set(keys.jwks()), algorithms=["ES256"]).header["kid"] == first


def test_keys_are_the_same_after_a_restart(folder: Path) -> None:
    clock = Clock()
    before = TokenKeys(folder, audience=AUDIENCE, now=clock).jwks()
    assert TokenKeys(folder, audience=AUDIENCE, now=clock).jwks() == before


@pytest.mark.parametrize("content", [b"", b"{}", b"[{}]", b'[{"kid":"a","pem":"b","signs_from":1}]'])
def test_a_broken_file_stops_the_start(folder: Path, content: bytes) -> None:
    (folder / "token.json").write_bytes(content)
    (folder / "token.json").chmod(0o600)
    with pytest.raises(StorageError):
        TokenKeys(folder, audience=AUDIENCE, now=Clock())


def test_a_token_is_spent_once_also_after_a_restart(folder: Path) -> None:
    clock = Clock()
    spent = SpentTokens(folder, now=clock)
    until = int(clock.at) + 60
    spent.spend("issuer\n1", until)
    spent.spend("issuer\n2", until)
    for again in (spent, SpentTokens(folder, now=clock)):
        with pytest.raises(AuthError) as caught:
            again.spend("issuer\n1", until)
        assert caught.value.code == "token-replayed"


def test_what_a_crash_cut_off_was_not_spent(folder: Path) -> None:
    clock = Clock()
    SpentTokens(folder, now=clock).spend("whole", int(clock.at) + 60)
    path = folder / "spent.txt"
    path.write_bytes(path.read_bytes() + b"abcdef 17")
    SpentTokens(folder, now=clock).spend("more", int(clock.at) + 60)
    again = SpentTokens(folder, now=clock)
    for name in ("whole", "more"):
        with pytest.raises(AuthError):
            again.spend(name, int(clock.at) + 60)


def test_the_file_does_not_grow_for_ever(folder: Path) -> None:
    clock = Clock()
    spent = SpentTokens(folder, now=clock)
    for number in range(1300):
        spent.spend(str(number), int(clock.at))
        clock.at += 1
    assert len((folder / "spent.txt").read_text().splitlines()) < 1200


def test_a_token_that_lives_for_too_long_is_not_kept(folder: Path) -> None:
    clock = Clock()
    with pytest.raises(AuthError):
        SpentTokens(folder, now=clock).spend("x", int(clock.at) + 10 * 86400)
