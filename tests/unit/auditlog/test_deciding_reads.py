"""What decides something is read from what was signed: neither a row nor the tree over it can be made to lie."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from database_words import in_words_of
from log_house import LogHouse, event

from casemate.app.ground import clock_of
from casemate.auditlog import LogReader
from casemate.auditlog.tree import HASH, TILE, leaf_hash
from casemate.core import Event, VerificationError, new_id, outcome_id, rfc3339

SIZES = [5, TILE, 2 * TILE + 9]  # a tree without a full tile, with one, with an open tile above full ones
READS: list[Callable[[LogReader], object]] = [
    LogReader.open_intents,
    LogReader.latest_time,
    lambda log: list(log.outcomes({"model:push"})),
    lambda log: log.outcome_of(VICTIM),
]
VICTIM = new_id("int")


def forged(house: LogHouse, seq: int, **parts: object) -> None:
    """Rewrite a whole row, its leaf and the tile above it, as whoever can write the database can."""
    body = msgspec.json.encode(event(**parts))
    leaf = leaf_hash(body)
    made = msgspec.json.decode(body, type=Event)
    house.change(
        "UPDATE entries SET id = ?, at = ?, kind = ?, action = ?, actor = ?, outcome = ?, body = ?, leaf = ? "
        "WHERE seq = ?",
        *(made.id, made.at, made.kind, made.action, made.actor, made.outcome, body, leaf, seq),
    )
    where = "FROM tiles WHERE level = 0 AND idx = ?"
    with house.engine.begin() as connection:
        data = connection.exec_driver_sql(in_words_of(house.engine, f"SELECT data {where}"), (seq // TILE,)).scalar()
    if data:
        at = seq % TILE * HASH
        house.change(
            "UPDATE tiles SET data = ? WHERE level = 0 AND idx = ?", data[:at] + leaf + data[at + HASH :], seq // TILE
        )


def refused(read: Callable[[LogReader], object], log: LogReader) -> bool:
    try:
        read(log)
    except VerificationError as error:
        assert error.code == "log-altered"
        return True
    return False


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("old", [True, False])
def test_an_old_row_becomes_no_intent_to_be_closed(house: LogHouse, size: int, old: bool) -> None:
    house.log.append([event(number) for number in range(size)])
    assert house.log.reader.open_intents() == []
    forged(house, 2 if old else size - 1, id=new_id("int"), kind="intent", actor="victim", action="model:approve")
    assert refused(LogReader.open_intents, house.log.reader)


@pytest.mark.parametrize("size", SIZES)
def test_no_row_gives_a_time_that_was_not_signed(house: LogHouse, size: int) -> None:
    house.log.append([event(number) for number in range(size)])
    forged(house, size - 1, at="2999-01-01T00:00:00.000000Z")
    assert refused(LogReader.latest_time, house.log.reader)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("seq", [0, 4])
def test_no_row_is_an_outcome_that_was_not_signed(house: LogHouse, size: int, seq: int) -> None:
    house.log.append([event(number) for number in range(size)])
    forged(house, seq, id=outcome_id(VICTIM), kind="outcome", action="model:push", outcome="done")
    assert refused(lambda log: log.outcome_of(VICTIM), house.log.reader)
    assert refused(lambda log: list(log.outcomes({"model:push"})), house.log.reader)


def test_columns_decide_nothing(house: LogHouse) -> None:
    done = event(id=outcome_id(VICTIM), kind="outcome", action="model:push", outcome="done")
    house.log.append([event(), event(id=VICTIM, kind="intent", action="model:push"), done, event()])
    assert house.log.reader.outcome_of(VICTIM) == done
    house.change("UPDATE entries SET kind = 'decision', action = 'x' WHERE seq = 2")
    assert list(house.log.reader.outcomes({"model:push"})) == [done]
    house.change("UPDATE entries SET id = 'evt_hidden' WHERE seq = 2")  # so that its intent would be closed again
    assert house.log.reader.open_intents() == []
    house.change("UPDATE entries SET id = ?, kind = 'intent' WHERE seq = 0", "int_other")
    assert house.log.reader.open_intents() == []
    house.change("UPDATE entries SET id = ? WHERE seq = 3", outcome_id("int_asked"))
    assert refused(lambda log: log.outcome_of("int_asked"), house.log.reader)


def test_an_open_intent_is_found_whatever_its_columns_say(house: LogHouse) -> None:
    opened = event(id=VICTIM, kind="intent", action="model:push")
    quoting = event(reason='says "kind":"intent"', facts={"kind": "intent"})
    house.log.append([event(), quoting, opened, event()])
    house.change("UPDATE entries SET kind = 'decision' WHERE seq = 2")
    assert house.log.reader.open_intents() == [opened]
    house.change("UPDATE entries SET id = ?, kind = 'outcome' WHERE seq = 3", outcome_id(VICTIM))
    assert house.log.reader.open_intents() == [opened]
    house.change("UPDATE entries SET body = '' WHERE seq = 2")
    assert refused(LogReader.open_intents, house.log.reader)
    house.change("DELETE FROM entries WHERE seq = 2")
    assert refused(LogReader.open_intents, house.log.reader)


def test_a_missing_row_hides_no_outcome(house: LogHouse) -> None:
    house.log.append([event(number) for number in range(TILE + 3)])
    house.change("DELETE FROM entries WHERE seq = 7")
    assert refused(lambda log: list(log.outcomes({"model:push"})), house.log.reader)


@pytest.mark.parametrize("read", READS)
def test_a_log_that_grows_meanwhile_is_read_as_it_stood(house: LogHouse, read: Callable[[LogReader], object]) -> None:
    for size in (1, TILE - 2, 1, 1, TILE):
        house.log.append([event(number) for number in range(size)])
        assert not refused(read, house.log.reader)


def test_a_record_far_ahead_of_the_clock_is_refused_and_not_adopted(house: LogHouse) -> None:
    soon = datetime.now(UTC) + timedelta(minutes=2)
    house.log.append([event(at=rfc3339(soon))])
    assert clock_of(house.log.reader).now() >= soon
    house.log.append([event(at="2999-01-01T00:00:00.000000Z")])
    with pytest.raises(VerificationError, match="is the machine's clock wrong") as caught:
        clock_of(house.log.reader)
    assert caught.value.code == "clock-behind"
