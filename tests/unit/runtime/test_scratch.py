from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from casemate.core import StorageError
from casemate.runtime import scratch
from casemate.runtime.scratch import check_memory, clean_scratch, scratch_folder


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A place in memory that no other test uses."""
    with tempfile.TemporaryDirectory(dir=scratch.MEMORY, prefix="casemate-test-") as name:
        monkeypatch.setattr(scratch, "MEMORY", Path(name))
        yield Path(name)


def nest(folder: Path, depth: int) -> None:
    """Folders in folders, deeper than a path can name; the innermost closed to everybody."""
    home = Path.cwd()
    os.chdir(folder)
    try:
        for _ in range(depth):
            Path("d").mkdir()
            os.chdir("d")
        Path("file").touch()
        Path("closed").mkdir(0o000)
    finally:
        os.chdir(home)


def test_the_folder_is_private_and_goes_with_all_that_is_in_it(memory: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("x")
    with scratch_folder() as folder:
        assert folder.parent == memory
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "link").symlink_to(kept)
        (folder / "linked").symlink_to(tmp_path)
        os.mkfifo(folder / "pipe")
        nest(folder, 3000)
    assert not folder.exists()
    assert kept.read_text() == "x"


def test_it_goes_when_the_work_fails(memory: Path) -> None:
    def work() -> None:
        with scratch_folder() as folder:
            (folder / "x").write_text("x")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert list(memory.iterdir()) == []


def test_cleaning_spares_what_is_in_use_and_removes_what_is_not(memory: Path) -> None:
    leftover = memory / "casemate-training-0000000000000000"
    leftover.mkdir()
    (leftover / "x").write_text("x")
    with scratch_folder() as folder:
        assert clean_scratch() == 1
        assert folder.exists()
    assert not leftover.exists()


def test_cleaning_follows_no_link(memory: Path, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    link = memory / "casemate-training-link"
    link.symlink_to(tmp_path)
    try:
        assert clean_scratch() == 0
        assert (tmp_path / "x").exists()
    finally:
        link.unlink()


@pytest.mark.parametrize("folder", ["/proc", "/nowhere"])
def test_without_a_folder_in_memory_nothing_starts(folder: str) -> None:
    with pytest.raises(StorageError) as refused:
        check_memory(Path(folder))
    assert refused.value.code == "no-memory-folder"
    assert "mount -t tmpfs" in refused.value.message
