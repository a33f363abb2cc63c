"""Every data key of a home comes under a new KEK, whatever happens meanwhile, and old KEKs go only when nothing needs them."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import delete, insert, select, update
from storage_house import AT, House

from casemate.core import ConflictError, StorageError, VerificationError, new_id
from casemate.keys import HEADER, Keyring, write_private
from casemate.storage import (
    BlobRecord,
    BlobStore,
    DataKeys,
    create_people_key,
    newest_key,
    reading,
    unwrap_people_key,
    unwrap_state_key,
)
from casemate.storage.database import blobs, version_blobs, versions

ROTATOR = Path(__file__).with_name("storage_rotator.py")
KILLS = 12


def data_keys(house: House) -> DataKeys:
    return DataKeys(house.home, house.engine, house.keeper.keyring)


def push(house: House, count: int) -> list[BlobRecord]:
    with house.blobs.push("default", "dataset/rows") as under_way:
        records = [under_way.add(str(number), [b"%d" % number]) for number in range(count)]
        under_way.keep()
    commit(house, records)
    return records


def commit(house: House, records: list[BlobRecord]) -> None:
    with house.engine.begin() as connection:
        connection.execute(insert(blobs), [{**msgspec.structs.asdict(record), "created_at": AT} for record in records])
        name = new_id("ver")
        connection.execute(insert(versions), [_version(name)])
        connection.execute(
            insert(version_blobs), [{"version_id": name, "path": one.id, "blob_id": one.id} for one in records]
        )
        house.blobs.check_keys(records)


def _version(name: str) -> dict[str, object]:
    about = {"project": "default", "kind": "dataset", "name": name, "number": 1, "digest": "", "manifest": b""}
    return {"id": name, **about, "data_class": "", "state": "live", "created_at": AT, "created_by": "", "intent": ""}


def remove(house: House, blob: str) -> None:
    with house.engine.begin() as connection:
        connection.execute(delete(version_blobs).where(version_blobs.c.blob_id == blob))
        connection.execute(delete(blobs).where(blobs.c.id == blob))


def stored(house: House) -> list[BlobRecord]:
    with reading(house.engine) as connection:
        rows = connection.execute(select(blobs)).mappings().all()
    return [BlobRecord(**{key: row[key] for key in BlobRecord.__struct_fields__}) for row in rows]


def check_readable(house: House) -> None:
    for record in stored(house):
        house.blobs.seal(record).close()
    assert unwrap_state_key(house.home.path, house.home.id, house.keeper) == house.key


def states(house: House) -> list[tuple[str, int]]:
    return [(kek["state"], kek["data_keys"]) for kek in data_keys(house).show()["keks"]]


def test_all_keys_come_under_the_new_kek_and_everything_reads(tmp_path: Path) -> None:
    house = House(tmp_path)
    old = push(house, 450)  # three batches
    assert states(house) == [("wraps", 451)]
    done = data_keys(house).rotate()
    assert (done.kek, done.rewrapped, done.failed) == (2, 451, [])
    assert states(house) == [("unwraps", 0), ("wraps", 451)]
    check_readable(House(tmp_path))
    house.blobs.seal(old[0]).close()  # a reader that took its record before the rotation
    assert data_keys(house).retire().rewrapped == 0
    assert states(house) == [("retired", 0), ("wraps", 451)]
    check_readable(House(tmp_path))
    with pytest.raises(VerificationError) as refused:
        house.blobs.seal(old[0])
    assert refused.value.code == "kek-retired"
    looks_again = BlobStore(
        house.home.blobs, house.home.tmp, house.home.lost, house.keeper, newest_key=partial(newest_key, house.engine)
    )
    looks_again.seal(old[0]).close()
    with house.engine.begin() as connection:  # a row out of an old backup
        connection.execute(update(blobs).where(blobs.c.id == old[0].id).values(wrapped_key=old[0].wrapped_key))
    with pytest.raises(VerificationError) as refused:
        looks_again.seal(old[0])
    assert refused.value.code == "kek-retired"


@pytest.mark.only("sqlite")
def test_nothing_wrapped_under_an_older_kek_stays_in_the_files_of_the_database(tmp_path: Path) -> None:
    house = House(tmp_path)
    old = push(house, 50)
    data_keys(house).rotate()
    for file in house.home.path.glob("casemate.db*"):
        data = file.read_bytes()
        assert not [record.id for record in old if record.wrapped_key[37:] in data], file


def test_whatever_is_written_can_be_unwrapped_by_what_lies_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looks at keyring and database as a crash would leave them, right before and after each write of either."""
    house, looks = House(tmp_path), []
    push(house, 450)

    def look() -> None:
        on_disk = Keyring(tmp_path / "keys" / "kek.json")
        wrapped = [record.wrapped_key for record in stored(house)]
        on_disk.check_kept([*wrapped, (house.home.path / "state.key").read_bytes()])
        looks.append(len(on_disk.keks))

    def watched(write):
        def wrapper(*args, **more):
            look()
            done = write(*args, **more)
            look()
            return done

        return wrapper

    keys = data_keys(house)
    monkeypatch.setattr(keys, "_replace", watched(keys._replace))
    monkeypatch.setattr("casemate.storage.data_keys.write_private", watched(write_private))
    monkeypatch.setattr("casemate.keys.ring.write_private", watched(write_private))
    keys.rotate()
    keys.retire()
    assert looks == [1] + [2] * 13  # keyring, state, three batches, keyring, retirement


def test_a_push_under_way_survives_a_rotation_and_is_moved_by_the_next_step(tmp_path: Path) -> None:
    house = House(tmp_path)
    with house.blobs.push("default", "dataset/rows") as under_way:
        record = under_way.add("a", [b"x"])
        data_keys(house).rotate()
        under_way.keep()
        commit(house, [record])
    assert states(house) == [("unwraps", 1), ("wraps", 1)]
    assert data_keys(house).retire().rewrapped == 1
    check_readable(house)


def test_a_push_across_a_retirement_is_refused_and_commits_nothing(tmp_path: Path) -> None:
    house = House(tmp_path)
    with house.blobs.push("default", "dataset/rows") as under_way:
        record = under_way.add("a", [b"x"])
        data_keys(house).rotate()
        data_keys(house).retire()
        with pytest.raises(ConflictError, match="push again") as refused:
            commit(house, [record])
    assert refused.value.code == "kek-retired"
    assert stored(house) == []
    assert house.files() == set()


def test_a_deleted_key_does_not_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(tmp_path)
    gone = push(house, 3)[1]
    keys = data_keys(house)
    renew = keys._renewed

    def renew_while_deleting(row) -> bytes:
        if row.id == gone.id:
            remove(house, gone.id)
        return renew(row)

    monkeypatch.setattr(keys, "_renewed", renew_while_deleting)
    assert keys.rotate().rewrapped == 3  # two blobs and the state
    assert gone.id not in {record.id for record in stored(house)}


def test_an_altered_key_is_named_stays_as_it_is_and_keeps_its_kek_from_retiring(tmp_path: Path) -> None:
    house = House(tmp_path)
    record, other = push(house, 2)
    altered = record.wrapped_key[:-1] + bytes([record.wrapped_key[-1] ^ 1])
    with house.engine.begin() as connection:
        connection.execute(update(blobs).where(blobs.c.id == record.id).values(wrapped_key=altered))
    done = data_keys(house).rotate()
    assert (done.rewrapped, done.failed) == (2, [record.id])
    assert {one.id: one.wrapped_key for one in stored(house)}[record.id] == altered
    with pytest.raises(ConflictError, match=record.id) as refused:
        data_keys(house).retire()
    assert refused.value.code == "kek-in-use"
    house.blobs.seal(other).close()
    assert data_keys(house).rotate().kek == 3, "what cannot be moved keeps nobody from rotating again"
    remove(house, record.id)
    data_keys(house).retire()
    assert states(house) == [("retired", 0), ("retired", 0), ("wraps", 2)]


def test_a_row_of_garbage_that_no_version_names_is_set_aside_and_stops_no_retirement(tmp_path: Path) -> None:
    house = House(tmp_path)
    record, other = push(house, 2)
    with house.engine.begin() as connection:
        connection.execute(delete(version_blobs).where(version_blobs.c.blob_id == record.id))
        garbage = record.wrapped_key[:HEADER] + b"garbage"
        connection.execute(update(blobs).where(blobs.c.id == record.id).values(wrapped_key=garbage))
    done = data_keys(house).rotate()
    assert (done.failed, done.aside) == ([], [record.id])
    assert data_keys(house).retire().aside == [record.id]
    assert [state for state, _ in states(house)] == ["retired", "wraps"]
    house.blobs.seal(stored(house)[0] if stored(house)[0].id == other.id else stored(house)[1]).close()


def test_an_old_wrapping_put_back_keeps_no_new_kek_from_being_made(tmp_path: Path) -> None:
    house = House(tmp_path)
    (record,) = push(house, 1)
    for number in (2, 3, 4):
        done = data_keys(house).rotate()
        assert (done.kek, done.new, done.failed) == (number, True, [])
        with house.engine.begin() as connection:
            connection.execute(update(blobs).values(wrapped_key=record.wrapped_key))


def test_a_rotation_that_was_cut_short_is_finished_under_its_own_kek(tmp_path: Path, monkeypatch) -> None:
    house = House(tmp_path)
    push(house, 1)
    keys = data_keys(house)

    def full(*_: object) -> bytes:
        raise StorageError("No room.")

    with monkeypatch.context() as patched:
        patched.setattr(keys, "_renewed", full)
        with pytest.raises(StorageError):
            keys.rotate()
    again = data_keys(House(tmp_path)).rotate()
    assert (again.kek, again.new) == (2, False)
    assert data_keys(House(tmp_path)).rotate().kek == 3


def test_keys_of_another_home_are_shown_as_unknown(tmp_path: Path) -> None:
    house = House(tmp_path)
    (record,) = push(house, 1)
    with house.engine.begin() as connection:
        foreign = b"\x01kek_" + b"0" * 32 + b"sealed"
        connection.execute(update(blobs).where(blobs.c.id == record.id).values(wrapped_key=foreign))
    assert data_keys(house).show()["unknown"] == 1
    data_keys(house).rotate()
    data_keys(house).retire()


def test_two_rotations_at_once_are_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(tmp_path)
    push(house, 1)
    keys, begun, go_on = data_keys(house), threading.Event(), threading.Event()
    renew = keys._renewed

    def renew_when_told(row) -> bytes:
        begun.set()
        go_on.wait()
        return renew(row)

    monkeypatch.setattr(keys, "_renewed", renew_when_told)
    first = threading.Thread(target=keys.rotate)
    first.start()
    begun.wait()
    with pytest.raises(ConflictError) as refused:
        keys.rotate()
    assert refused.value.code == "rotating"
    assert keys.show()["keks"][-1]["data_keys"] == 1  # the state key; readers are not kept waiting
    go_on.set()
    first.join()
    check_readable(house)


@pytest.mark.slow
@pytest.mark.once
def test_a_killed_rotation_loses_nothing_and_is_finished_by_the_next(tmp_path: Path) -> None:
    push(House(tmp_path), 600)
    chance = random.Random()
    for _ in range(KILLS):
        rotate_and_kill(tmp_path, chance)
        house = House(tmp_path)
        check_readable(house)
        assert sum(count for _, count in states(house)) == 601
        house.engine.dispose()
    house = House(tmp_path)
    assert data_keys(house).rotate().failed == []
    data_keys(house).retire()
    assert [count for _, count in states(house)] == [0] * (len(states(house)) - 1) + [601]
    check_readable(house)


def rotate_and_kill(path: Path, chance: random.Random) -> None:
    """Let it rotate and retire a few times, then kill it somewhere in the next rotation."""
    rotator = subprocess.Popen([sys.executable, str(ROTATOR), str(path)], stdout=subprocess.PIPE)
    with rotator:
        for _ in range(chance.randrange(1, 4)):
            assert rotator.stdout.readline()
        time.sleep(chance.random() * 0.1)  # the moment of death is the test's input
        assert rotator.poll() is None, "it ended before it was killed"
        rotator.kill()


def test_the_people_key_moves_along_and_is_never_made_anew_once_it_was_used(tmp_path: Path) -> None:
    house = House(tmp_path)
    create_people_key(house.home.path, house.home.id, house.keeper, used=False)
    key = unwrap_people_key(house.home.path, house.home.id, house.keeper)
    keys = DataKeys(house.home, house.engine, house.keeper.keyring)
    before = keys.show()["keks"][0]["data_keys"]
    keys.rotate()
    keys.retire()
    assert unwrap_people_key(house.home.path, house.home.id, house.keeper) == key
    assert keys.show()["keks"][-1]["data_keys"] == before == 2
    (house.home.path / "people.key").unlink()
    with pytest.raises(StorageError) as caught:
        create_people_key(house.home.path, house.home.id, house.keeper, used=True)
    assert caught.value.code == "people-key-missing"
    house.engine.dispose()
