"""What credentials and actors were used for, and when last, as the log has it; every entry is read once."""

from __future__ import annotations

import threading
from typing import Any

import msgspec
from sqlalchemy import Connection, select

from casemate.storage.database import entries

_KINDS = frozenset({"decision", "intent", "prediction"})  # an outcome is no use of its own
_ALLOWED = frozenset({"allowed", "done"})  # of a decision or intent; of a prediction
_GROUP = 1000  # rows fetched at once


class _Entry(msgspec.Struct, frozen=True):
    """What of an event matters here."""

    at: str
    kind: str
    actor: str = ""
    outcome: str = ""
    credential: str = ""
    action: str = ""
    resource: str = ""
    facts: dict[str, Any] = {}


_DECODER = msgspec.json.Decoder(_Entry)


class LastUses:
    """(actor, credential) -> (time, network address) of the newest entry; credential "*": any. For people to look at: nothing is verified."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], tuple[str, str]] = {}
        self._next = 0  # number of the first entry that was not read yet
        self._lock = threading.Lock()

    def last(self, connection: Connection, actor: str, credential: str) -> tuple[str, str] | None:
        """None: never. Reads what came into the log since the last call."""
        with self._lock:
            self._read_on(connection)
            return self._found.get((actor, credential))

    def _read_on(self, connection: Connection) -> None:
        query = select(entries.c.seq, entries.c.body).where(entries.c.seq >= self._next).order_by(entries.c.seq)
        for row in connection.execute(query.execution_options(yield_per=_GROUP)):
            self._next = row.seq + 1
            try:
                entry = _DECODER.decode(row.body)
            except (msgspec.DecodeError, UnicodeError, TypeError):  # altered: `audit verify` says so
                continue
            # Whoever was refused at the sign-in may be anybody.
            if entry.kind in _KINDS or (entry.kind == "sign-in" and entry.outcome == "allowed"):
                use = entry.at, str(entry.facts.get("address", ""))
                self._found[entry.actor, entry.credential] = self._found[entry.actor, "*"] = use


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """What an actor did on one thing, how often, and when last (RFC 3339)."""

    action: str
    resource: str
    environment: str
    policies: tuple[str, ...]
    count: int
    last: str


class UsesByActor:
    """What each actor was allowed to do, as recorded; each entry is read once. For people to look at: nothing is verified.

    Of one actor the first `most` different uses are kept apart; what comes after counts as done on its whole kind.
    """

    def __init__(self, most: int = 500) -> None:
        self._most = most
        self._found: dict[str, dict[tuple[str, str, str, tuple[str, ...]], tuple[int, str]]] = {}
        self._next = 0
        self._lock = threading.Lock()

    def of(self, connection: Connection, actor: str) -> list[Use]:
        """Reads what came into the log since the last call."""
        with self._lock:
            self._read_on(connection)
            return [
                Use(action=action, resource=resource, environment=where, policies=policies, count=count, last=last)
                for (action, resource, where, policies), (count, last) in self._found.get(actor, {}).items()
            ]

    def _read_on(self, connection: Connection) -> None:
        query = select(entries.c.seq, entries.c.body).where(entries.c.seq >= self._next).order_by(entries.c.seq)
        for row in connection.execute(query.execution_options(yield_per=_GROUP)):
            self._next = row.seq + 1
            try:
                entry = _DECODER.decode(row.body)
            except (msgspec.DecodeError, UnicodeError, TypeError):  # altered: `audit verify` says so
                continue
            if entry.kind in _KINDS and entry.outcome in _ALLOWED and entry.actor:
                self._note(entry)

    def _note(self, entry: _Entry) -> None:
        found = self._found.setdefault(entry.actor, {})
        policies = entry.facts.get("policies")
        named = tuple(map(str, policies)) if isinstance(policies, list) else ()
        key = entry.action, entry.resource, str(entry.facts.get("environment") or ""), named
        if key not in found and len(found) >= self._most:
            key = entry.action, f"{entry.resource.partition(':')[0]}:*", "", named
        count, last = found.get(key, (0, ""))
        found[key] = count + 1, max(last, entry.at)
