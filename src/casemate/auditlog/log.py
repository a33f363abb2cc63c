"""The pen of the audit log: appends events, signs a checkpoint with each commit. The keeper alone holds one."""

from __future__ import annotations

import threading
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import Connection, Engine, insert, select, text
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

from casemate.auditlog.checkpoint import checkpoint_body, open_checkpoint, signed_note
from casemate.auditlog.read import LogReader
from casemate.auditlog.tree import Frontier, Tile, leaf_hash
from casemate.core import (
    CasemateError,
    Clock,
    ConflictError,
    Event,
    InputError,
    StorageError,
    VerificationError,
    rfc3339,
)
from casemate.keys import Keeper, Purpose
from casemate.storage.database import checkpoints, entries, is_append_only, reading, tiles

MAX_GROUP = 1000  # events in one commit
KEPT_EVERY = 1024  # entries; of the checkpoints between two multiples only the newest is kept

_ENCODER = msgspec.json.Encoder(order="deterministic")
_KIND = 16  # characters of an event's kind that its column holds
_Row = tuple[str, str, str, str, str, str, str, str, bytes, bytes]


class _Waiting:
    """The events of one caller, and what became of them."""

    __slots__ = ("done", "error", "first", "rows")

    def __init__(self, events: list[Event]) -> None:
        self.rows = [_row(event) for event in events]
        self.first, self.done = 0, False
        self.error: Exception | None = None


class Log:
    """An EventSink. Callers that append at the same time share one commit and one checkpoint.

    No one waits for company: whoever finds the pen free commits for all who queued up during the commit before.
    """

    def __init__(self, engine: Engine, *, keeper: Keeper, origin: str, public: Ed25519PublicKey, clock: Clock) -> None:
        """Raises: VerificationError `log-altered`: the stored tree is not the one that was last signed and kept."""
        self.reader = LogReader(engine, origin=origin, public=public)
        self._engine, self._keeper, self._origin, self._public, self._clock = engine, keeper, origin, public, clock
        self._tree: Frontier | None = self._recovered()
        self._tiles_due = (
            True  # what an older release, or nobody, stored of the open tiles is stored with the next commit
        )
        self._queue: list[_Waiting] = []
        self._turn, self._writing = threading.Condition(), False

    def append(self, events: list[Event]) -> None:
        """Returns when the events are committed. Raises: as `record`."""
        self.record(events)

    def record(self, events: list[Event]) -> list[int]:
        """Returns the events' sequence numbers when they are committed: all of them, or none.

        Raises: InputError `bad-event`: no JSON; ConflictError `event-repeated`: an id is taken; StorageError
            `log-unwritable`: not committed; StorageError `checkpoint-not-kept`: committed, but not copied beside the
            keys; VerificationError `log-altered`: the stored tree changed under us.
        """
        if not events:
            return []
        mine = _Waiting(events)
        with self._turn:
            self._queue.append(mine)
            self._turn.wait_for(lambda: mine.done or not self._writing)
            self._writing = self._writing or not mine.done
        if not mine.done:
            self._write_until(mine)
        if mine.error is not None:
            raise mine.error
        return list(range(mine.first, mine.first + len(events)))

    def _write_until(self, mine: _Waiting) -> None:
        """Commit groups in the order of arrival until mine is among them; then pass the pen on."""
        try:
            while not mine.done:
                self._commit_group(self._take_group())
        finally:
            with self._turn:
                self._writing = False
                self._turn.notify_all()

    def _take_group(self) -> list[_Waiting]:
        with self._turn:
            count = events = 0
            for waiting in self._queue:
                events += len(waiting.rows)
                if count and events > MAX_GROUP:
                    break
                count += 1
            group, self._queue = self._queue[:count], self._queue[count:]
        return group

    def _commit_group(self, group: list[_Waiting]) -> None:
        for waiting in group:
            waiting.error = _told(InterruptedError())  # what holds if nothing below is reached
        try:
            first = self._commit([row for waiting in group for row in waiting.rows])
        except (IntegrityError, DataError) as error:
            if len(group) == 1:
                group[0].error = self._refused(group[0], error)
            else:  # one bad event must not fail the others
                for waiting in group:
                    self._commit_group([waiting])
        except Exception as error:  # noqa: BLE001 each caller gets its own
            for waiting in group:
                waiting.error = _told(error)
        else:
            for waiting in group:
                waiting.first, waiting.error = first, None
                first += len(waiting.rows)
        finally:
            for waiting in group:
                waiting.done = True

    def _commit(self, rows: list[_Row]) -> int:
        """Commit the rows and the new root; returns the first row's number."""
        # Until the end of this commit is known there is no tree: the next commit reads it again from what is stored.
        tree, self._tree = (self._tree or self._recovered()), None
        first, filled = tree.size, []
        for row in rows:
            filled += tree.add(row[-1])
        root = tree.root()
        note = self._signed(tree.size, root)
        with self._engine.begin() as connection:
            _insert_rows(connection, rows, first)
            if filled or self._tiles_due:
                _store_tiles(connection, filled, tree.partial())
            self._store_checkpoint(connection, tree.size, root, note)
        self._tree, self._tiles_due = tree, False
        self._keep(note)
        return first

    def _signed(self, size: int, root: bytes) -> str:
        body = checkpoint_body(self._origin, size, root)
        return signed_note(body, self._origin, self._keeper.sign(Purpose.CHECKPOINT, body.encode()), self._public)

    def _keep(self, note: str) -> None:
        try:
            self._keeper.keep_checkpoint(note)
        except OSError as error:
            raise StorageError(
                f"The events are on record, but their checkpoint cannot be kept beside the keys ({error.strerror}): "
                "make room there.",
                code="checkpoint-not-kept",
            ) from error

    def _store_checkpoint(self, connection: Connection, size: int, root: bytes, note: str) -> None:
        if not is_append_only(connection):
            boundary = (size - 1) // KEPT_EVERY * KEPT_EVERY
            connection.execute(checkpoints.delete().where(checkpoints.c.size > boundary, checkpoints.c.size < size))
        row = {"size": size, "root": root, "text": note, "at": rfc3339(self._clock.now())}
        connection.execute(insert(checkpoints), [row])

    def _recovered(self) -> Frontier:
        """The edge of the stored tree, if it is the one that was last signed and kept."""
        try:
            return self._checked_tree()
        except VerificationError as error:
            raise VerificationError(
                "The audit log is not the one that was last signed, and nothing more is written to it: "
                "see casemate audit verify.",
                code="log-altered",
                details={"found": error.message, **error.details},
            ) from error

    def _checked_tree(self) -> Frontier:
        size = self.reader.size()
        tree, newest = Frontier(self.reader.open_tiles(size)), self.reader.newest_checkpoint()
        if (newest.size if newest else 0) != size or tree.size != size:
            raise VerificationError("The newest checkpoint is not over all entries.", details={"size": size})
        if newest and newest.root != tree.root():
            raise VerificationError("The entries do not lead to the newest root.", details={"size": size})
        text_kept = self._keeper.kept_checkpoint()
        if text_kept is None:
            if size:  # a new log keeps the checkpoint of its empty tree before its first entry
                raise VerificationError("The checkpoint beside the keys is missing.", details={"size": size})
            self._keep(self._signed(0, tree.root()))
            return tree
        kept = open_checkpoint(text_kept, self._origin, self._public)
        if kept.size > size or self.reader.root(kept.size) != kept.root:
            raise VerificationError("The log does not continue the kept checkpoint.", details={"kept": kept.size})
        if newest and kept.size < size:  # a crash came between the commit and the kept copy
            self._keep(newest.text)
        return tree

    def _refused(self, waiting: _Waiting, error: Exception) -> Exception:
        """What a row that the database refused tells its caller."""
        ids = [row[0] for row in waiting.rows]
        with reading(self._engine) as connection:
            taken = any(
                connection.execute(select(entries.c.seq).where(entries.c.id == one)).first() is not None for one in ids
            )
        if taken or len(set(ids)) < len(ids):
            return ConflictError("An event with this id is on record already.", code="event-repeated")
        return _told(error)


_COLUMNS = "INSERT INTO entries (seq, id, at, kind, project, action, actor, resource, outcome, body, leaf) "
_INSERT = {
    "sqlite": _COLUMNS + f"VALUES ({', '.join('?' * 11)})",
    # One statement for all rows, an array for each column, in binary: three times the speed of text.
    "postgresql": _COLUMNS + "SELECT * FROM unnest(%b::bigint[], %b::text[], %b::text[], %b::text[], %b::text[], "  # noqa: S608 constants
    "%b::text[], %b::text[], %b::text[], %b::text[], %b::bytea[], %b::bytea[])",
}
_PUT_TILE = text(
    "INSERT INTO tiles (level, idx, data) VALUES (:level, :idx, :data) "
    "ON CONFLICT (level, idx) DO UPDATE SET data = excluded.data"
)


def _insert_rows(connection: Connection, rows: list[_Row], first: int) -> None:
    numbered: list[tuple[Any, ...]] = [(seq, *row) for seq, row in enumerate(rows, first)]
    if connection.dialect.name == "postgresql":
        columns = tuple(list(column) for column in zip(*numbered, strict=True))
        connection.exec_driver_sql(_INSERT["postgresql"], columns)
    else:
        connection.exec_driver_sql(_INSERT["sqlite"], numbered)


def _store_tiles(connection: Connection, filled: list[Tile], grown: list[Tile]) -> None:
    """Store tiles that are full, and those that grew where they may be stored anew."""
    append_only = is_append_only(connection)
    rows = [
        {"level": tile.level, "idx": tile.number, "data": tile.data}
        for tile in (filled if append_only else filled + grown)
    ]
    if rows:
        connection.execute(insert(tiles) if append_only else _PUT_TILE, rows)


def _row(event: Event) -> _Row:
    if len(event.kind) > _KIND:
        raise InputError(f"An event's kind has at most {_KIND} characters: {event.kind[:40]!r}.", code="bad-event")
    try:
        body = _ENCODER.encode(event)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"An event cannot be written as JSON: {error}", code="bad-event") from error
    return (
        event.id,
        event.at,
        event.kind,
        event.project,
        event.action,
        event.actor,
        event.resource,
        event.outcome,
        body,
        leaf_hash(body),
    )


def _told(error: Exception) -> Exception:
    if isinstance(error, CasemateError):
        return type(error)(error.message, code=error.code, details=error.details)
    if isinstance(error, SQLAlchemyError | OSError):
        return StorageError("The audit log cannot be written; nothing goes on without it.", code="log-unwritable")
    return error
