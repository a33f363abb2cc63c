"""Reads the audit log: entries, intents left open, proofs, checkpoints. Anybody who may read the database can."""

from __future__ import annotations

import base64
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache, partial
from typing import Any

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import Connection, Engine, LargeBinary, Row, Select, cast, func, select

from casemate.auditlog.checkpoint import Checkpoint, open_checkpoint
from casemate.auditlog.signed import SignedLeaves
from casemate.auditlog.stored_entries import FILTERS, altered, any_text, item_of, raw_body, signed_event
from casemate.auditlog.tree import (
    HASH,
    TILE,
    TileNodes,
    inclusion_proof,
    leaf_hash,
    split_tile,
    subtree_root,
    tree_root,
    verify_inclusion,
)
from casemate.auditlog.uses import LastUses, Use, UsesByActor
from casemate.core import (
    LATE,
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
# How a body tells that it may be one of the few that are decoded; that it is one, its decoded kind says.
_INTENT_KIND, _OUTCOME_ID = b'"kind":"intent"', f'"id":"{OUTCOME}'.encode()
_UNPROVEN = "Entry {} cannot be proven, since the tree over it was cut or altered: run casemate audit verify."


class Page(msgspec.Struct, frozen=True):
    """Entries, newest first; `next` continues, None ends."""

    items: list[dict[str, Any]]
    next: str | None


class LogReader:
    """Args: origin: the log's name in its checkpoints. public: what they are signed with."""

    def __init__(self, engine: Engine, *, origin: str, public: Ed25519PublicKey) -> None:
        self.engine, self.origin, self.public = engine, origin, public
        self._uses = LastUses()
        self._done = UsesByActor()

    def size(self) -> int:
        with self._reading() as connection:
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
        with self._reading() as connection:
            streamed = connection.execute(query.execution_options(yield_per=PAGE) if text else query.limit(most + 1))
            for row in streamed:
                if needle in bytes(row.body if isinstance(row.body, bytes) else b"").lower():
                    rows.append(row)
                    if len(rows) > most:
                        break
            streamed.close()
        items = [item_of(row.seq, row.body) for row in rows[:most]]
        return Page(items, str(rows[most - 1].seq) if len(rows) > most else None)

    def _matching(self, after: str | None, since: str, until: str, filters: dict[str, str]) -> Select[Any]:
        query = select(entries.c.seq, entries.c.body).order_by(entries.c.seq.desc())
        for name, value in filters.items():
            if name not in FILTERS:
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

    # What the following four give decides something, so every entry is checked against the newest signed root, and
    # its body alone says what it is: whoever can write the database can write its columns.

    def open_intents(self, after: int = 0) -> list[Event]:
        """Intents without an outcome among the entries from number `after` on, oldest first, by reading each of these.

        Raises: VerificationError `log-altered`: an entry is missing, or an intent or outcome is not the one signed.
        """
        query = select(entries.c.seq, entries.c.body).where(entries.c.seq >= after).order_by(entries.c.seq)
        waiting: dict[str, Event] = {}  # by the id that their outcome would bear
        with self._reading() as connection:
            leaves, expected = self._leaves(connection), after
            for row in connection.execute(query.execution_options(yield_per=1000)):
                if row.seq != expected:
                    raise altered(expected)
                expected += 1
                body = raw_body(row.body)
                if body and _INTENT_KIND not in body and _OUTCOME_ID not in body:
                    continue
                event = signed_event(leaves, row.seq, row.body)
                if event.kind == "intent":
                    waiting[outcome_id(event.id)] = event
                elif event.kind == "outcome":
                    waiting.pop(event.id, None)
            if expected != leaves.size:
                raise altered(expected)
        return list(waiting.values())

    def outcomes(self, actions: Collection[str]) -> Iterator[Event]:
        """The outcomes on record of these actions, oldest first, by reading every entry.

        Raises: VerificationError `log-altered`: an entry was altered or is missing.
        """
        query = select(entries.c.seq, entries.c.body).order_by(entries.c.seq)
        with self._reading() as connection:
            leaves, expected = self._leaves(connection), 0
            for row in connection.execute(query.execution_options(yield_per=1000)):
                if row.seq != expected:
                    raise altered(expected)
                event = signed_event(leaves, row.seq, row.body)
                expected += 1
                if event.kind == "outcome" and event.action in actions:
                    yield event
            if expected != leaves.size:
                raise altered(expected)

    def outcome_of(self, intent: str) -> Event | None:
        """The outcome of an intent; the intent itself while it has none; None when nobody knows it.

        Raises: VerificationError `log-altered`.
        """
        wanted = (outcome_id(intent), intent)
        query = select(entries.c.seq, entries.c.body).where(entries.c.id.in_(wanted)).order_by(entries.c.seq.desc())
        with self._reading() as connection:
            rows = connection.execute(query.limit(1)).all()
            for row, event in zip(rows, self._signed_events(connection, rows), strict=True):
                if event.id not in wanted:
                    raise altered(row.seq)
                return event
        return None

    def latest_time(self) -> str | None:
        """The time of the newest signed entry that did not come late: no clock may go behind it.

        Raises: VerificationError `log-altered`.
        """
        with self._reading() as connection:
            query = select(entries.c.seq, entries.c.body).order_by(entries.c.seq.desc())
            leaves, latest = self._leaves(connection), None
            streamed = connection.execute(query.execution_options(yield_per=PAGE))
            for row in streamed:
                event = signed_event(leaves, row.seq, row.body)
                if not event.facts.get(LATE):
                    latest = event.at
                    break
            streamed.close()
            return latest

    def _signed_events(self, connection: Connection, rows: Sequence[Any]) -> list[Event]:
        """Rows of (seq, body) as the events that were signed. Raises: VerificationError `log-altered`."""
        leaves = self._leaves(connection)
        return [signed_event(leaves, row.seq, row.body) for row in rows]

    def _leaves(self, connection: Connection) -> SignedLeaves:
        """The leaves under the newest checkpoint, in the view of the database that `connection` has."""
        return SignedLeaves(self._newest(connection), partial(self._tile, connection))

    def last_use(self, actor: str, credential: str) -> tuple[str, str] | None:
        """When and from which network address `actor` last did or tried something with `credential`, as recorded.

        `credential` "*": with any. None: never. An outcome is no use of its own. Reads what came into the log since it
        was last asked.
        """
        with self._reading() as connection:
            return self._uses.last(connection, actor, credential)

    def uses_of(self, actor: str) -> list[Use]:
        """What `actor` was allowed to do, as recorded. Reads what came into the log since it was last asked."""
        with self._reading() as connection:
            return self._done.of(connection, actor)

    def bodies(self, start: int = 0) -> Iterator[bytes]:
        """The bodies of all entries from `start` on, in order, each one line of JSON."""
        with self._reading() as connection:
            query = select(entries.c.body).where(entries.c.seq >= start).order_by(entries.c.seq)
            for row in connection.execute(query.execution_options(yield_per=1000)):
                yield row.body if isinstance(row.body, bytes) else str(row.body).encode(errors="surrogateescape")

    def newest_checkpoint(self) -> Checkpoint | None:
        """Raises: VerificationError `checkpoint-invalid`."""
        with self._reading() as connection:
            return self._newest(connection)

    def _newest(self, connection: Connection) -> Checkpoint | None:
        # SQLite lets an intruder store bytes that are no text.
        text = cast(checkpoints.c.text, LargeBinary) if connection.dialect.name == "sqlite" else checkpoints.c.text
        query = select(checkpoints.c.size, text).order_by(checkpoints.c.size.desc())
        row = connection.execute(query.limit(1)).first()
        if row is None:
            return None
        note = row[1].decode(errors="replace") if isinstance(row[1], bytes) else str(row[1])
        return open_checkpoint(note, self.origin, self.public)

    def root(self, size: int) -> bytes:
        """The root of the first `size` entries, as the tiles give it."""
        with self._reading() as connection:
            return tree_root(size, self._nodes(connection))

    def open_tiles(self, size: int) -> list[bytes]:
        """The unfinished tile of each level, as far as it is filled."""
        with self._reading() as connection:
            levels, count, level = [], size, 0
            while count:
                levels.append(self._tile(connection, level, count // TILE) if count % TILE else [])
                count, level = count // TILE, level + 1
        return [b"".join(hashes) for hashes in levels]

    def prove(self, event_id: str) -> dict[str, Any]:
        """A proof that an entry is in the log, for `auditlog.offline` or anybody. Raises: NotFoundError."""
        newest = self.newest_checkpoint()
        with self._reading() as connection:
            query = select(entries.c.seq, entries.c.body, entries.c.leaf).where(entries.c.id == event_id)
            row = connection.execute(query).first()
            if row is None or newest is None:
                raise NotFoundError(f"No entry has the id {event_id[:80]!r}.", code="no-entry")
            if row.seq >= newest.size:
                raise VerificationError("The newest checkpoint does not cover this entry.", code="log-altered")
            proof = inclusion_proof(row.seq, newest.size, self._nodes(connection))
        body = raw_body(row.body)
        if not verify_inclusion(leaf_hash(body), row.seq, newest.size, proof, newest.root):
            if leaf_hash(body) != row.leaf:
                raise altered(row.seq)
            raise VerificationError(_UNPROVEN.format(row.seq), code="log-altered")
        return {
            "schema": 1,
            "entry": base64.b64encode(body).decode(),
            "index": row.seq,
            "size": newest.size,
            "hashes": [base64.b64encode(one).decode() for one in proof],
            "checkpoint": newest.text,
            "public_key": self.public_pem(),
        }

    def public_pem(self) -> str:
        return self.public.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ).decode()

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with reading(self.engine) as connection, any_text(connection):
            yield connection

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
            return [
                bytes(leaf) for (leaf,) in connection.execute(query.order_by(entries.c.seq)) if isinstance(leaf, bytes)
            ]
        below = select(tiles.c.data).where(  # of a log that is only appended to: its open tiles are not stored
            tiles.c.level == level - 1, tiles.c.idx >= index * TILE, tiles.c.idx < (index + 1) * TILE
        )
        found = connection.execute(below.order_by(tiles.c.idx))
        return [
            subtree_root(split_tile(data)) for (data,) in found if isinstance(data, bytes) and len(data) == TILE * HASH
        ]


def _time(name: str, text: str) -> str:
    """An RFC 3339 time, or a date, in the form in which entries hold it; UTC where it names no zone."""
    try:
        found = datetime.fromisoformat(text)
        return rfc3339(found if found.tzinfo else found.replace(tzinfo=UTC))
    except (ValueError, OverflowError) as error:
        raise InputError(
            f"`{name}` is not a time: write it as in 2026-01-31T00:00:00Z, not {text[:40]!r}.", code="bad-time"
        ) from error
