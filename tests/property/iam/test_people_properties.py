"""Whatever strangers try, a person gets in from a device that they have used; and no altered row or secret counts."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from casemate.core import CasemateError, VerificationError, without_secrets
from casemate.iam import Visitor
from casemate.iam.bearer import Kind, is_secret, new_secret
from casemate.iam.factors import hash_of_recovery, matching_step, new_recovery_codes, new_totp_secret
from casemate.iam.lockout import LONGEST, Lockout, delay
from casemate.iam.passwords import normal
from casemate.storage import SealedRows, migrate, open_database

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OWN = Visitor(address="192.0.2.7", device=new_secret(Kind.DEVICE, lambda n: b"d" * n))
PLACES = st.builds(
    Visitor,
    address=st.sampled_from(["192.0.2.7", "192.0.2.8", "198.51.100.1", "203.0.113.5", "2001:db8::1", "local", ""]),
    device=st.sampled_from(["", "cmd_guess", new_secret(Kind.DEVICE, lambda n: b"e" * n)]),
)


@pytest.fixture(scope="module")
def rows():
    with tempfile.TemporaryDirectory() as folder:
        engine = open_database(f"sqlite:///{Path(folder) / 'rows.db'}")
        migrate(engine)
        yield SealedRows(engine, b"k" * 32, home_id="home_1")
        engine.dispose()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(PLACES, st.integers(0, 120)), max_size=25))
def test_no_sequence_of_strangers_keeps_a_person_from_their_own_device(rows, attempts) -> None:
    with rows._engine.begin() as connection:
        connection.execute(text("DELETE FROM people_rows"))
    lockout, now = Lockout(rows), NOW
    lockout.remember("usr_1", OWN, now=now)
    for visitor, seconds in attempts:
        now += timedelta(seconds=seconds)
        with suppress(CasemateError):
            lockout.charge("ada", visitor, person="usr_1", now=now)
    lockout.clear(lockout.charge("ada", OWN, person="usr_1", now=now), now=now)


@given(st.integers(1, 10**9), st.integers(0, 20))
def test_a_delay_never_shrinks_and_is_bounded(failures: int, free: int) -> None:
    assert delay(failures, free) <= delay(failures + 1, free) <= LONGEST


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_flipped_bit_of_a_sealed_row_is_refused(rows, data) -> None:
    row = "places:usr_1"
    Lockout(rows).remember("usr_1", OWN, now=NOW)
    with rows._engine.begin() as connection:
        body = connection.execute(text("SELECT body FROM people_rows WHERE id = :id"), {"id": row}).scalar()
        at, bit = data.draw(st.integers(0, len(body) - 1)), data.draw(st.integers(0, 7))
        flipped = bytearray(body)
        flipped[at] ^= 1 << bit
        connection.execute(
            text("UPDATE people_rows SET body = :body WHERE id = :id"), {"body": bytes(flipped), "id": row}
        )
    with pytest.raises(VerificationError):
        Lockout(rows).is_known("usr_1", OWN, now=NOW)
    rows.remove(row)


@given(st.binary(min_size=32, max_size=32), st.sampled_from(Kind), st.data())
def test_a_secret_has_one_spelling_and_is_taken_out_of_every_text(random: bytes, kind: Kind, data) -> None:
    secret = new_secret(kind, lambda _: random)
    assert is_secret(secret, kind)
    at = data.draw(st.integers(0, len(secret) - 1))
    other = data.draw(st.sampled_from("abcXYZ019_-").filter(lambda c: c != secret[at]))
    assert not is_secret(secret[:at] + other + secret[at + 1 :], kind)
    assert secret not in without_secrets(f"reason: {secret}.")


@given(st.text(max_size=200))
def test_a_normal_password_is_normal(password: str) -> None:
    assert normal(normal(password)) == normal(password)


@given(st.binary(min_size=20, max_size=20), st.integers(0, 2**33), st.text(max_size=12))
def test_no_text_but_the_code_has_a_step(random: bytes, second: int, typed: str) -> None:
    now = datetime.fromtimestamp(second, UTC)
    step = matching_step(new_totp_secret(lambda _: random), typed, now)
    assert step is None or (len(typed) == 6 and typed.isdigit() and abs(step - second // 30) <= 1)


@given(st.binary(min_size=16, max_size=16))
def test_a_recovery_code_is_the_same_however_it_is_typed(random: bytes) -> None:
    code = new_recovery_codes(lambda _: random)[0]
    assert hash_of_recovery(code) == hash_of_recovery(code.upper().replace("-", "")) == hash_of_recovery(f" {code}\n")
