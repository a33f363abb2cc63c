from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, insert, select, text, update
from storage_house import AT, House

from casemate.core import InputError, StorageError, VerificationError
from casemate.keys import Head
from casemate.storage.database import ledger

COLUMNS = ["at", "kind", "body", "previous", "digest", "intent"]


@pytest.fixture
def house(tmp_path: Path):
    house = House(tmp_path)
    yield house
    house.engine.dispose()


def grow(house: House, count: int = 5) -> None:
    pen = house.pen()
    for number in range(1, count + 1):
        assert pen.append([("grant", {"secret": f"salt-{number}"})], f"int_{number}", AT) == number


def refused(house: House) -> str:
    with pytest.raises(VerificationError) as error:
        house.pen()
    return error.value.code


def test_what_is_appended_is_read_in_order(house: House) -> None:
    grow(house)
    entries = house.ledger().entries()
    assert [(e.number, e.kind, e.body, e.intent) for e in entries] == [
        (n, "grant", {"secret": f"salt-{n}"}, f"int_{n}") for n in range(1, 6)
    ]
    assert [e.number for e in house.ledger().entries(after=3)] == [4, 5]
    assert house.keeper.head() == Head(5, entries[-1].digest)


def test_what_was_committed_when_its_head_could_not_be_kept_is_said_to_count(house: House, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    pen = house.pen()
    monkeypatch.setattr(house.keeper, "seal_head", full)
    with pytest.raises(StorageError) as first:
        pen.append([("grant", {})], "int_1", AT)
    with pytest.raises(StorageError) as second:
        pen.append([("grant", {})], "int_2", AT)
    assert (first.value.code, second.value.code) == ("head-not-kept", "keys-unwritable")
    monkeypatch.undo()
    assert pen.append([("grant", {})], "int_3", AT) == 2
    assert [entry.intent for entry in house.ledger().entries()] == ["int_1", "int_3"]


def test_bodies_are_not_in_plain_text(house: House) -> None:
    grow(house)
    house.engine.dispose()
    assert all(b"salt-" not in path.read_bytes() for path in house.home.path.rglob("*") if path.is_file())


def test_nothing_is_no_entry(house: House) -> None:
    with pytest.raises(InputError):
        house.pen().append([], "int_1", AT)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(number=st.integers(1, 5), column=st.sampled_from(COLUMNS), place=st.integers(0, 500), bit=st.integers(0, 6))
def test_any_flipped_bit_is_refused(house: House, number: int, column: str, place: int, bit: int) -> None:
    if not house.ledger().entries():
        grow(house)
    with house.engine.begin() as connection:
        old = connection.execute(select(ledger.c[column]).where(ledger.c.number == number)).scalar_one()
        data = bytearray(old if column == "body" else old.encode())
        data[place % len(data)] ^= 1 << bit
        new = bytes(data) if column == "body" else data.decode()
        connection.execute(update(ledger).where(ledger.c.number == number).values({column: new}))
    assert refused(house) == "state-altered"
    with house.engine.begin() as connection:
        connection.execute(update(ledger).where(ledger.c.number == number).values({column: old}))
    house.pen()


@pytest.mark.parametrize("number", range(1, 6))
def test_a_dropped_row_is_refused(house: House, number: int) -> None:
    grow(house)
    with house.engine.begin() as connection:
        connection.execute(delete(ledger).where(ledger.c.number == number))
    assert refused(house) == ("state-rolled-back" if number == 5 else "state-altered")
    with pytest.raises(VerificationError):
        house.ledger(head=house.keeper.head).entries()


def test_rows_that_changed_places_are_refused(house: House) -> None:
    grow(house)
    with house.engine.begin() as connection:
        for old, new in ((2, 99), (3, 2), (99, 3)):
            connection.execute(update(ledger).where(ledger.c.number == old).values(number=new))
    assert refused(house) == "state-altered"


def test_an_added_row_is_refused(house: House) -> None:
    grow(house)
    with house.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO ledger (number, at, kind, body, previous, digest, signature, intent)"
                " SELECT 6, at, kind, body, digest, digest, signature, intent FROM ledger WHERE number = 5"
            )
        )
    assert refused(house) == "state-altered"


def roll_back(house: House, copy: Path | list) -> None:
    house.engine.dispose()
    if isinstance(copy, list):
        with house.engine.begin() as connection:
            connection.execute(delete(ledger))
            connection.execute(insert(ledger), copy)
        return
    for left in house.home.path.glob("casemate.db*"):
        left.unlink()
    shutil.copy(copy, house.home.database)


def copied(house: House) -> Path | list:
    """The database's file, or what stands in a server's."""
    if house.home.database is None:
        with house.engine.connect() as connection:
            return [dict(row) for row in connection.execute(select(ledger)).mappings()]
    with house.engine.connect() as connection:
        connection.rollback()
    copy = house.path / "copy.db"
    house.engine.dispose()
    return Path(shutil.copy(house.home.database, copy))


def test_an_older_database_is_refused_at_start_and_while_running(house: House) -> None:
    grow(house, 3)
    copy = copied(house)
    pen, reader = house.pen(), house.ledger(head=house.keeper.head)
    assert len(reader.entries()) == 3
    pen.append([("revocation", {})], "int_4", AT)
    assert len(reader.entries()) == 4
    roll_back(house, copy)
    assert refused(house) == "state-rolled-back"
    for act in (reader.entries, lambda: reader.entries(after=3), lambda: pen.append([("grant", {})], "int_5", AT)):
        with pytest.raises(VerificationError) as error:
            act()
        assert error.value.code == "state-rolled-back"
    assert len(house.ledger().entries()) == 3  # nothing was added to the wrong past


def test_what_was_checked_once_is_kept_and_what_comes_later_is_checked(house: House) -> None:
    grow(house, 3)
    reader = house.ledger()
    first = reader.entries()
    with house.engine.begin() as connection:
        connection.execute(update(ledger).where(ledger.c.number == 2).values(kind="trust"))
    assert reader.entries() == first  # nothing altered is ever taken in
    with house.engine.begin() as connection:
        connection.execute(update(ledger).where(ledger.c.number == 3).values(digest="sha256:" + "1" * 64))
    with pytest.raises(VerificationError):
        reader.entries()
    assert refused(house) == "state-altered"


def test_a_crash_between_commit_and_kept_head_is_accepted(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    grow(house, 2)
    pen = house.pen()
    with monkeypatch.context() as crash:
        crash.setattr(house.keeper, "seal_head", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            pen.append([("grant", {}), ("grant", {})], "int_3", AT)
    assert house.keeper.head().number == 2
    assert pen.append([("grant", {})], "int_4", AT) == 5  # the running pen goes on from it
    assert house.keeper.head().number == 5
    house.pen()


def test_half_of_a_batch_is_refused(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    pen = house.pen()
    with monkeypatch.context() as crash:
        crash.setattr(house.keeper, "seal_head", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            pen.append([("principal", {}), ("grant", {})], "int_1", AT)
    with house.engine.begin() as connection:
        connection.execute(delete(ledger).where(ledger.c.number == 2))
    assert refused(house) == "state-altered"


def test_another_homes_ledger_is_refused(house: House, tmp_path: Path) -> None:
    other = House(tmp_path / "other")
    grow(other, 3)
    grow(house, 3)
    roll_back(house, copied(other))
    assert refused(house) == "state-altered"
    other.engine.dispose()
