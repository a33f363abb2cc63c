"""The pen of the audit log: appends events, signs a checkpoint with each commit. The keeper alone holds one."""

from __future__ import annotations

import threading

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import Connection, Engine, insert
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from casemate.auditlog.checkpoint import checkpoint_body, open_checkpoint, signed_note
from casemate.auditlog.read import LogReader
from casemate.auditlog.tree import TILE, Frontier, leaf_hash, subtree_root
from casemate.core import Clock, ConflictError, Event, StorageError, VerificationError, rfc3339
from casemate.keys import Keeper, Purpose
from casemate.storage.database import checkpoints, tiles

MAX_GROUP = 1000  # events in one commit
KEPT_EVERY = 1024  # entries; of the checkpoints between two multiples only the newest is kept

_ENCODER = msgspec.json.Encoder(order="deterministic")


class _Waiting:
    """The events of one caller, and what became of them."""

    __slots__ = ("done", "error", "events", "first")

    def __init__(self, events: list[Event]) -> None:
        self.events, self.first, self.done = events, 0, False
        self.error: Exception | None = None


class _Edge:
    """The growing side of the tree: the frontier, and the hashes of each level's open tile."""

    def __init__(self, frontier: Frontier, open_tiles: list[list[bytes]]) -> None:
        self.frontier, self.open_tiles = frontier, open_tiles

    def copy(self) -> _Edge:
        return _Edge(self.frontier.copy(), [list(hashes) for hashes in self.open_tiles])

    def add(self, leaf: bytes) -> list[tuple[int, int, bytes]]:
        """Add a leaf; returns the tiles that it completed, as (level, index, hashes)."""
        self.frontier.add(leaf)
        completed: list[tuple[int, int, bytes]] = []
        hash_, level = leaf, 0
        while True:
            if level == len(self.open_tiles):
                self.open_tiles.append([])
            open_tile = self.open_tiles[level]
            open_tile.append(hash_)
            if len(open_tile) < TILE:
                return completed
            index = (self.frontier.size >> (8 * (level + 1))) - 1
            completed.append((level, index, b"".join(open_tile)))
            hash_ = subtree_root(open_tile)
            open_tile.clear()
            level += 1


class Log:
    """An EventSink. Callers that append at the same time share one commit and one checkpoint."""

    def __init__(self, engine: Engine, *, keeper: Keeper, origin: str, public: Ed25519PublicKey, clock: Clock) -> None:
        """Raises: VerificationError `log-altered`: the stored tree is not the one that was last signed."""
        self.reader = LogReader(engine, origin=origin, public=public)
        self._engine, self._keeper, self._origin, self._public, self._clock = engine, keeper, origin, public, clock
        self._edge = self._recovered()
        self._queue: list[_Waiting] = []
        self._queue_lock, self._commit_lock = threading.Lock(), threading.Lock()

    def append(self, events: list[Event]) -> None:
        """Returns when the events are committed. Raises: StorageError; ConflictError `event-repeated`: an id is taken."""
        if not events:
            return
        mine = _Waiting(events)
        with self._queue_lock:
            self._queue.append(mine)
        with self._commit_lock:  # whoever comes first commits for all who wait
            while not mine.done:
                self._commit_group(self._take_group())
        if mine.error is not None:
            raise mine.error

    def _take_group(self) -> list[_Waiting]:
        with self._queue_lock:
            count = events = 0
            for waiting in self._queue:
                events += len(waiting.events)
                if count and events > MAX_GROUP:
                    break
                count += 1
            group, self._queue = self._queue[:count], self._queue[count:]
        return group

    def _commit_group(self, group: list[_Waiting]) -> None:
        try:
            self._commit([event for waiting in group for event in waiting.events])
        except Exception as error:  # noqa: BLE001 each caller gets its own
            if len(group) > 1:  # one bad event must not fail the others
                for waiting in group:
                    self._commit_group([waiting])
                return
            group[0].error = _told(error)
        for waiting in group:
            waiting.done = True

    def _commit(self, events: list[Event]) -> None:
        edge, rows, full = self._edge.copy(), [], []
        seq = edge.frontier.size
        for event in events:
            body = _ENCODER.encode(event)
            leaf = leaf_hash(body)
            full += edge.add(leaf)
            rows.append(
                (
                    seq,
                    event.id,
                    event.at,
                    event.kind,
                    event.action,
                    event.actor,
                    event.resource,
                    event.outcome,
                    body,
                    leaf,
                )
            )
            seq += 1
        root = edge.frontier.root()
        body_text = checkpoint_body(self._origin, seq, root)
        signature = self._keeper.sign(Purpose.CHECKPOINT, body_text.encode())
        note = signed_note(body_text, self._origin, signature, self._public)
        with self._engine.begin() as connection:
            connection.exec_driver_sql(_INSERT[connection.dialect.name], rows)
            if full:
                connection.execute(insert(tiles), [{"level": a, "idx": b, "data": c} for a, b, c in full])
            self._store_checkpoint(connection, seq, root, note)
        self._edge = edge
        self._keeper.keep_checkpoint(note)

    def _store_checkpoint(self, connection: Connection, size: int, root: bytes, note: str) -> None:
        boundary = (size - 1) // KEPT_EVERY * KEPT_EVERY
        connection.execute(checkpoints.delete().where(checkpoints.c.size > boundary, checkpoints.c.size < size))
        row = {"size": size, "root": root, "text": note, "at": rfc3339(self._clock.now())}
        connection.execute(insert(checkpoints), [row])

    def _recovered(self) -> _Edge:
        """The edge of the stored tree, if it is the one that was last signed and kept."""
        size = self.reader.size()
        newest = self.reader.newest_checkpoint()
        edge = _Edge(self.reader.frontier(size), self.reader.open_tiles(size))
        kept = self._keeper.kept_checkpoint()
        kept_size = open_checkpoint(kept, self._origin, self._public).size if kept else 0
        whole = (newest.size if newest else 0) == size and kept_size <= size
        if whole and newest:
            whole = newest.root == edge.frontier.root()
        if whole and kept and kept_size:
            kept_root = open_checkpoint(kept, self._origin, self._public).root
            whole = self.reader.frontier(kept_size).root() == kept_root
        if not whole:
            raise VerificationError(
                "The audit log is not the one that was last signed: see casemate audit verify.",
                code="log-altered",
                details={"size": size, "newest": newest.size if newest else 0, "kept": kept_size},
            )
        if newest and kept_size < size:  # a crash came between the commit and the kept copy
            self._keeper.keep_checkpoint(newest.text)
        return edge


_COLUMNS = "INSERT INTO entries (seq, id, at, kind, action, actor, resource, outcome, body, leaf) VALUES "
_INSERT = {"sqlite": _COLUMNS + f"({', '.join('?' * 10)})", "postgresql": _COLUMNS + f"({', '.join(['%s'] * 10)})"}


def _told(error: Exception) -> Exception:
    if isinstance(error, IntegrityError):
        return ConflictError("An event with this id is on record already.", code="event-repeated")
    if isinstance(error, SQLAlchemyError | OSError):
        return StorageError("The audit log cannot be written; nothing goes on without it.", code="log-unwritable")
    return error
