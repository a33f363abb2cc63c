"""Bytes in memory that nobody can change any more: what is verified is what is used."""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
from collections.abc import Iterable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import Self

from casemate.core.words import Digest, digest_of

_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
_CHUNK = 1 << 20  # bytes read at a time


class SealedFile:
    """An anonymous file in memory, sealed against writing, growing and shrinking. Closes its descriptor at exit.

    `digest` is over the sealed bytes, taken after the seals were set: no one can have changed them since.
    """

    __slots__ = ("digest", "fd", "size")

    def __init__(self, fd: int) -> None:
        """Take ownership of a memory file, seal it and digest it. Raises: OSError when it cannot be sealed."""
        try:
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
            self.size = os.fstat(fd).st_size
            self.digest = _digest_of_fd(fd)
        except BaseException:
            os.close(fd)
            raise
        self.fd = fd

    @property
    def path(self) -> Path:
        """A path by which this process can open the sealed bytes again; nothing else can stand at it."""
        return Path(f"/proc/self/fd/{self.fd}")

    def open(self) -> BufferedReader:
        """A new reader with a position of its own."""
        return self.path.open("rb")

    def read(self) -> bytes:
        """All bytes."""
        return os.pread(self.fd, self.size, 0) if self.size <= 1 << 30 else self.open().read()

    def chunks(self) -> Iterator[bytes]:
        """All bytes, a few at a time."""
        with self.open() as reader:
            while piece := reader.read(_CHUNK):
                yield piece

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def memory_file(name: str) -> int:
    """A new, empty, sealable memory file; the caller owns the descriptor, which children do not inherit."""
    return os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)


def seal_bytes(chunks: Iterable[bytes | bytearray | memoryview], *, name: str = "casemate") -> SealedFile:
    """Write `chunks` into a new sealed file."""
    fd = memory_file(name)
    try:
        for chunk in chunks:
            view = memoryview(chunk)
            while view:
                view = view[os.write(fd, view) :]
    except BaseException:
        os.close(fd)
        raise
    return SealedFile(fd)


def _digest_of_fd(fd: int) -> Digest:
    size = os.fstat(fd).st_size
    if not size:
        return digest_of(b"")
    with mmap.mmap(fd, size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ) as data:  # read where they lie, not copied
        return Digest("sha256:" + hashlib.sha256(data).hexdigest())
