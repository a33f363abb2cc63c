"""Recomputes the whole log from its rows and compares it with everything that was ever signed over it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from sqlalchemy import Row, select

from casemate.auditlog.checkpoint import Checkpoint, open_checkpoint
from casemate.auditlog.read import LogReader
from casemate.auditlog.stored_entries import any_text
from casemate.auditlog.tree import HASH, TILE, Frontier, Tile, leaf_hash
from casemate.core import Event, VerificationError
from casemate.storage.database import checkpoints, entries, is_append_only, reading, tiles

MAX_PROBLEMS = 1000  # named; more say the same
_COLUMNS = ("id", "at", "kind", "schema", "project", "action", "actor", "resource", "outcome")


class Problem(msgspec.Struct, frozen=True):
    """`seq` and `id` name the entry, where one can be named."""

    problem: str
    seq: int | None = None
    id: str | None = None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    ok: bool
    size: int
    root: str  # hexadecimal
    problems: list[Problem]


def verify_log(
    reader: LogReader,
    *,
    kept: dict[str, str],
    progress: Callable[[int], None] | None = None,
    open_tiles: bool | None = None,
) -> Report:
    """Check every row, tile and checkpoint.

    Args: kept: checkpoints from outside the database, by where they were kept: those beside the keys, an auditor's.
        progress: told the number of entries read, now and then. open_tiles: whether tiles that are not full must be
        stored; by default, where the log is not only appended to.
    """
    check = _Check(reader, kept, open_tiles=not is_append_only(reader.engine) if open_tiles is None else open_tiles)
    with reading(reader.engine) as connection, any_text(connection):
        for level, index, data in connection.execute(select(tiles.c.level, tiles.c.idx, tiles.c.data)):
            check.stored_tiles[level, index] = _bytes(data)
        for size, root, text in connection.execute(select(checkpoints.c.size, checkpoints.c.root, checkpoints.c.text)):
            check.expect_stored(size, _bytes(root), str(text))
        query = select(entries).order_by(entries.c.seq).execution_options(yield_per=1000)
        for row in connection.execute(query):
            check.row(row)
            if progress and check.frontier.size % 10_000 == 0:
                progress(check.frontier.size)
    return check.report()


class _Check:
    def __init__(self, reader: LogReader, kept: dict[str, str], *, open_tiles: bool) -> None:
        self._reader, self._open_tiles = reader, open_tiles
        self.frontier = Frontier()
        self.stored_tiles: dict[tuple[int, int], bytes] = {}
        self._seen = 0
        self._expected: dict[int, list[tuple[str, Checkpoint]]] = {}
        self._problems: list[Problem] = []
        self._newest = 0
        for place, text in kept.items():
            self._expect(place, text)
        self._compare_roots()

    def expect_stored(self, size: int, root: bytes, text: str) -> None:
        found = self._expect(f"the stored checkpoint of {size} entries", text)
        if found is not None:
            self._newest = max(self._newest, found.size)
            if (found.size, found.root) != (size, root):
                self._tell(f"the checkpoint row of {size} entries disagrees with its own note")

    def _expect(self, place: str, text: str) -> Checkpoint | None:
        try:
            found = open_checkpoint(text, self._reader.origin, self._reader.public)
        except VerificationError:
            self._tell(f"{place} is missing, altered, or not signed by this log's key")
            return None
        self._expected.setdefault(found.size, []).append((place, found))
        return found

    def row(self, row: Row[Any]) -> None:
        """Take the next row, in order of sequence numbers."""
        if row.seq > self._seen:
            self._tell(f"entries {self._seen} to {row.seq - 1} are missing", row.seq, row.id)
        elif row.seq < self._seen:
            self._tell("there can be no entry of this number", row.seq, row.id)
        self._seen = row.seq + 1
        body = _bytes(row.body)
        leaf = leaf_hash(body)
        if leaf != _bytes(row.leaf):
            self._tell("the entry or its hash was altered", row.seq, row.id)
        elif not _agrees(row, body):
            self._tell("a column disagrees with the signed entry", row.seq, row.id)
        tile = self.stored_tiles.get((0, row.seq // TILE))
        at = row.seq % TILE * HASH
        if tile is not None and tile[at : at + HASH] != leaf:
            self._tell("the entry is not the one in the tree", row.seq, row.id)
        for filled in self.frontier.add(leaf):
            self._compare_tile(filled)
        self._compare_roots()

    def _compare_tile(self, tile: Tile) -> None:
        if self.stored_tiles.pop((tile.level, tile.number), None) != tile.data:
            self._tell(f"tile {tile.number} of level {tile.level} is missing or disagrees with the entries")

    def _compare_roots(self) -> None:
        for place, checkpoint in self._expected.pop(self.frontier.size, []):
            if checkpoint.root != self.frontier.root():
                self._tell(f"the first {checkpoint.size} entries are not those that {place} was signed over")

    def report(self) -> Report:
        size = self.frontier.size
        for tile in self.frontier.partial() if self._open_tiles else ():
            self._compare_tile(tile)
        for places in self._expected.values():
            for place, checkpoint in places:
                self._tell(
                    f"{place} covers {checkpoint.size} entries, and the log has {size}: it was cut or rolled back"
                )
        for level, index in self.stored_tiles:
            self._tell(f"tile {index} of level {level} stands for entries that are not there")
        if size and self._newest != size:
            self._tell(f"the newest checkpoint covers {self._newest} of {size} entries: entries were added unsigned")
        problems = sorted(self._problems, key=lambda problem: (problem.seq is None, problem.seq or 0))
        return Report(ok=not problems, size=size, root=self.frontier.root().hex(), problems=problems)

    def _tell(self, problem: str, seq: int | None = None, entry: str | None = None) -> None:
        if len(self._problems) < MAX_PROBLEMS:
            self._problems.append(Problem(problem, seq, None if entry is None else _printable(entry)))


def _printable(value: object) -> str:
    """An id as it can be shown, whatever an intruder made of it."""
    return str(value)[:80].encode(errors="backslashreplace").decode()


def _bytes(value: Any) -> bytes:
    """A column's bytes; SQLite lets an intruder store any type in it."""
    return value if isinstance(value, bytes) else repr(value).encode(errors="backslashreplace")


def _agrees(row: Row[Any], body: bytes) -> bool:
    try:
        event = msgspec.json.decode(body, type=Event)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return all(getattr(event, column) == getattr(row, column) for column in _COLUMNS) and row.environment is None
