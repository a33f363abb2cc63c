"""The file of pinned keys: what was changed is in the audit log before it counts, and what is broken counts for nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from casemate.app.approvers_file import ApproversFile
from casemate.core import Event, StorageError, SystemClock
from casemate.registry import Approver, Approvers
from casemate.signing import OwnKey

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BEN = Approver(
    person="usr_ben", name="ben", pinned_at=NOW, until=NOW + timedelta(days=1), key=OwnKey.make().public_pem.decode()
)


@pytest.fixture
def file(tmp_path: Path) -> ApproversFile:
    tmp_path.chmod(0o700)
    return ApproversFile(tmp_path, "home_1")


def write(file: ApproversFile, *pinned: Approver) -> None:
    with file.changing() as put:
        put(Approvers(home="home_1", pinned=pinned))


def noted(file: ApproversFile) -> list[Event]:
    events: list[Event] = []
    file.note(events.extend, SystemClock())
    return events


def test_a_change_is_noted_once_and_by_whoever_comes_next(file: ApproversFile, tmp_path: Path) -> None:
    assert noted(file) == []
    write(file, BEN)
    (event,) = noted(file)
    assert event.facts["pinned"][0]["person"] == "usr_ben"
    assert noted(ApproversFile(tmp_path, "home_1")) == []


def test_what_the_log_does_not_take_does_not_count(file: ApproversFile) -> None:
    write(file, BEN)

    def full(_: list[Event]) -> None:
        raise StorageError("The disk is full.", code="disk-full")

    with pytest.raises(StorageError, match="full"):
        file.note(full, SystemClock())
    assert len(noted(file)) == 1


def test_a_file_that_was_taken_away_pins_nobody_and_that_is_noted(file: ApproversFile, tmp_path: Path) -> None:
    write(file, BEN)
    noted(file)
    (tmp_path / "approvers.json").unlink()
    (event,) = noted(file)
    assert event.facts["pinned"] == []
    assert noted(file) == []


@pytest.mark.parametrize(
    "change",
    [
        {"pinned": [{"person": "usr_ben"}]},
        {"pinned": [msgspec.to_builtins(BEN) | {"key": "no key"}]},
        {"pinned": [msgspec.to_builtins(BEN) | {"key": ""}]},
        {"pinned": [msgspec.to_builtins(one) for one in (BEN, msgspec.structs.replace(BEN, person="usr_cat"))]},
        {"home": "home_2"},
        {"more": 1},
        {"schema": 2},
    ],
)
def test_a_broken_file_is_said_to_be_broken(file: ApproversFile, tmp_path: Path, change: dict) -> None:
    write(file, BEN)
    path = tmp_path / "approvers.json"
    path.write_bytes(msgspec.json.encode(msgspec.json.decode(path.read_bytes()) | change))
    with pytest.raises(StorageError) as caught:
        file.read()
    assert caught.value.code == "key-file-broken"
    assert str(path) in caught.value.message
