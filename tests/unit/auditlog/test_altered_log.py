"""Any altered byte of what is stored is found, and the row that it stands in is named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from log_house import LogHouse, event, log_house

from casemate.auditlog import Report
from casemate.auditlog.tree import TILE
from casemate.core import VerificationError

SIZE = TILE + 60  # one full tile, one open tile of each level
COLUMNS = ("id", "at", "kind", "project", "action", "actor", "resource", "outcome", "body", "leaf")
SHARED = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LogHouse]:
    made = log_house(tmp_path_factory.mktemp("log"))
    for first in range(0, SIZE, 40):
        made.log.append([event(number, outcome="done") for number in range(first, min(first + 40, SIZE))])
    yield made
    made.engine.dispose()


def flipped(house: LogHouse, table: str, column: str, where: str, data: st.DataObject) -> Report:
    """What verification says while one bit of a stored value is another."""
    on_postgresql = house.engine.dialect.name == "postgresql"
    with house.engine.begin() as connection:
        query = f"SELECT CAST({column} AS BLOB), typeof({column}) FROM {table} WHERE {where}"
        if on_postgresql:
            query = f"SELECT {column}::text::bytea, pg_typeof({column})::text FROM {table} WHERE {where}"
            if column in ("body", "leaf", "data", "root"):
                query = f"SELECT {column}, 'bytea' FROM {table} WHERE {where}"
        before, kind = connection.exec_driver_sql(query).one()
    at, bit = data.draw(st.integers(0, len(before) - 1)), data.draw(st.integers(0, 7))
    after = before[:at] + bytes([before[at] ^ 1 << bit]) + before[at + 1 :]
    value = "CAST(? AS TEXT)" if kind == "text" else "?"
    if on_postgresql and kind != "bytea":
        assume(b"\0" not in after and after.decode(errors="replace").encode() == after)  # it stores nothing else
        before, after = before.decode(), after.decode()
    house.change(f"UPDATE {table} SET {column} = {value} WHERE {where}", after)
    try:
        return house.verify()
    finally:
        house.change(f"UPDATE {table} SET {column} = {value} WHERE {where}", before)


def id_of(house: LogHouse, seq: int) -> str:
    with house.engine.begin() as connection:
        return str(connection.exec_driver_sql(f"SELECT id FROM entries WHERE seq = {seq}").scalar_one())


@pytest.mark.once  # with the log of the whole module
@given(seq=st.integers(0, SIZE - 1), column=st.sampled_from(COLUMNS), data=st.data())
@SHARED
def test_a_flipped_bit_of_a_row_names_the_row(filled: LogHouse, seq: int, column: str, data: st.DataObject) -> None:
    report = flipped(filled, "entries", column, f"seq = {seq}", data)
    assert not report.ok
    assert {problem.seq for problem in report.problems} - {None} == {seq}
    if column != "id":
        assert id_of(filled, seq) in {problem.id for problem in report.problems}


@pytest.mark.once  # with the log of the whole module
@given(tile=st.sampled_from([(0, 0), (1, 0)]), data=st.data())
@SHARED
def test_a_flipped_bit_of_a_tile_names_the_tile(filled: LogHouse, tile: tuple[int, int], data: st.DataObject) -> None:
    level, number = tile
    assume(level == 0 or filled.engine.dialect.name == "sqlite")  # PostgreSQL stores full tiles alone
    report = flipped(filled, "tiles", "data", f"level = {level} AND idx = {number}", data)
    assert [one.problem for one in report.problems if one.problem.startswith(f"tile {number} of level {level} ")]


@pytest.mark.once  # with the log of the whole module
@given(column=st.sampled_from(["text", "root"]), data=st.data())
@SHARED
def test_a_flipped_bit_of_a_checkpoint_names_it(filled: LogHouse, column: str, data: st.DataObject) -> None:
    report = flipped(filled, "checkpoints", column, f"size = {SIZE}", data)
    assert not report.ok
    assert all(str(SIZE) in problem.problem for problem in report.problems)


@pytest.mark.once  # with the log of the whole module
def test_nothing_was_left_altered_by_these_tests(filled: LogHouse) -> None:
    assert (filled.verify().ok, filled.verify().size) == (True, SIZE)


@pytest.mark.parametrize(("one", "other"), [(10, 11), (5, 200), (100, SIZE - 1), (SIZE - 2, SIZE - 1)])
def test_rows_in_another_order_are_found(tmp_path: Path, one: int, other: int) -> None:
    house = log_house(tmp_path)
    house.log.append([event(number) for number in range(SIZE)])
    for seq, to in ((one, -1), (other, one), (-1, other)):
        house.change("UPDATE entries SET seq = ? WHERE seq = ?", to, seq)
    report = house.verify()
    assert not report.ok
    named = {problem.seq for problem in report.problems} - {None}
    assert named == {seq for seq in (one, other) if seq < TILE}  # the newest ones are covered by no stored tile
    house.engine.dispose()


def test_an_altered_row_hides_no_other_and_is_not_proven(tmp_path: Path) -> None:
    house = log_house(tmp_path)
    events = [event(number) for number in range(5)]
    house.log.append(events)
    house.change("UPDATE entries SET body = x'ff00' WHERE seq = 2")
    items = house.log.reader.page().items
    assert [item["seq"] for item in items] == [4, 3, 2, 1, 0]
    assert items[2]["kind"] == "altered"
    assert "audit verify" in items[2]["reason"]
    with pytest.raises(Exception, match="Entry 2 is not what was written"):
        house.log.reader.prove(events[2].id)
    house.engine.dispose()


@pytest.mark.once  # with the log of the whole module
@pytest.mark.parametrize(("column", "value", "before"), [("environment", "zz", None), ("schema", 7, 1)])
def test_what_each_row_carries_is_compared_too(filled: LogHouse, column: str, value: object, before: object) -> None:
    filled.change(f"UPDATE entries SET {column} = ? WHERE seq = 5", value)
    try:
        assert [problem.seq for problem in filled.verify().problems] == [5]
    finally:
        filled.change(f"UPDATE entries SET {column} = ? WHERE seq = 5", before)


@pytest.mark.only("sqlite")  # PostgreSQL stores no such text
def test_text_that_is_no_utf8_hides_no_other_entry(tmp_path: Path) -> None:
    house = log_house(tmp_path)
    house.log.append([event(number) for number in range(3)])
    house.change("UPDATE entries SET body = CAST(x'ff41' AS TEXT) WHERE seq = 1")
    assert [item["kind"] == "altered" for item in house.log.reader.page().items] == [False, True, False]
    assert list(house.log.reader.bodies())[1] == b"\xffA"
    house.change("UPDATE entries SET body = CAST(x'ff41' AS TEXT) WHERE seq = 2")
    with pytest.raises(VerificationError, match="Entry 2 is not what was written"):
        house.log.reader.latest_time()
    house.engine.dispose()


def test_a_whole_entry_under_a_cut_tree_is_not_called_altered(tmp_path: Path) -> None:
    house = log_house(tmp_path)
    events = [event(number) for number in range(3)]
    house.log.append(events)
    house.change("DELETE FROM entries WHERE seq = 2")
    with pytest.raises(VerificationError, match="Entry 0 cannot be proven"):
        house.log.reader.prove(events[0].id)
    house.engine.dispose()
