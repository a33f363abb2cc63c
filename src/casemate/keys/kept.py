"""A short text that is replaced at every commit: two slots in one file, written in turn, each with its digest.

A write that a crash tears leaves the other slot, which holds the text before it. A file made anew each time would cost
two syncs, a name and a rename instead of one write in place.
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from casemate.core import StorageError
from casemate.keys.files import check_private, read_private, write_private

SLOT = 4096  # bytes; a disk writes as much at once
_DIGEST, _COUNT = 64, 20  # hexadecimal digits; decimal digits of how often the file was written


class KeptText:
    """For one writer at a time, whom readers need not wait for."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> str | None:
        """The newest text that was written whole; None before the first. Raises: StorageError: open to others, broken."""
        if not self._path.exists():
            return None
        data = read_private(self._path)
        if len(data) == 2 * SLOT:
            return self._newest(data)[1]
        try:
            return data.decode()  # of an earlier release, which wrote the text alone
        except UnicodeDecodeError:
            raise self._broken() from None

    def write(self, text: str) -> None:
        """Durable when it returns. Raises: StorageError: open to others, broken; OSError."""
        if not self._path.exists():
            write_private(self._path, _slot(0, text) + bytes(SLOT))
            return
        fd = os.open(self._path, os.O_RDWR | os.O_DSYNC | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            status = os.fstat(fd)
            check_private(self._path, 0o600, status)
            if not stat.S_ISREG(status.st_mode) or status.st_size != 2 * SLOT:
                write_private(self._path, _slot(0, text) + bytes(SLOT))
                return
            count = self._newest(os.pread(fd, 2 * SLOT, 0))[0] + 1
            if os.pwrite(fd, _slot(count, text), count % 2 * SLOT) != SLOT:
                raise OSError(f"{self._path} was not written whole")
        finally:
            os.close(fd)

    def _newest(self, data: bytes) -> tuple[int, str]:
        found = [slot for at in (0, SLOT) if (slot := _opened(data[at : at + SLOT])) is not None]
        if not found:
            raise self._broken()
        return max(found)

    def _broken(self) -> StorageError:
        return StorageError(f"The key file {self._path} is broken: restore it from its copy.", code="key-file-broken")


def _slot(count: int, text: str) -> bytes:
    said = f"{count:0{_COUNT}}\n{text}".encode()
    if len(said) > SLOT - _DIGEST - 1:
        raise StorageError("A checkpoint is too long to be kept.", code="key-file-broken")
    return (f"{hashlib.sha256(said).hexdigest()}\n".encode() + said).ljust(SLOT, b"\0")


def _opened(slot: bytes) -> tuple[int, str] | None:
    digest, _, said = slot.rstrip(b"\0").partition(b"\n")
    if hashlib.sha256(said).hexdigest().encode() != digest:
        return None
    count, _, text = said.decode().partition("\n")
    return int(count), text
