"""The newest entries, each as it was signed: for whoever weighs what was decided lately."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from sqlalchemy import select

from casemate.auditlog.stored_entries import altered, signed_event
from casemate.core import LATE, Event
from casemate.storage.database import entries

if TYPE_CHECKING:
    from casemate.auditlog.read import LogReader

_AT_ONCE = 1000  # rows read at a time


def signed_since(reader: LogReader, since: str) -> Iterator[Event]:
    """Every entry that is not older than `since` (RFC 3339, UTC), newest first, checked against the newest signed root.

    What came late, and bears an older time, is among them; it ends nothing.
    Raises: VerificationError `log-altered`: an entry was altered, or one between two others is missing.
    """
    query = select(entries.c.seq, entries.c.body).order_by(entries.c.seq.desc())
    with reader._reading() as connection:  # noqa: SLF001 - one room
        leaves = reader._leaves(connection)  # noqa: SLF001
        expected = leaves.size - 1
        for row in connection.execute(query.execution_options(yield_per=_AT_ONCE)):
            if row.seq != expected:
                raise altered(expected)
            expected -= 1
            event = signed_event(leaves, row.seq, row.body)
            if event.at < since and not event.facts.get(LATE):
                return
            yield event
        if expected >= 0:
            raise altered(expected)
