from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import msgspec
import pytest
from storage_house import House

from casemate.core import InputError, StorageError, TooLargeError, VerificationError, digest_of
from casemate.storage import BlobRecord, Quota

PLAIN = b"a row of training data\n" * 100_000


@pytest.fixture
def house(tmp_path: Path):
    house = House(tmp_path)
    yield house
    house.engine.dispose()


def pushed(house: House, plain: bytes = PLAIN) -> BlobRecord:
    with house.blobs.push("default", "dataset/rows") as push:
        record = push.add("data.parquet", [plain])
        push.keep()
    return record


def place(house: House, record: BlobRecord) -> Path:
    return house.home.blobs / record.id[-2:] / record.id


@pytest.mark.parametrize("plain", [b"", b"x", PLAIN])
def test_what_is_pushed_comes_back_and_is_not_in_plain_text(house: House, plain: bytes) -> None:
    record = pushed(house, plain)
    assert (record.size, record.digest) == (len(plain), digest_of(plain))
    with house.blobs.seal(record) as sealed:
        assert sealed.read() == plain
    with house.blobs.open(record) as reader:
        reader.seek(23)
        assert reader.read(23) == plain[23:46]
    stored = place(house, record).read_bytes()
    assert b"training" not in stored
    assert place(house, record).stat().st_mode & 0o777 == 0o600
    assert house.files() == {record.id}


def test_a_pending_blob_can_be_read_before_it_is_kept(house: House) -> None:
    with house.blobs.push("default", "model/m") as push:
        record = push.add("model.onnx", [PLAIN])
        with house.blobs.seal(record, pending=True) as sealed:
            assert sealed.digest == record.digest
    assert house.files() == set()


@pytest.mark.parametrize("offset", [0, 5, 45, 1 << 20, -1])
def test_a_flipped_byte_is_refused(house: House, offset: int) -> None:
    record = pushed(house)
    data = bytearray(place(house, record).read_bytes())
    data[offset] ^= 1
    place(house, record).write_bytes(data)
    with pytest.raises(VerificationError) as refused:
        house.blobs.seal(record)
    assert refused.value.code == "blob-altered"


@pytest.mark.parametrize(
    "change",
    [{"project": "other"}, {"asset": "model/rows"}, {"size": 1}, {"digest": digest_of(b"")}, {"wrapped_key": b""}],
)
def test_a_record_that_does_not_fit_is_refused(house: House, change: dict) -> None:
    record = msgspec.structs.replace(pushed(house), **change)
    with pytest.raises(VerificationError):
        house.blobs.seal(record)


def test_a_blob_in_anothers_place_is_refused(house: House) -> None:
    one, two = pushed(house), pushed(house)
    place(house, one).write_bytes(place(house, two).read_bytes())
    with pytest.raises(VerificationError):
        house.blobs.seal(one)


def test_a_missing_or_linked_blob_gets_a_sentence(house: House, tmp_path: Path) -> None:
    record = pushed(house)
    place(house, record).rename(tmp_path / "moved")
    for make in (lambda: None, lambda: place(house, record).symlink_to(tmp_path / "moved")):
        make()
        with pytest.raises(VerificationError, match="restore it") as refused:
            house.blobs.open(record)
        assert refused.value.code == "blob-missing"


def test_ids_from_an_altered_database_name_no_other_file(house: House, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    for act in (house.blobs.delete, house.blobs.discard):
        with pytest.raises(VerificationError):
            act(f"../../../{victim.name}")
    assert victim.exists()


def test_a_push_over_its_quota_leaves_nothing(tmp_path: Path) -> None:
    house = House(tmp_path, Quota(push_bytes=1000))
    with pytest.raises(TooLargeError, match="1000 bytes") as refused, house.blobs.push("default", "model/m") as push:
        push.add("a", [b"x" * 600])
        push.add("b", [b"x" * 300, b"x" * 101])
    assert refused.value.code == "push-too-large"
    assert house.files() == set()
    house.engine.dispose()


def test_a_push_that_would_fill_the_disk_leaves_nothing(tmp_path: Path) -> None:
    house = House(tmp_path, Quota(free_bytes=1 << 60))
    with pytest.raises(StorageError, match="make room") as refused, house.blobs.push("default", "model/m") as push:
        push.add("a", [b"x"])
    assert refused.value.code == "disk-full"
    assert house.files() == set()
    house.engine.dispose()


def test_a_disk_that_fails_at_sync_leaves_nothing(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StorageError) as refused, house.blobs.push("default", "model/m") as push:
        monkeypatch.setattr(os, "fsync", full)
        push.add("a", [PLAIN])
    assert refused.value.code == "disk-full"
    assert house.files() == set()


def test_one_path_is_pushed_once(house: House) -> None:
    with house.blobs.push("default", "model/m") as push:
        push.add("a", [b"one"])
        with pytest.raises(InputError):
            push.add("a", [b"two"])


def test_cleaning_removes_half_pushes_and_sets_aside_what_no_row_names(house: House) -> None:
    kept, orphan = pushed(house), pushed(house)
    house.blobs.create("default", "model/m").finish()
    assert house.blobs.clean({kept.id}) == 2
    assert house.files() == {kept.id}
    assert [path.name for path in house.home.lost.iterdir()] == [orphan.id]
    assert house.blobs.clean({kept.id, orphan.id}) == 0  # the row is back, and so is the blob
    assert house.blobs.seal(orphan).read() == PLAIN
    house.blobs.delete(kept.id)
    assert house.files() == {orphan.id}


def test_a_lost_blob_is_removed_after_a_month(house: House) -> None:
    orphan = pushed(house)
    house.blobs.clean(set())
    month_ago = time.time() - 31 * 86400
    os.utime(house.home.lost / orphan.id, (month_ago, month_ago))
    assert house.blobs.clean(set()) == 1
    assert list(house.home.lost.iterdir()) == []


def test_cleaning_follows_no_link_and_touches_nothing_that_is_no_blob(house: House, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    precious = [outside / "letter", outside / f"blob_{'0' * 32}"]
    for file in precious:
        file.touch()
    (house.home.blobs / "zz").symlink_to(outside)
    (house.home.tmp / f"blob_{'1' * 32}").symlink_to(precious[0])
    (house.home.tmp / "notes").mkdir()
    assert house.blobs.clean(set()) == 0
    assert [file.exists() for file in precious] == [True, True]
    assert (house.home.tmp / "notes").is_dir()
