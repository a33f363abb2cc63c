"""A keyring's newest key wraps, older ones unwrap, and a retired one is refused and gone from the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from casemate.core import ConflictError, StorageError, VerificationError
from casemate.keys import Keyring


@pytest.fixture
def path(tmp_path: Path) -> Path:
    Keyring.create(tmp_path / "kek.json")
    return tmp_path / "kek.json"


def content(path: Path) -> dict[str, Any]:
    return msgspec.json.decode(path.read_bytes())


def test_older_keys_unwrap_and_the_newest_wraps(path: Path) -> None:
    ring = Keyring(path)
    first = ring.wrap(b"k", b"c")
    assert ring.rotate().number == 2
    second = ring.wrap(b"k", b"c")
    assert first[:37] != second[:37]
    for again in (ring, Keyring(path)):
        assert again.unwrap(first, b"c") == again.unwrap(second, b"c") == b"k"
        assert again.keks[-1].header == second[:37]
        again.check_kept([first, second])


def test_a_retired_key_is_refused_and_gone(path: Path) -> None:
    ring = Keyring(path)
    first, secret = ring.wrap(b"k", b"c"), content(path)["keks"][0]["ref"]
    ring.rotate()
    second = ring.wrap(b"k", b"c")
    ring.retire()
    ring.enforce()
    assert secret.encode() not in path.read_bytes()
    for again in (ring, Keyring(path)):
        with pytest.raises(VerificationError, match="key-encryption key 1, which was retired") as refused:
            again.unwrap(first, b"c")
        assert refused.value.code == "kek-retired"
        with pytest.raises(ConflictError, match="push again"):
            again.check_kept([second, first])
        assert again.unwrap(second, b"c") == b"k"


def test_a_key_moved_under_the_header_of_another_kek_is_refused(path: Path) -> None:
    ring = Keyring(path)
    first = ring.wrap(b"k", b"c")
    ring.rotate()
    with pytest.raises(VerificationError) as refused:
        ring.unwrap(ring.keks[-1].header + first[37:], b"c")
    assert refused.value.code == "key-unwrap-failed"


def test_the_file_of_the_first_release_opens_and_rotates(path: Path) -> None:
    ring = Keyring(path)
    wrapped, (kek,) = ring.wrap(b"k", b"c"), content(path)["keks"]
    path.write_bytes(msgspec.json.encode({"id": kek["id"], "key": kek["ref"], "schema": 1}))
    old = Keyring(path)
    assert old.unwrap(wrapped, b"c") == b"k"
    old.rotate()
    assert Keyring(path).unwrap(wrapped, b"c") == b"k"


def test_a_rotation_that_cannot_be_written_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ring = Keyring(path)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("casemate.keys.ring.write_private", full)
    with pytest.raises(OSError, match="No space"):
        ring.rotate()
    assert path.read_bytes() == before
    assert len(ring.keks) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"keks": []},
        {"layout": 3},
        {"provider": "fil"},
        {"settings": {"address": "x"}},
        {"keks": [{"number": 1, "id": "kek_" + "0" * 32, "retired": True}]},
        {"keks": [{"number": 1, "id": "kek_" + "0" * 32, "ref": "c2hvcnQ="}]},
        {"keks": [{"number": 1, "id": "kek_1", "ref": "A" * 43 + "="}]},
        {"keks": [{"number": 1, "id": "kek_" + "0" * 32, "ref": "A" * 43 + "="}] * 2},
        {"more": 1},
    ],
)
def test_a_keyring_that_makes_no_sense_is_refused(path: Path, change: dict[str, Any]) -> None:
    path.write_bytes(msgspec.json.encode(content(path) | change))
    with pytest.raises(StorageError) as refused:
        Keyring(path)
    assert refused.value.code == "key-file-broken"
