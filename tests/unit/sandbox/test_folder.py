"""The size of a folder that somebody else fills: every file counts, and what cannot be counted is too much."""

from __future__ import annotations

import errno
import gc
import os
import resource
import subprocess
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from casemate.core.errors import SandboxError
from casemate.sandbox import folder as room
from casemate.sandbox.folder import MAX_ENTRIES, folder_bytes

BIG = 8 << 20  # bytes
MUCH = 1 << 40


def nest(folder: Path, depth: int) -> None:
    """`depth` folders in each other, and a big file at the bottom."""
    fd = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=fd)
        inner = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    file = os.open("big", os.O_CREAT | os.O_WRONLY, dir_fd=fd)
    assert os.write(file, bytes(BIG)) == BIG
    os.close(file)
    os.close(fd)


@pytest.fixture
def deep(tmp_path):
    """Emptied by a program that goes as deep as it must: pytest's own tidying recurses."""
    (tmp_path / "deep").mkdir()
    yield tmp_path / "deep"
    subprocess.run(["/bin/rm", "-rf", tmp_path / "deep"], check=True)


def folders_of(folder: Path) -> int:
    """Bytes that the folders in it take, as another program counts them."""
    listed = subprocess.run(
        ["/usr/bin/find", folder, "-mindepth", "1", "-type", "d", "-printf", "%b\\n"], check=True, capture_output=True
    )
    return sum(max(int(blocks) * 512, 4096) for blocks in listed.stdout.split())


@pytest.fixture
def descriptors():
    """Whatever happens, none is left open. What earlier tests left to the collector, it may close meanwhile."""
    gc.collect()
    before = os.listdir("/proc/self/fd")
    yield
    assert len(os.listdir("/proc/self/fd")) <= len(before)


@pytest.mark.usefixtures("descriptors")
@pytest.mark.parametrize("depth", [0, 1, 63, 64, 65, 66, 67, 1000, 3000])
def test_a_big_file_counts_wherever_it_lies(deep, depth):
    nest(deep, depth)
    assert folder_bytes(deep, MUCH) == BIG + folders_of(deep)
    assert folder_bytes(deep, BIG - 1) > BIG - 1


@pytest.mark.usefixtures("descriptors")
def test_what_lies_beside_the_way_down_counts_too(deep):
    """In every folder of a deep nest a second folder with a file, found on the way back up."""
    fd = os.open(deep, os.O_RDONLY)
    for _ in range(200):
        for name in ("a", "b", "c"):
            os.mkdir(name, dir_fd=fd)
            inner = os.open(name, os.O_RDONLY, dir_fd=fd)
            os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=inner))
            if name != "b":
                os.close(inner)
            else:
                following = inner
        os.close(fd)
        fd = following
    os.close(fd)
    assert folder_bytes(deep, MUCH) == 200 * 3 * 4096 + folders_of(deep)


@pytest.mark.usefixtures("descriptors")
def test_a_nest_takes_few_descriptors(deep):
    nest(deep, 1000)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 80, hard))
    try:
        assert folder_bytes(deep, MUCH) >= BIG
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("descriptors")
def test_a_deep_folder_that_moves_under_our_feet_leads_nowhere_and_is_too_much(deep, monkeypatch):
    """Climbing up from it would lead out of the nest."""
    nest(deep, 0)
    (deep / Path(*"d" * 100)).mkdir(parents=True)
    inode = (deep / Path(*"d" * 100)).stat().st_ino

    def move(name, *args, dir_fd=None, real=os.open):
        if name == ".." and os.fstat(dir_fd).st_ino == inode:
            (deep / Path(*"d" * 100)).rename(deep / "moved")
        return real(name, *args, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", move)
    with pytest.raises(SandboxError) as caught:
        folder_bytes(deep, MUCH)
    assert "deep folders change all the time" in caught.value.message


@pytest.mark.usefixtures("descriptors")
@pytest.mark.parametrize("spread", [1, 5])
def test_too_many_is_too_much(tmp_path, monkeypatch, spread):
    assert MAX_ENTRIES == 100_000
    monkeypatch.setattr(room, "MAX_ENTRIES", 50)
    for folder in range(spread):
        (tmp_path / str(folder)).mkdir()
        for number in range(50 // spread - 1):
            (tmp_path / str(folder) / str(number)).touch()
    assert folder_bytes(tmp_path, MUCH) >= 50 * 4096
    (tmp_path / "one more").touch()
    with pytest.raises(SandboxError) as caught:
        folder_bytes(tmp_path, MUCH)
    assert caught.value.code == "sandbox-disk"
    assert caught.value.message == (
        "What the writable folder holds cannot be counted: over 50 files and folders. "
        "Write fewer files, in plain folders."
    )


@pytest.mark.usefixtures("descriptors")
def test_empty_files_count_and_no_link_is_followed(tmp_path):
    (tmp_path / "inside").mkdir()
    for number in range(10):
        (tmp_path / "inside" / str(number)).touch()
    (tmp_path / "away").symlink_to("/usr")
    (tmp_path / "round").symlink_to(tmp_path)
    (tmp_path / "broken").symlink_to("nowhere")
    assert 14 * 4096 <= folder_bytes(tmp_path, MUCH) <= 20 * 4096
    assert folder_bytes(tmp_path / "not there", 1) == 0
    assert folder_bytes(tmp_path / "away", 1) == 0


@pytest.mark.usefixtures("descriptors")
def test_a_pipe_does_not_hold_it_up_and_a_file_with_holes_counts_what_it_takes(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "holes").open("wb") as file:
        file.truncate(1 << 40)
    assert folder_bytes(tmp_path, MUCH) < 1 << 20


@pytest.mark.usefixtures("descriptors")
def test_a_folder_that_cannot_be_looked_into_is_too_much(tmp_path, monkeypatch):
    (tmp_path / "hidden").mkdir()

    def refuse(name, *args, dir_fd=None, real=os.open):
        if name == "hidden":
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(name, *args, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(SandboxError) as caught:
        folder_bytes(tmp_path, MUCH)
    assert "a folder cannot be looked into (Permission denied)" in caught.value.message


@pytest.mark.usefixtures("descriptors")
@pytest.mark.parametrize("mode", [0, 0o300, 0o400, 0o500])
def test_a_folder_that_hides_from_its_owner_is_opened(tmp_path, mode):
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "big").write_bytes(bytes(BIG))
    (tmp_path / "hidden").chmod(mode)
    assert folder_bytes(tmp_path, MUCH) >= BIG
    assert (tmp_path / "hidden").stat().st_mode & 0o777 == 0o700


@pytest.mark.usefixtures("descriptors")
@pytest.mark.parametrize("instead", ["nothing", "a file", "a link"])
def test_a_folder_exchanged_under_our_eyes_counts_nothing(tmp_path, monkeypatch, instead):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "folder").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "big").write_bytes(bytes(BIG))

    def exchange(name, *args, dir_fd=None, real=os.open):
        if name == "folder":
            (tmp_path / "out" / "folder").rmdir()
            if instead == "a file":
                (tmp_path / "out" / "folder").touch()
            if instead == "a link":
                (tmp_path / "out" / "folder").symlink_to(tmp_path / "elsewhere")
        return real(name, *args, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", exchange)
    assert folder_bytes(tmp_path / "out", MUCH) < BIG


@pytest.mark.usefixtures("descriptors")
def test_it_stands_whatever_moves_meanwhile(tmp_path):
    """Folders and files that come, go and change places while they are counted."""
    stop = threading.Event()

    def stir() -> None:
        while not stop.is_set():
            with suppress(OSError):
                (tmp_path / "a" / "b").mkdir(parents=True)
                (tmp_path / "a" / "b" / "file").write_bytes(bytes(8192))
                (tmp_path / "a" / "b").rename(tmp_path / "c")
                (tmp_path / "c" / "file").unlink()
                (tmp_path / "c").rmdir()
                (tmp_path / "a").rmdir()

    stirring = threading.Thread(target=stir)
    stirring.start()
    try:
        seen = {folder_bytes(tmp_path, MUCH) for _ in range(3000)}
    finally:
        stop.set()
        stirring.join()
    assert max(seen) <= 6 * 8192
    assert len(seen) > 1
