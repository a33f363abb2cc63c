"""Appending, recovering, and what verification finds."""

from __future__ import annotations

import threading

import pytest
from log_house import LogHouse, event

from casemate.auditlog.tree import TILE, leaf_hash, subtree_root
from casemate.core import INTENT, ConflictError, InputError, StorageError, VerificationError, new_id, outcome_id

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


def test_numbers_are_those_of_the_rows(house: LogHouse) -> None:
    found: dict[int, str] = {}

    def record(counts: range) -> None:
        for count in counts:
            events = [event(number) for number in range(count)]
            found.update(zip(house.log.record(events), [one.id for one in events], strict=True))

    threads = [threading.Thread(target=record, args=(range(1, 20),)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with house.engine.begin() as connection:
        stored = dict(connection.exec_driver_sql("SELECT seq, id FROM entries").fetchall())
    assert found == stored
    assert house.log.record([]) == []


def test_callers_who_wait_share_one_commit(house: LogHouse) -> None:
    commits: list[int] = []
    keep = house.keeper.keep_checkpoint
    house.keeper.keep_checkpoint = lambda text: (commits.append(1), keep(text))[1]  # type: ignore[method-assign]
    threads = [threading.Thread(target=house.log.append, args=([event(number)],)) for number in range(20)]
    house.log._writing = True  # as while another commit is under way
    for thread in threads:
        thread.start()
    while len(house.log._queue) < len(threads):
        threading.Event().wait(0.001)
    with house.log._turn:
        house.log._writing = False
        house.log._turn.notify_all()
    for thread in threads:
        thread.join()
    assert (len(commits), house.log.reader.size(), house.verify().ok) == (1, 20, True)


@pytest.mark.parametrize("wrong", [{"facts": {"x": object()}}, {"kind": "x" * 17}])
def test_an_event_that_cannot_be_written_is_refused_by_itself(house: LogHouse, wrong: dict) -> None:
    with pytest.raises(InputError) as caught:
        house.log.append([event(), event(**wrong)])
    assert caught.value.code == "bad-event"
    assert house.log.reader.size() == 0


def test_a_lost_copy_beside_the_keys_is_told_as_such_and_made_up_for(house: LogHouse) -> None:
    path = house.keeper._folder / "checkpoint.txt"
    house.log.append([event()])
    path.unlink()
    path.mkdir()  # what is renamed onto it fails
    with pytest.raises(StorageError) as caught:
        house.log.append([event()])
    assert caught.value.code == "checkpoint-not-kept"
    assert house.log.reader.size() == 2
    path.rmdir()
    house.log.append([event()])
    assert (house.verify().ok, house.reopen().reader.size()) == (True, 3)


def test_a_log_whose_kept_checkpoint_is_missing_is_not_written_to(filled: LogHouse) -> None:
    (filled.keeper._folder / "checkpoint.txt").unlink()
    with pytest.raises(VerificationError, match="audit verify"):
        filled.reopen()


def test_a_log_that_changed_under_its_pen_is_not_written_to(filled: LogHouse) -> None:
    filled.change("DELETE FROM entries WHERE seq = ?", sum(SIZES) - 1)
    filled.change("UPDATE entries SET seq = ? WHERE seq = 3", sum(SIZES))  # where the pen would write next
    with pytest.raises(StorageError) as refused:
        filled.log.append([event()])
    assert refused.value.code == "log-unwritable"
    with pytest.raises(VerificationError) as altered:
        filled.log.append([event()])
    assert altered.value.code == "log-altered"


@pytest.mark.only("sqlite")  # PostgreSQL stores no open tiles
def test_open_tiles_that_were_never_stored_are_made_up_for(filled: LogHouse) -> None:
    filled.change("DELETE FROM tiles WHERE level = 1")
    assert not filled.verify().ok
    filled.reopen().append([event()])
    assert filled.verify().ok


def test_a_log_that_cannot_be_written_says_so_and_goes_on_later(house: LogHouse) -> None:
    house.change("ALTER TABLE tiles RENAME TO elsewhere")
    with pytest.raises(StorageError):
        house.log.append([event(number) for number in range(TILE)])
    house.change("ALTER TABLE elsewhere RENAME TO tiles")
    house.log.append([event(number) for number in range(TILE)])
    assert (house.verify().ok, house.verify().size) == (True, TILE)


ONE_MORE = """INSERT INTO entries (seq, id, at, kind, action, actor, resource, outcome, body, leaf)
    SELECT seq + 1, id || 'x', at, kind, action, actor, resource, outcome, body, leaf
FROM entries ORDER BY seq DESC LIMIT 1"""
ALTERATIONS = [
    ("UPDATE entries SET actor = 'nobody' WHERE seq = 100", 100),
    ("UPDATE entries SET at = '2020-01-01T00:00:00.000000Z' WHERE seq = 100", 100),
    ("UPDATE entries SET project = 'other' WHERE seq = 100", 100),
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
    filled.change(
        "INSERT INTO checkpoints (size, root, text, at) VALUES (?, ?, ?, ?)", size, before.root, before.text, "2026"
    )
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


def test_entries_are_found_by_text_and_time(house: LogHouse) -> None:
    times = ("2026-01-01T00:00:00.000000Z", "2026-01-01T00:00:00.500000Z", "2026-01-02T00:00:00.000000Z")
    house.log.append([event(at=at, reason=f"Reason {number}") for number, at in enumerate(times)])
    house.log.append([event(at=times[2], reason='a "quoted" Ü') for _ in range(300)])
    page = house.log.reader.page

    def numbers(**filters: str) -> list[int]:
        return [item["seq"] for item in page(**filters).items]

    assert numbers(text="reason 1") == [1]
    assert page(text='"QUOTED" Ü', limit=3).next == "300"
    assert numbers(text="reason 0", after="1") == [0]
    assert numbers(text="nowhere") == []
    assert numbers(until="2026-01-02") == [1, 0]
    assert numbers(since="2026-01-01T00:00:00.1Z", until="2026-01-02T01:00:00+01:00") == [1]
    assert numbers(until="2026-01-01T00:00:01Z", since="2026-01-01T00:00:00Z") == [1, 0]


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"limit": 0}, "bad-limit"),
        ({"since": "rubbish"}, "bad-time"),
        ({"until": "2026-13-01"}, "bad-time"),
        ({"after": "-1"}, "bad-cursor"),
        ({"colour": "red"}, "bad-filter"),
    ],
)
def test_a_wrong_question_gets_one_sentence(filled: LogHouse, wrong: dict, code: str) -> None:
    with pytest.raises(InputError) as caught:
        filled.log.reader.page(**wrong)
    assert caught.value.code == code


def test_an_export_goes_on_from_any_number(filled: LogHouse) -> None:
    bodies = list(filled.log.reader.bodies())
    assert len(bodies) == sum(SIZES)
    assert list(filled.log.reader.bodies(100)) == bodies[100:]
    assert subtree_root([leaf_hash(body) for body in bodies]).hex() == filled.verify().root


def test_no_clock_goes_behind_the_newest_entry(house: LogHouse) -> None:
    assert house.log.reader.latest_time() is None
    house.log.append([event(), event(at="2027-01-01T00:00:00.000000Z")])
    house.change("UPDATE entries SET at = '9999' WHERE seq = 1")  # not what was signed
    assert house.log.reader.latest_time() == "2027-01-01T00:00:00.000000Z"
