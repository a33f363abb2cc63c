"""The one folder that a confined process may fill: it is measured while it runs, however its files are hidden."""

from __future__ import annotations

import errno
import subprocess
from pathlib import Path

import msgspec
import pytest
from every_wall import FLOOR, WALLS

from casemate.core.errors import SandboxError
from casemate.sandbox import ExitReason, Limits, folder, spawn
from casemate.sandbox.exits import error_of

HERE = Path(__file__).parent
SMALL = Limits(memory=128 << 20, file_bytes=32 << 20, wall_seconds=60)


@pytest.fixture
def deep(tmp_path):
    """Emptied by a program that goes as deep as it must: pytest's own tidying recurses."""
    (tmp_path / "deep").mkdir()
    yield tmp_path / "deep"
    subprocess.run(["/bin/rm", "-rf", tmp_path / "deep"], check=True)


@pytest.mark.parametrize("walls", WALLS)
def test_folder_that_fills_ends_it(walls, tmp_path):
    limits = Limits(memory=128 << 20, file_bytes=8 << 20, wall_seconds=60)
    args = {"folder": str(tmp_path)}
    with spawn("guests:fill_folder", limits=limits, walls=walls, writable=tmp_path, paths=[HERE], args=args) as cell:
        assert cell.wait(30).reason in (ExitReason.DISK, ExitReason.MEMORY)  # memory: a group counts files in memory


def test_one_file_has_its_bound(tmp_path):
    limits = Limits(memory=128 << 20, file_bytes=8 << 20, wall_seconds=60)
    args = {"folder": str(tmp_path)}
    with spawn("guests:write_big_file", limits=limits, walls=FLOOR, writable=tmp_path, paths=[HERE], args=args) as cell:
        answer = cell.channel.recv(timeout=120).message
    assert answer["errno"] == errno.EFBIG
    assert (tmp_path / "big").stat().st_size <= 8 << 20


@pytest.mark.parametrize("walls", WALLS)
def test_files_below_any_path_are_counted(walls, deep):
    """3000 folders take 12 MiB by themselves; the files at the bottom make it too much."""
    args = {"folder": str(deep), "depth": 3000, "files": 25}
    with spawn("guests:nest_folders", limits=SMALL, walls=walls, writable=deep, paths=[HERE], args=args) as cell:
        ended = cell.wait(30)
    assert ended.reason is ExitReason.DISK, cell.output
    assert "wrote too many bytes" in error_of(ended).message


@pytest.mark.parametrize("walls", WALLS)
def test_folders_below_any_path_end_nothing_by_themselves(walls, deep):
    args = {"folder": str(deep), "depth": 3000, "files": 1}
    with spawn("guests:nest_folders", limits=SMALL, walls=walls, writable=deep, paths=[HERE], args=args) as cell:
        cell.channel.recv(timeout=120)
        with pytest.raises(SandboxError) as caught:
            cell.wait(1.0)  # some looks long
        assert caught.value.code == "sandbox-timeout"
    assert cell.wait().reason is ExitReason.KILLED


@pytest.mark.parametrize("walls", WALLS)
def test_files_in_a_folder_that_hides_its_list_are_counted(walls, tmp_path):
    limits = msgspec.structs.replace(SMALL, file_bytes=1 << 20)
    args = {"folder": str(tmp_path)}
    with spawn("guests:hide_files", limits=limits, walls=walls, writable=tmp_path, paths=[HERE], args=args) as cell:
        assert cell.wait(30).reason is ExitReason.DISK, cell.output


def test_too_many_to_count_is_told_in_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "MAX_ENTRIES", 500)
    args = {"folder": str(tmp_path), "folders": 501}
    with spawn(
        "guests:make_many_folders", limits=SMALL, walls=FLOOR, writable=tmp_path, paths=[HERE], args=args
    ) as cell:
        ended = cell.wait(30)
    assert (ended.reason, error_of(ended).code) == (ExitReason.DISK, "sandbox-disk")
    assert error_of(ended).message == (
        "The confined process was stopped. What the writable folder holds cannot be counted: "
        "over 500 files and folders. Write fewer files, in plain folders."
    )


@pytest.mark.parametrize("walls", WALLS)
@pytest.mark.parametrize("mapped", [False, True])
def test_deleted_files_that_are_still_held_count(walls, mapped, tmp_path):
    """On a file system in memory they would take it all, and no folder shows them."""
    args = {"folder": str(tmp_path), "files": 9, "size": 4 << 20, "mapped": mapped}
    with spawn("guests:hold_deleted", limits=SMALL, walls=walls, writable=tmp_path, paths=[HERE], args=args) as cell:
        assert cell.wait(30).reason is ExitReason.DISK, cell.output


@pytest.mark.parametrize("walls", WALLS)
def test_a_few_deleted_files_end_nothing(walls, tmp_path):
    args = {"folder": str(tmp_path), "files": 5, "size": 4 << 20, "mapped": False}
    with spawn("guests:hold_deleted", limits=SMALL, walls=walls, writable=tmp_path, paths=[HERE], args=args) as cell:
        cell.channel.recv(timeout=120)
        with pytest.raises(SandboxError) as caught:
            cell.wait(1.0)
        assert caught.value.code == "sandbox-timeout"
