"""Private folders in memory for training. They live as long as somebody holds their lock, and no crash keeps them.

A folder's owner holds an exclusive `flock` on it, which the kernel drops with the process, however that ended. Whoever
can take the lock of an existing folder knows that it is left over.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from casemate.core import StorageError, new_id

MEMORY = Path("/dev/shm")  # noqa: S108 a file system in memory, and nothing is taken from it
_PREFIX = "casemate-training-"


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """A new folder, mode 0700, in memory; removed with all that is in it.

    Raises: StorageError: `no-memory-folder`: /dev/shm is missing or not in memory.
    """
    check_memory(MEMORY)
    path, fd = _make()
    try:
        yield path
    finally:
        _remove(path, fd)


def clean_scratch() -> int:
    """Remove what crashed runs of this user left behind; returns how many folders. Call it at start."""
    removed = 0
    for path in MEMORY.glob(_PREFIX + "*"):
        with contextlib.suppress(OSError):
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            if os.fstat(fd).st_uid == os.geteuid() and _lock(fd):
                _remove(path, fd)
                removed += 1
            else:
                os.close(fd)
    return removed


def check_memory(folder: Path) -> None:
    """Raises: StorageError: `no-memory-folder`: `folder` is not a tmpfs; plain text must not reach a disk."""
    mounts = [line.split(" ")[1:3] for line in Path("/proc/self/mounts").read_text().splitlines()]
    # The innermost mount that holds the folder, and of those at one place the last, is the one that is seen.
    holding = [(len(where), kind) for where, kind in mounts if folder.is_relative_to(where) and folder.is_dir()]
    kind = max(reversed(holding), key=lambda entry: entry[0], default=(0, ""))[1]
    if kind != "tmpfs":
        raise StorageError(
            f"Training keeps its files in memory and needs a tmpfs at {folder}, found {kind or 'none'}: "
            f"mount one (mount -t tmpfs tmpfs {folder}).",
            code="no-memory-folder",
        )


def _make() -> tuple[Path, int]:
    while True:
        path = MEMORY / f"{_PREFIX}{secrets.token_hex(8)}"
        path.mkdir(mode=0o700)
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        if _lock(fd) and path.exists():  # else a cleaner was faster, in the instant before the lock
            return path, fd
        os.close(fd)


def _lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove(path: Path, fd: int) -> None:
    try:
        _empty(fd)
        path.rmdir()
    finally:
        os.close(fd)


def _empty(folder: int) -> None:
    """Delete all that is in `folder`, however deep it is nested and whatever modes it has.

    Folders are not descended into but turned out: what they hold is moved up, until they are empty.
    """
    while names := os.listdir(folder):
        for name in names:
            if stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                _turn_out(folder, name)
            else:
                os.unlink(name, dir_fd=folder)


def _turn_out(folder: int, name: str) -> None:
    inner: int = _open_folder(folder, name)
    try:
        for child in os.listdir(inner):
            if stat.S_ISDIR(os.stat(child, dir_fd=inner, follow_symlinks=False).st_mode):
                os.close(_open_folder(inner, child))  # a folder moves only if it may be written
            os.rename(child, new_id("x"), src_dir_fd=inner, dst_dir_fd=folder)
    finally:
        os.close(inner)
    os.rmdir(name, dir_fd=folder)


def _open_folder(parent: int, name: str) -> int:
    """Open a folder of ours, after making it readable and writable. Follows no link."""
    handle = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        os.chmod(f"/proc/self/fd/{handle}", 0o700)  # noqa: PTH101 the descriptor, no path that could be exchanged
        return os.open(f"/proc/self/fd/{handle}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    finally:
        os.close(handle)
