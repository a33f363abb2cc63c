"""How much a folder holds that foreign code fills while we look."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from casemate.core.errors import SandboxError

MAX_DEPTH = 64  # folders below the folder; each holds one descriptor of ours while we are inside
MAX_ENTRIES = 100_000  # files and folders; a look at so many takes half a second
_PAGE = 4096  # bytes that even an empty file is taken to need
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def folder_bytes(folder: Path, enough: int) -> int:
    """Bytes that the files and folders in `folder` take; stops counting past `enough`. Follows no link.

    It goes down by descriptors, so that neither a long path nor a folder exchanged for a link leads it astray. What
    vanishes meanwhile counts nothing; a folder that is not there holds nothing.

    Raises: SandboxError: `sandbox-disk`: what cannot be counted counts as too much: over MAX_DEPTH folders deep, over
        MAX_ENTRIES entries, a folder that cannot be listed.
    """
    walk = _Walk(enough)
    try:
        walk.enter(folder)
        while walk.inside and walk.total <= enough:
            walk.step()
    finally:
        walk.close()
    return walk.total


class _Walk:
    """The way down: for each folder that we are in, its descriptor and the folders in it that are still to be seen."""

    def __init__(self, enough: int) -> None:
        self.total = 0
        self.inside: list[tuple[int, list[str]]] = []
        self._enough, self._entries = enough, 0

    def step(self) -> None:
        fd, ahead = self.inside[-1]
        if ahead:
            self.enter(ahead.pop(), fd)
        else:
            self.inside.pop()
            os.close(fd)

    def enter(self, name: str | Path, parent: int | None = None) -> None:
        """Open a folder and count what is in it."""
        if len(self.inside) > MAX_DEPTH:
            raise _uncountable(f"The writable folder is over {MAX_DEPTH} folders deep: nest its folders less.")
        try:
            fd = os.open(name, _OPEN, dir_fd=parent)
        except (FileNotFoundError, NotADirectoryError):  # gone, or now a link or a file
            return
        except OSError as error:
            raise _uncountable(f"A folder in the writable folder cannot be looked into: {error.strerror}.") from error
        ahead: list[str] = []
        self.inside.append((fd, ahead))
        with os.scandir(fd) as entries:
            for entry in entries:
                if self._count(entry):
                    ahead.append(entry.name)
                if self.total > self._enough:
                    return

    def close(self) -> None:
        for fd, _ in self.inside:
            os.close(fd)

    def _count(self, entry: os.DirEntry[str]) -> bool:
        """Whether it is a folder."""
        self._entries += 1
        if self._entries > MAX_ENTRIES:
            raise _uncountable(f"The writable folder holds over {MAX_ENTRIES} files and folders: write fewer.")
        try:
            facts = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise _uncountable(f"A file in the writable folder cannot be looked at: {error.strerror}.") from error
        self.total += max(facts.st_blocks * 512, _PAGE)
        return stat.S_ISDIR(facts.st_mode)


def _uncountable(why: str) -> SandboxError:
    return SandboxError(why, code="sandbox-disk")
