"""How much a folder holds that foreign code fills while we look."""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from casemate.core.errors import SandboxError

MAX_ENTRIES = 100_000  # files and folders; a look at so many takes half a second
_HELD = 64  # descriptors on the way down; farther down, folders are left open only while we are in them
_PAGE = 4096  # bytes that even an empty file is taken to need
_FOLDER = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def folder_bytes(folder: Path, enough: int) -> int:
    """Bytes that the files and folders in `folder` take, however deep; stops counting past `enough`. Follows no link.

    It goes down by descriptors, so that neither a long path nor a folder exchanged for a link leads it astray. What
    vanishes meanwhile counts nothing; a folder that is not there holds nothing. A folder that hides its list from us,
    its owner, is opened to us.

    Raises: SandboxError: `sandbox-disk`: what cannot be counted counts as too much: over MAX_ENTRIES entries, a folder
        that cannot be looked into, a deep one that is moved under our feet.
    """
    walk = _Walk(enough)
    try:
        walk.enter(folder)
        while walk.inside and walk.total <= enough:
            walk.step()
    finally:
        walk.close()
    return walk.total


def deleted_bytes(pid: int, folder: Path, each: int) -> int:
    """Bytes of files beside those in `folder`, on its file system, that the process deleted and still holds.

    Args: each: the most that one file may have; one that is mapped and not open is taken to have it, as its size is the
        kernel's secret.
    Fails open: 0 where /proc does not let us look into the process, or it is gone.
    """
    try:
        device = folder.stat().st_dev
        held = dict.fromkeys(_deleted_mapped(pid, device), each)
        return sum((held | _deleted_open(pid, device)).values())
    except OSError:
        return 0


def _deleted_open(pid: int, device: int) -> dict[int, int]:
    """Inode -> bytes. Raises: OSError."""
    held = {}
    for name in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208 names, not paths
        with contextlib.suppress(FileNotFoundError):
            facts = os.stat(f"/proc/{pid}/fd/{name}")  # noqa: PTH116 the descriptor behind the name
            if facts.st_nlink == 0 and facts.st_dev == device:
                held[facts.st_ino] = facts.st_blocks * 512
    return held


def _deleted_mapped(pid: int, device: int) -> set[int]:
    """Inodes. Raises: OSError."""
    found = set()
    for line in Path(f"/proc/{pid}/maps").read_bytes().split(b"\n"):
        if line.endswith(b" (deleted)"):
            _, _, _, numbers, inode, _ = line.split(maxsplit=5)
            major, _, minor = numbers.partition(b":")
            if os.makedev(int(major, 16), int(minor, 16)) == device:
                found.add(int(inode))
    return found


@dataclass(slots=True)
class _Level:
    """A folder that we are in: its descriptor, or -1 while we are far below, and the folders in it yet to be seen."""

    fd: int
    identity: tuple[int, int]
    ahead: list[str] = field(default_factory=list)


class _Walk:
    """The way from the folder to where we are."""

    def __init__(self, enough: int) -> None:
        self.total = 0
        self.inside: list[_Level] = []
        self._enough, self._entries = enough, 0

    def step(self) -> None:
        """One folder further: into the next of this one, or up."""
        here = self.inside[-1]
        if here.ahead:
            self.enter(here.ahead.pop(), here.fd)
            return
        if len(self.inside) > 1 and self.inside[-2].fd < 0:
            _reopen(self.inside[-2], here.fd)
        os.close(self.inside.pop().fd)

    def enter(self, name: str | Path, parent: int | None = None) -> None:
        """Open a folder and count what is in it."""
        try:
            fd = _open(name, parent)
        except (FileNotFoundError, NotADirectoryError):  # gone, or now a link or a file
            return
        except OSError as error:
            raise _uncountable(f"a folder cannot be looked into ({error.strerror})") from error
        here = _Level(fd, _identity(fd))
        self.inside.append(here)
        if len(self.inside) > _HELD + 1:
            above = self.inside[-2]
            os.close(above.fd)
            above.fd = -1
        with os.scandir(fd) as entries:
            for entry in entries:
                if self._count(entry):
                    here.ahead.append(entry.name)
                if self.total > self._enough:
                    return

    def close(self) -> None:
        for level in self.inside:
            if level.fd >= 0:
                os.close(level.fd)

    def _count(self, entry: os.DirEntry[str]) -> bool:
        """Whether it is a folder."""
        self._entries += 1
        if self._entries > MAX_ENTRIES:
            raise _uncountable(f"over {MAX_ENTRIES} files and folders")
        try:
            facts = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise _uncountable(f"a file cannot be looked at ({error.strerror})") from error
        self.total += max(facts.st_blocks * 512, _PAGE)
        return stat.S_ISDIR(facts.st_mode)


def _open(name: str | Path, parent: int | None) -> int:
    """A descriptor of the folder, after making it one that its owner may list and search. Raises: OSError."""
    handle = os.open(name, os.O_PATH | _FOLDER, dir_fd=parent)
    try:
        itself = f"/proc/self/fd/{handle}"  # the descriptor, no path that could be exchanged
        if os.fstat(handle).st_mode & stat.S_IRWXU != stat.S_IRWXU:
            os.chmod(itself, stat.S_IRWXU)  # noqa: PTH101 see above
        return os.open(itself, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    finally:
        os.close(handle)


def _reopen(above: _Level, below: int) -> None:
    """Climb back up to where we came from, and nowhere else."""
    try:
        above.fd = os.open("..", os.O_RDONLY | _FOLDER, dir_fd=below)
    except OSError as error:
        raise _uncountable("deep folders change all the time") from error
    if _identity(above.fd) != above.identity:
        raise _uncountable("deep folders change all the time")


def _identity(fd: int) -> tuple[int, int]:
    facts = os.fstat(fd)
    return facts.st_dev, facts.st_ino


def _uncountable(why: str) -> SandboxError:
    return SandboxError(
        f"What the writable folder holds cannot be counted: {why}. Write fewer files, in plain folders.",
        code="sandbox-disk",
    )
