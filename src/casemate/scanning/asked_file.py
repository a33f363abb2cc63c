"""A file that the parent holds, read from inside the sandbox as it is needed: never all of it in memory."""

from __future__ import annotations

import io
import os

from casemate.sandbox import Asking

MOST_READ = 4 << 20  # bytes that one question may ask for


class AskedFile(io.RawIOBase):
    """Reads at any position, by asking. Args: start: bytes at the beginning that are no part of it."""

    def __init__(self, ask: Asking, size: int, *, start: int = 0) -> None:
        super().__init__()
        self._ask, self._start, self.size = ask, start, max(0, size - start)
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        self._position = max(0, origin + offset)
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """At most what is left, so that a size that a file claims allocates nothing."""
        left = max(0, self.size - self._position)
        found = bytearray(left if size is None or size < 0 else min(size, left))
        self.readinto(found)
        return bytes(found)

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        done, wanted = 0, min(len(view), max(0, self.size - self._position))
        while done < wanted:
            piece = self._ask({"read": [self._start + self._position, min(MOST_READ, wanted - done)]}).buffers[0]
            view[done : done + len(piece)] = piece
            self._position += len(piece)
            done += len(piece)
        return done

    def from_start(self, skip: int = 0) -> AskedFile:
        """The same file, read from its beginning, or from `skip` bytes behind it."""
        return AskedFile(self._ask, self._start + self.size, start=self._start + skip)

    def head(self, size: int) -> bytes:
        """Its first bytes, whatever the position."""
        return self.from_start().read(size)
