"""Entries as they lie in the database, where an intruder may have altered them: no column is believed for what it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import msgspec
from sqlalchemy import Connection

from casemate.auditlog.signed import SignedLeaves
from casemate.auditlog.tree import leaf_hash
from casemate.core import Event, VerificationError

FILTERS = ("kind", "actor", "action", "resource", "outcome")  # what entries are chosen by
_SAID = "Entry {} is not what was written: run casemate audit verify."


@contextmanager
def any_text(connection: Connection) -> Iterator[None]:
    """Read text that is no UTF-8, too: SQLite lets an intruder store it, and it must not hide the rest of the log."""
    if connection.dialect.name != "sqlite":
        yield
        return
    driver: Any = connection.connection.driver_connection
    before, driver.text_factory = driver.text_factory, partial(str, encoding="utf-8", errors="surrogateescape")
    try:
        yield
    finally:
        driver.text_factory = before


def item_of(seq: int, body: Any) -> dict[str, Any]:
    """An entry as people see it; one that is not what was written says so and hides no other."""
    try:
        return {"seq": seq, **_members(), **msgspec.json.decode(body, type=dict[str, Any])}
    except (msgspec.DecodeError, UnicodeError, TypeError):
        return {"seq": seq, **_members(), "kind": "altered", "reason": _SAID.format(seq)}


def _members() -> dict[str, Any]:
    """Every member of an event, as it is where nothing is said."""
    return msgspec.structs.asdict(Event(id="", at="", kind=""))


def event_of(seq: int, body: Any) -> Event:
    """The event that a body says, signed or not. Raises: VerificationError `log-altered`."""
    try:
        return msgspec.json.decode(body, type=Event)
    except (msgspec.DecodeError, UnicodeError, TypeError) as error:
        raise altered(seq) from error


def signed_event(leaves: SignedLeaves, seq: int, body: Any) -> Event:
    """The event, if its body is the one whose leaf was signed at `seq`. Raises: VerificationError `log-altered`."""
    if leaf_hash(raw_body(body)) != leaves.leaf(seq):
        raise altered(seq)
    return event_of(seq, body)


def altered(seq: int) -> VerificationError:
    """What is said of an entry that is not the one that was signed."""
    return VerificationError(_SAID.format(seq), code="log-altered")


def raw_body(body: Any) -> bytes:
    """A body as bytes; SQLite lets an intruder store any type in its column, and none of them was signed."""
    return body if isinstance(body, bytes) else b""
