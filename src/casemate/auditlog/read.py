"""Reads the audit log: entries, intents left open, proofs, checkpoints. Anybody who may read the database can."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import Connection, Engine, func, literal, select

from casemate.auditlog.checkpoint import Checkpoint, open_checkpoint
from casemate.auditlog.tree import (
    TILE,
    Frontier,
    TileNodes,
    consistency_proof,
    frontier_of,
    inclusion_proof,
    subtree_root,
)
from casemate.core import INTENT, OUTCOME, Event, InputError, NotFoundError, VerificationError, outcome_id
from casemate.storage.database import checkpoints, entries, reading, tiles

PAGE = 200  # entries at most in one page
_HASH = 32  # bytes
_FILTERS = ("kind", "actor", "action", "resource", "outcome")


class Page(msgspec.Struct, frozen=True):
    """Entries, newest first; `next` continues, None ends."""

    items: list[dict[str, Any]]
    next: str | None


class LogReader:
    """Args: origin: the log's name in its checkpoints. public: what they are signed with."""

    def __init__(self, engine: Engine, *, origin: str, public: Ed25519PublicKey) -> None:
        self.engine, self.origin, self.public = engine, origin, public

    def size(self) -> int:
        with reading(self.engine) as connection:
            return int(connection.execute(select(func.coalesce(func.max(entries.c.seq) + 1, 0))).scalar_one())

    def page(
        self, *, after: str | None = None, limit: int = 50, since: str = "", until: str = "", **filters: str
    ) -> Page:
        """Entries that match every filter. Raises: InputError: `after` is no cursor of ours."""
        query = select(entries.c.seq, entries.c.body).order_by(entries.c.seq.desc()).limit(min(limit, PAGE) + 1)
        for name in _FILTERS:
            if filters.get(name):
                query = query.where(entries.c[name] == filters[name])
        if since:
            query = query.where(entries.c.at >= since)
        if until:
            query = query.where(entries.c.at < until)
        if after:
            if not (after.isascii() and after.isdigit() and len(after) < 19):
                raise InputError("`after` is the `next` of an earlier page.", code="bad-cursor")
            query = query.where(entries.c.seq < int(after))
        with reading(self.engine) as connection:
            rows = connection.execute(query).all()
        more = len(rows) > min(limit, PAGE)
        rows = rows[: min(limit, PAGE)]
        items = [{"seq": row.seq, **msgspec.json.decode(row.body)} for row in rows]
        return Page(items, str(rows[-1].seq) if more else None)

    def open_intents(self) -> list[Event]:
        """Intents on record without an outcome, oldest first."""
        outcome = entries.alias()
        closed = select(outcome.c.seq).where(
            outcome.c.id == literal(OUTCOME) + func.substr(entries.c.id, len(INTENT) + 1)
        )
        query = select(entries.c.body).where(entries.c.kind == "intent", ~closed.exists()).order_by(entries.c.seq)
        with reading(self.engine) as connection:
            return [msgspec.json.decode(body, type=Event) for (body,) in connection.execute(query)]

    def outcome_of(self, intent: str) -> Event | None:
        """The outcome of an intent; the intent itself while it has none; None when nobody knows it."""
        query = (
            select(entries.c.body).where(entries.c.id.in_([outcome_id(intent), intent])).order_by(entries.c.seq.desc())
        )
        with reading(self.engine) as connection:
            body = connection.execute(query.limit(1)).scalar()
        return msgspec.json.decode(body, type=Event) if body else None

    def latest_time(self) -> str | None:
        """The time of the newest entry: no clock may go behind it."""
        with reading(self.engine) as connection:
            return connection.execute(select(entries.c.at).order_by(entries.c.seq.desc()).limit(1)).scalar()

    def bodies(self, start: int = 0) -> Iterator[bytes]:
        """The bodies of all entries from `start` on, in order, each one line of JSON."""
        with reading(self.engine) as connection:
            query = select(entries.c.body).where(entries.c.seq >= start).order_by(entries.c.seq)
            for row in connection.execute(query.execution_options(yield_per=1000)):
                yield bytes(row.body)

    def newest_checkpoint(self) -> Checkpoint | None:
        """Raises: VerificationError `checkpoint-invalid`."""
        with reading(self.engine) as connection:
            text = connection.execute(select(checkpoints.c.text).order_by(checkpoints.c.size.desc()).limit(1)).scalar()
        return open_checkpoint(text, self.origin, self.public) if text else None

    def frontier(self, size: int) -> Frontier:
        with reading(self.engine) as connection:
            return frontier_of(size, self._nodes(connection))

    def open_tiles(self, size: int) -> list[list[bytes]]:
        """The hashes of the unfinished tile of each level."""
        with reading(self.engine) as connection:
            levels, count, level = [], size, 0
            while count:
                levels.append(self._tile(connection, level, count // TILE) if count % TILE else [])
                count, level = count // TILE, level + 1
        return levels

    def prove(self, event_id: str) -> dict[str, Any]:
        """A proof that an entry is in the log, for `auditlog.offline` or anybody. Raises: NotFoundError."""
        newest = self.newest_checkpoint()
        with reading(self.engine) as connection:
            row = connection.execute(select(entries.c.seq, entries.c.body).where(entries.c.id == event_id)).first()
            if row is None or newest is None:
                raise NotFoundError(f"No entry has the id {event_id[:80]!r}.", code="no-entry")
            if row.seq >= newest.size:
                raise VerificationError("The newest checkpoint does not cover this entry.", code="log-altered")
            proof = inclusion_proof(row.seq, newest.size, self._nodes(connection))
        return {
            "schema": 1,
            "entry": base64.b64encode(row.body).decode(),
            "index": row.seq,
            "size": newest.size,
            "hashes": [base64.b64encode(one).decode() for one in proof],
            "checkpoint": newest.text,
            "public_key": self.public_pem(),
        }

    def consistency(self, old: int, size: int) -> list[bytes]:
        """The hashes that show that the tree of `size` continues that of `old`."""
        with reading(self.engine) as connection:
            return consistency_proof(old, size, self._nodes(connection))

    def public_pem(self) -> str:
        return self.public.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ).decode()

    def _nodes(self, connection: Connection) -> TileNodes:
        return TileNodes(lambda level, index: self._tile(connection, level, index))

    def _tile(self, connection: Connection, level: int, index: int) -> list[bytes]:
        """The hashes in a tile; for one that is not full, those that are there."""
        stored = select(tiles.c.data).where(tiles.c.level == level, tiles.c.idx == index)
        data = connection.execute(stored).scalar()
        if data is not None:
            return [bytes(data[at : at + _HASH]) for at in range(0, len(data), _HASH)]
        if level == 0:
            first = index * TILE
            query = select(entries.c.leaf).where(entries.c.seq >= first, entries.c.seq < first + TILE)
            return [bytes(leaf) for (leaf,) in connection.execute(query.order_by(entries.c.seq))]
        below = select(tiles.c.data).where(
            tiles.c.level == level - 1, tiles.c.idx >= index * TILE, tiles.c.idx < (index + 1) * TILE
        )
        return [
            subtree_root([bytes(data[at : at + _HASH]) for at in range(0, len(data), _HASH)])
            for (data,) in connection.execute(below.order_by(tiles.c.idx))
        ]
