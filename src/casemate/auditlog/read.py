"""Reads the audit log: entries, intents left open, proofs, checkpoints. Anybody who may read the database can."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from typing import Any

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import Connection, Engine, LargeBinary, Row, Select, cast, func, literal, select

from casemate.auditlog.checkpoint import Checkpoint, open_checkpoint
from casemate.auditlog.tree import (
    HASH,
    TILE,
    TileNodes,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    split_tile,
    subtree_root,
    tree_root,
    verify_inclusion,
)
from casemate.core import (
    INTENT,
    OUTCOME,
    Event,
    InputError,
    NotFoundError,
    VerificationError,
    outcome_id,
    rfc3339,
)
from casemate.storage.database import checkpoints, entries, reading, tiles

PAGE = 200  # entries at most in one page
_FILTERS = ("kind", "actor", "action", "resource", "outcome")
_SHOWN = ("id", "at", *_FILTERS)
_ALTERED = "Entry {} is not what was written: run casemate audit verify."


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
        self,
        *,
        after: str | None = None,
        limit: int = 50,
        since: str = "",
        until: str = "",
        text: str = "",
        **filters: str,
    ) -> Page:
        """Entries that match every filter, and whose JSON holds `text`, in whatever case of ASCII.

        Args: filters: kind, actor, action, resource, outcome. since, until: RFC 3339; `until` itself is left out.
        Raises: InputError `bad-cursor`, `bad-limit`, `bad-time`, `bad-filter`.
        """
        if limit < 1:
            raise InputError("`limit` is at least 1.", code="bad-limit")
        most = min(limit, PAGE)
        query = self._matching(after, since, until, filters)
        needle = msgspec.json.encode(text)[1:-1].lower()
        rows: list[Row[Any]] = []
        with reading(self.engine) as connection:
            streamed = connection.execute(query.execution_options(yield_per=PAGE) if text else query.limit(most + 1))
            for row in streamed:
                if needle in bytes(row.body if isinstance(row.body, bytes) else b"").lower():
                    rows.append(row)
                    if len(rows) > most:
                        break
            streamed.close()
        items = [_item(row.seq, row.body) for row in rows[:most]]
        return Page(items, str(rows[most - 1].seq) if len(rows) > most else None)

    def _matching(self, after: str | None, since: str, until: str, filters: dict[str, str]) -> Select[Any]:
        query = select(entries.c.seq, entries.c.body).order_by(entries.c.seq.desc())
        for name, value in filters.items():
            if name not in _FILTERS:
                raise InputError(f"Entries cannot be chosen by {name[:40]!r}.", code="bad-filter")
            query = query.where(entries.c[name] == value) if value else query
        if since:
            query = query.where(entries.c.at >= _time("since", since))
        if until:
            query = query.where(entries.c.at < _time("until", until))
        if after:
            if not (after.isascii() and after.isdigit() and len(after) < 19):
                raise InputError("`after` is the `next` of an earlier page.", code="bad-cursor")
            query = query.where(entries.c.seq < int(after))
        return query

    def open_intents(self) -> list[Event]:
        """Intents on record without an outcome, oldest first. Raises: VerificationError `log-altered`."""
        outcome = entries.alias()
        closed = select(outcome.c.seq).where(
            outcome.c.id == literal(OUTCOME) + func.substr(entries.c.id, len(INTENT) + 1)
        )
        query = select(entries.c.seq, entries.c.body).where(entries.c.kind == "intent", ~closed.exists())
        with reading(self.engine) as connection:
            return [_event(row.seq, row.body) for row in connection.execute(query.order_by(entries.c.seq))]

    def outcome_of(self, intent: str) -> Event | None:
        """The outcome of an intent; the intent itself while it has none; None when nobody knows it."""
        query = select(entries.c.seq, entries.c.body).where(entries.c.id.in_([outcome_id(intent), intent]))
        with reading(self.engine) as connection:
            row = connection.execute(query.order_by(entries.c.seq.desc()).limit(1)).first()
        return _event(row.seq, row.body) if row else None

    def latest_time(self) -> str | None:
        """The time of the newest entry: no clock may go behind it. Raises: VerificationError `log-altered`."""
        with reading(self.engine) as connection:
            row = connection.execute(
                select(entries.c.seq, entries.c.body).order_by(entries.c.seq.desc()).limit(1)
            ).first()
        return _event(row.seq, row.body).at if row else None

    def bodies(self, start: int = 0) -> Iterator[bytes]:
        """The bodies of all entries from `start` on, in order, each one line of JSON."""
        with reading(self.engine) as connection:
            query = select(entries.c.body).where(entries.c.seq >= start).order_by(entries.c.seq)
            for row in connection.execute(query.execution_options(yield_per=1000)):
                yield row.body if isinstance(row.body, bytes) else str(row.body).encode()

    def newest_checkpoint(self) -> Checkpoint | None:
        """Raises: VerificationError `checkpoint-invalid`."""
        query = select(checkpoints.c.size, cast(checkpoints.c.text, LargeBinary)).order_by(checkpoints.c.size.desc())
        with reading(self.engine) as connection:
            row = connection.execute(query.limit(1)).first()
        return open_checkpoint(row[1].decode(errors="replace"), self.origin, self.public) if row else None

    def root(self, size: int) -> bytes:
        """The root of the first `size` entries, as the tiles give it."""
        with reading(self.engine) as connection:
            return tree_root(size, self._nodes(connection))

    def open_tiles(self, size: int) -> list[bytes]:
        """The unfinished tile of each level, as far as it is filled."""
        with reading(self.engine) as connection:
            levels, count, level = [], size, 0
            while count:
                levels.append(self._tile(connection, level, count // TILE) if count % TILE else [])
                count, level = count // TILE, level + 1
        return [b"".join(hashes) for hashes in levels]

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
        body = row.body if isinstance(row.body, bytes) else b""
        if not verify_inclusion(leaf_hash(body), row.seq, newest.size, proof, newest.root):
            raise VerificationError(_ALTERED.format(row.seq), code="log-altered")
        return {
            "schema": 1,
            "entry": base64.b64encode(body).decode(),
            "index": row.seq,
            "size": newest.size,
            "hashes": [base64.b64encode(one).decode() for one in proof],
            "checkpoint": newest.text,
            "public_key": self.public_pem(),
        }

    def consistency(self, old: int, size: int) -> list[bytes]:
        """The hashes that show that the tree of `size` continues that of `old`. Raises: InputError `bad-size`."""
        if not 0 <= old <= size <= self.size():
            raise InputError(
                f"There is no proof from {old} to {size} entries: the log has {self.size()}.", code="bad-size"
            )
        with reading(self.engine) as connection:
            return consistency_proof(old, size, self._nodes(connection))

    def public_pem(self) -> str:
        return self.public.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ).decode()

    def _nodes(self, connection: Connection) -> TileNodes:
        return TileNodes(cache(lambda level, index: self._tile(connection, level, index)))

    def _tile(self, connection: Connection, level: int, index: int) -> list[bytes]:
        """The hashes in a tile; for one that is not full, those that are there."""
        stored = select(tiles.c.data).where(tiles.c.level == level, tiles.c.idx == index)
        data = connection.execute(stored).scalar()
        if isinstance(data, bytes):
            return split_tile(data)
        if level == 0:
            first = index * TILE
            query = select(entries.c.leaf).where(entries.c.seq >= first, entries.c.seq < first + TILE)
            return [bytes(leaf) for (leaf,) in connection.execute(query.order_by(entries.c.seq)) if _is_bytes(leaf)]
        below = select(tiles.c.data).where(  # of a log whose pen did not yet store open tiles
            tiles.c.level == level - 1, tiles.c.idx >= index * TILE, tiles.c.idx < (index + 1) * TILE
        )
        found = connection.execute(below.order_by(tiles.c.idx))
        return [subtree_root(split_tile(data)) for (data,) in found if _is_bytes(data) and len(data) == TILE * HASH]


def _is_bytes(value: object) -> bool:
    """SQLite lets an intruder store any type in a column."""
    return isinstance(value, bytes)


def _time(name: str, text: str) -> str:
    """An RFC 3339 time, or a date, in the form in which entries hold it; UTC where it names no zone."""
    try:
        found = datetime.fromisoformat(text)
        return rfc3339(found if found.tzinfo else found.replace(tzinfo=UTC))
    except (ValueError, OverflowError) as error:
        raise InputError(
            f"`{name}` is not a time: write it as in 2026-01-31T00:00:00Z, not {text[:40]!r}.", code="bad-time"
        ) from error


def _item(seq: int, body: Any) -> dict[str, Any]:
    """An entry as people see it; one that is not what was written says so and hides no other."""
    try:
        return {"seq": seq, **msgspec.json.decode(body, type=dict[str, Any])}
    except (msgspec.DecodeError, UnicodeDecodeError, TypeError):
        return {"seq": seq, **dict.fromkeys(_SHOWN, ""), "kind": "altered", "reason": _ALTERED.format(seq)}


def _event(seq: int, body: Any) -> Event:
    try:
        return msgspec.json.decode(body, type=Event)
    except (msgspec.DecodeError, UnicodeDecodeError, TypeError) as error:
        raise VerificationError(_ALTERED.format(seq), code="log-altered") from error
