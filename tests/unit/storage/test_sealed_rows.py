"""Rows that nobody can write who has only the database."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import text
from storage_house import House

from casemate.core import VerificationError
from casemate.storage import SealedRows

NOW = datetime(2026, 1, 1, tzinfo=UTC)
END = NOW + timedelta(hours=1)


class Note(msgspec.Struct, frozen=True):
    said: str


class Other(msgspec.Struct, frozen=True):
    said: str


@pytest.fixture
def house(tmp_path: Path):
    made = House(tmp_path)
    yield made
    made.engine.dispose()


@pytest.fixture
def rows(house: House) -> SealedRows:
    return SealedRows(house.engine, b"k" * 32, home_id="home_1")


def run(house: House, statement: str) -> None:
    with house.engine.begin() as connection:
        connection.execute(text(statement))


def test_a_row_is_what_was_written_until_its_end(rows: SealedRows) -> None:
    rows.put("row_1", Note("hello"), ends_at=END, principal="usr_1")
    assert rows.find("row_1", Note, now=NOW) == Note("hello")
    assert rows.of("usr_1", Note, now=NOW) == [("row_1", Note("hello"))]
    assert rows.of("usr_1", Other, now=NOW) == rows.of("usr_2", Note, now=NOW) == []
    assert rows.find("row_1", Note, now=END) is None
    assert rows.forget(now=END) == 1
    assert rows.find("row_1", Note, now=NOW) is None


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE people_rows SET ends_at = '2027-01-01T00:00:00.000000Z'",
        "UPDATE people_rows SET principal = 'usr_2' WHERE id = 'row_1'",
        "UPDATE people_rows SET kind = 'other' WHERE id = 'row_1'",
        "UPDATE people_rows SET body = substr(body, 1, length(body) - 1)",
        "UPDATE people_rows SET body = (SELECT body FROM people_rows WHERE id = 'row_2') WHERE id = 'row_1'",
    ],
)
def test_an_altered_or_moved_row_does_not_open(house: House, rows: SealedRows, statement: str) -> None:
    rows.put("row_1", Note("one"), ends_at=END, principal="usr_1")
    rows.put("row_2", Note("two"), ends_at=END, principal="usr_1")
    run(house, statement)
    with pytest.raises(VerificationError) as caught:
        rows.find("row_1", Other if "kind" in statement else Note, now=NOW)
    assert caught.value.code == "row-altered"


def test_another_key_or_home_opens_nothing(house: House, rows: SealedRows) -> None:
    rows.put("row_1", Note("one"), ends_at=END)
    for other in (
        SealedRows(house.engine, b"x" * 32, home_id="home_1"),
        SealedRows(house.engine, b"k" * 32, home_id="h"),
    ):
        with pytest.raises(VerificationError):
            other.find("row_1", Note, now=NOW)


def test_nothing_of_a_row_is_in_plain_text(house: House, rows: SealedRows) -> None:
    rows.put("row_1", Note("a-very-secret-thing"), ends_at=END)
    assert not [file for file in house.home.path.glob("casemate.db*") if b"a-very-secret" in file.read_bytes()]


def test_a_change_that_raises_changes_nothing_and_none_deletes(rows: SealedRows) -> None:
    rows.put("row_1", Note("one"), ends_at=END)

    def fails(_: Note | None) -> Note:
        raise ValueError

    with pytest.raises(ValueError):
        rows.change("row_1", Note, fails, now=NOW, ends_at=END)
    assert rows.find("row_1", Note, now=NOW) == Note("one")
    assert rows.change("row_1", Note, lambda _: None, now=NOW, ends_at=END) is None
    assert rows.find("row_1", Note, now=NOW) is None


def test_a_row_takes_the_place_of_one_that_is_there_and_of_no_other(rows: SealedRows) -> None:
    rows.put("row_1", Note("one"), ends_at=END, principal="usr_1")
    assert rows.replace("row_1", "row_2", Note("two"), ends_at=END, principal="usr_1")
    assert not rows.replace("row_1", "row_3", Note("three"), ends_at=END, principal="usr_1")
    assert [row for row, _ in rows.of("usr_1", Note, now=NOW)] == ["row_2"]
