"""Appending, recovering, and what verification finds."""

from __future__ import annotations

import threading

import pytest
from log_house import LogHouse, event

from casemate.auditlog.tree import TILE
from casemate.core import INTENT, ConflictError, StorageError, VerificationError, new_id, outcome_id

SIZES = (1, 5, TILE - 6, TILE, 3)  # ends before, on and after the end of a tile


@pytest.fixture
def filled(house: LogHouse) -> LogHouse:
    for size in SIZES:
        house.log.append([event(number) for number in range(size)])
    return house


def test_what_was_appended_is_there_and_verifies(filled: LogHouse) -> None:
    report = filled.verify()
    assert (report.ok, report.size, report.problems) == (True, sum(SIZES), [])
    assert filled.log.reader.size() == sum(SIZES)


def test_an_empty_log_verifies(house: LogHouse) -> None:
    assert house.verify().ok


def test_a_log_goes_on_where_it_ended(filled: LogHouse) -> None:
    for _ in range(3):
        filled.reopen().append([event(), event()])
    assert (filled.verify().ok, filled.verify().size) == (True, sum(SIZES) + 6)


def test_callers_at_the_same_time_lose_nothing(house: LogHouse) -> None:
    mine = [[event(number) for number in range(40)] for _ in range(8)]

    def append(events: list) -> None:
        for one in events:
            house.log.append([one])

    threads = [threading.Thread(target=append, args=(events,)) for events in mine]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = {item["id"] for body in [house.log.reader.page(limit=200)] for item in body.items}
    assert house.log.reader.size() == 320
    assert found <= {one.id for events in mine for one in events}
    assert house.verify().ok


def test_a_repeated_event_is_refused_and_the_others_are_kept(house: LogHouse) -> None:
    one = event()
    house.log.append([one])
    errors: list[Exception] = []

    def append(events: list) -> None:
        try:
            house.log.append(events)
        except ConflictError as error:
            errors.append(error)

    threads = [threading.Thread(target=append, args=([each],)) for each in (one, event(), event())]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [error.code for error in errors] == ["event-repeated"]
    assert (house.log.reader.size(), house.verify().ok) == (3, True)


def test_a_log_that_cannot_be_written_says_so_and_goes_on_later(house: LogHouse) -> None:
    house.change("ALTER TABLE tiles RENAME TO elsewhere")
    with pytest.raises(StorageError):
        house.log.append([event(number) for number in range(TILE)])
    house.change("ALTER TABLE elsewhere RENAME TO tiles")
    house.log.append([event(number) for number in range(TILE)])
    assert (house.verify().ok, house.verify().size) == (True, TILE)


ONE_MORE = """INSERT INTO entries SELECT seq + 1, id || 'x', at, kind, action, actor, resource, outcome, body, leaf
FROM entries ORDER BY seq DESC LIMIT 1"""
ALTERATIONS = [
    ("UPDATE entries SET actor = 'nobody' WHERE seq = 100", 100),
    ("UPDATE entries SET at = '2020-01-01T00:00:00.000000Z' WHERE seq = 100", 100),
    ("UPDATE entries SET outcome = 'done' WHERE seq = 100", 100),
    ("UPDATE entries SET id = 'evt_x' WHERE seq = 100", 100),
    ("UPDATE entries SET body = x'7b7d' WHERE seq = 100", 100),
    ("UPDATE entries SET body = 'text' WHERE seq = 100", 100),
    ("UPDATE entries SET leaf = zeroblob(32) WHERE seq = 100", 100),
    ("DELETE FROM entries WHERE seq = 100", 101),
    ("UPDATE tiles SET data = zeroblob(8192) WHERE idx = 0", 100),
    ("UPDATE tiles SET data = 'text' WHERE idx = 0", 100),
]


@pytest.mark.parametrize(("statement", "seq"), ALTERATIONS)
def test_an_altered_row_is_named(filled: LogHouse, statement: str, seq: int) -> None:
    filled.change(statement)
    report = filled.verify()
    assert not report.ok
    assert seq in {problem.seq for problem in report.problems}


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM entries WHERE seq >= 512",
        "DELETE FROM tiles",
        "DELETE FROM checkpoints",
        "UPDATE checkpoints SET text = replace(text, '5', '6')",
        "UPDATE checkpoints SET root = zeroblob(32)",
        "INSERT INTO tiles (level, idx, data) VALUES (0, 9, zeroblob(8192))",
        ONE_MORE,
    ],
)
def test_what_is_no_row_of_its_own_is_found(filled: LogHouse, statement: str) -> None:
    filled.change(statement)
    assert not filled.verify().ok


def test_a_log_cut_with_its_checkpoints_is_found_by_the_copy_beside_the_keys(filled: LogHouse) -> None:
    kept = filled.keeper.kept_checkpoint()
    assert kept is not None
    size = sum(SIZES)
    before = filled.log.reader.newest_checkpoint()
    filled.log.append([event()])
    filled.change("DELETE FROM entries WHERE seq >= ?", size)
    filled.change("DELETE FROM checkpoints")
    assert before is not None
    filled.change("INSERT INTO checkpoints VALUES (?, ?, ?, ?)", size, before.root, before.text, "2026")
    assert [problem.problem for problem in filled.verify().problems if "rolled back" in problem.problem]
    with pytest.raises(VerificationError, match="audit verify"):
        filled.reopen()


def test_a_crash_between_the_commit_and_the_copy_is_accepted(filled: LogHouse) -> None:
    kept = filled.keeper.kept_checkpoint()
    filled.log.append([event()])
    assert kept is not None
    filled.keeper._folder.joinpath("checkpoint.txt").write_text(kept)  # as if the copy had not been written
    filled.reopen().append([event()])
    assert filled.verify().ok


def test_an_auditors_checkpoint_finds_a_rewritten_log(filled: LogHouse, tmp_path) -> None:
    kept = filled.keeper.kept_checkpoint()
    assert kept is not None
    filled.change("DELETE FROM entries")
    filled.change("DELETE FROM tiles")
    filled.change("DELETE FROM checkpoints")
    filled.keeper._folder.joinpath("checkpoint.txt").unlink()
    filled.reopen().append([event(number) for number in range(600)])  # whoever holds the keys can
    assert filled.verify().ok
    assert not filled.verify(**{"an auditor's": kept}).ok


def test_intents_without_an_outcome_are_found(house: LogHouse) -> None:
    opened, closed = new_id("int"), new_id("int")
    house.log.append([event(kind="intent") for _ in range(2)])
    house.log.append(
        [
            event(kind="intent").__class__(id=opened, at="2026", kind="intent"),
            event(kind="intent").__class__(id=closed, at="2026", kind="intent"),
            event(kind="outcome").__class__(id=outcome_id(closed), at="2026", kind="outcome", facts={"intent": closed}),
        ]
    )
    assert opened.startswith(INTENT)
    found = {intent.id for intent in house.log.reader.open_intents()}
    assert opened in found
    assert closed not in found
    outcome = house.log.reader.outcome_of(closed)
    assert outcome is not None
    assert outcome.kind == "outcome"
    assert house.log.reader.outcome_of("int_nothing") is None


def test_pages_hold_every_entry_once(filled: LogHouse) -> None:
    seen, after = [], None
    while True:
        page = filled.log.reader.page(after=after, limit=100)
        seen += [item["seq"] for item in page.items]
        after = page.next
        if after is None:
            break
    assert seen == list(range(sum(SIZES) - 1, -1, -1))
    assert filled.log.reader.page(actor="nobody").items == []
