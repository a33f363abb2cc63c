"""A stored file read at random, whatever number of pieces it lies in."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Self

from casemate.storage.blobs import BlobStore
from casemate.storage.pending import BlobRecord
from casemate.storage.stream import StreamReader


class StoredFile:
    """Reads what was encrypted, or raises; whether it is what was signed is the caller's to check. For one thread."""

    def __init__(self, store: BlobStore, pieces: Sequence[BlobRecord]) -> None:
        self._store, self._pieces = store, pieces
        self._ends = list(accumulate(record.size for record in pieces))
        self.size = self._ends[-1] if self._ends else 0
        self._open: tuple[int, StreamReader] | None = None

    def read_at(self, offset: int, size: int) -> bytes:
        """So many bytes, fewer only at the end. Raises: VerificationError, as `BlobStore.open`."""
        found = bytearray()
        while len(found) < size and offset < self.size:
            place = bisect_right(self._ends, offset)
            reader = self._reader(place)
            reader.seek(offset - (self._ends[place - 1] if place else 0))
            piece = reader.read(size - len(found)) or b""
            found += piece
            offset += len(piece)
        return bytes(found)

    def _reader(self, place: int) -> StreamReader:
        if self._open is None or self._open[0] != place:
            self.close()
            self._open = place, self._store.open(self._pieces[place])
        return self._open[1]

    def close(self) -> None:
        if self._open is not None:
            self._open[1].close()
            self._open = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
