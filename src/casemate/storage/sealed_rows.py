"""Rows of the database that only their own key can write: whoever has the database alone can drop one, and no more."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection, Engine, Row, delete, insert, select, update

from casemate.core import VerificationError, canonical, rfc3339
from casemate.storage.database import people_rows as table
from casemate.storage.database import reading
from casemate.storage.rows import RowCipher

_Body = TypeVar("_Body", bound=msgspec.Struct)


class SealedRows:
    """Rows of one home, each sealed and bound to its id, kind, principal and end. For use from many threads.

    A row that was altered, or put in another's place, raises VerificationError `row-altered`; one whose end has come
    is as good as gone. Args: home_id: rows of another home do not open.
    """

    def __init__(self, engine: Engine, key: bytes, *, home_id: str) -> None:
        self._engine, self._cipher, self._home_id = engine, RowCipher(key), home_id

    def find(self, row_id: str, kind: type[_Body], *, now: datetime) -> _Body | None:
        """The row's body; None if there is none. Raises: VerificationError `row-altered`."""
        with reading(self._engine) as connection:
            return self._found(connection, row_id, kind, now)

    def of(self, principal: str, kind: type[_Body], *, now: datetime) -> list[tuple[str, _Body]]:
        """All rows of a kind that belong to `principal`, with their ids. Raises: VerificationError `row-altered`."""
        query = select(table).where(
            table.c.principal == principal, table.c.kind == _kind(kind), table.c.ends_at > rfc3339(now)
        )
        with reading(self._engine) as connection:
            rows = connection.execute(query.order_by(table.c.id)).all()
        return [(row.id, self._opened(row, kind)) for row in rows]

    def change(
        self,
        row_id: str,
        kind: type[_Body],
        change: Callable[[_Body | None], _Body | None],
        *,
        now: datetime,
        ends_at: datetime,
        principal: str = "",
    ) -> _Body | None:
        """Replace the row by what `change` makes of it, with nobody in between; None deletes it. Returns the new one.

        What `change` raises leaves the row as it was.
        """
        with self._engine.begin() as connection:
            old = self._found(connection, row_id, kind, now, lock=True)
            new = change(old)
            if new is old and new is not None:
                return new
            if new is None:
                connection.execute(delete(table).where(table.c.id == row_id))
                return None
            self._write(connection, row_id, new, principal, ends_at)
            return new

    def put(self, row_id: str, body: msgspec.Struct, *, ends_at: datetime, principal: str = "") -> None:
        """Write the row, whatever stood there."""
        with self._engine.begin() as connection:
            self._write(connection, row_id, body, principal, ends_at)

    def replace(self, old_id: str, row_id: str, body: msgspec.Struct, *, ends_at: datetime, principal: str) -> bool:
        """Write a row in the place of another, both or neither; False, and nothing written, if that one was gone."""
        with self._engine.begin() as connection:
            if not connection.execute(delete(table).where(table.c.id == old_id)).rowcount:
                return False
            self._write(connection, row_id, body, principal, ends_at)
            return True

    def remove(self, row_id: str) -> bool:
        """Whether there was one."""
        with self._engine.begin() as connection:
            return bool(connection.execute(delete(table).where(table.c.id == row_id)).rowcount)

    def forget(self, *, now: datetime) -> int:
        """Delete what has ended; returns how many rows."""
        with self._engine.begin() as connection:
            return connection.execute(delete(table).where(table.c.ends_at <= rfc3339(now))).rowcount

    def _found(
        self, connection: Connection, row_id: str, kind: type[_Body], now: datetime, *, lock: bool = False
    ) -> _Body | None:
        query = select(table).where(table.c.id == row_id)
        row = connection.execute(query.with_for_update() if lock else query).first()
        return None if row is None or row.ends_at <= rfc3339(now) else self._opened(row, kind)

    def _opened(self, row: Row[Any], kind: type[_Body]) -> _Body:
        body = row.body if isinstance(row.body, bytes) and row.kind == _kind(kind) else b""
        plain = self._cipher.open(body, self._context(row.id, _kind(kind), row.principal, row.ends_at))
        try:
            return msgspec.json.decode(plain, type=kind)
        except msgspec.DecodeError as error:
            raise VerificationError(
                "A row of the database was written by another version of Casemate.", code="row-altered"
            ) from error

    def _write(
        self, connection: Connection, row_id: str, body: msgspec.Struct, principal: str, ends_at: datetime
    ) -> None:
        kind, end = _kind(type(body)), rfc3339(ends_at)
        sealed = self._cipher.seal(msgspec.json.encode(body), self._context(row_id, kind, principal, end))
        values = {"kind": kind, "principal": principal, "ends_at": end, "body": sealed}
        if not connection.execute(update(table).where(table.c.id == row_id).values(**values)).rowcount:
            connection.execute(insert(table).values(id=row_id, **values))

    def _context(self, row_id: str, kind: str, principal: str, ends_at: str) -> bytes:
        return canonical(["casemate people row 1", self._home_id, row_id, kind, principal, ends_at])


def _kind(body: type[msgspec.Struct]) -> str:
    """What a row holds, by the name of its type, which never changes."""
    return body.__name__.lower()[:16]
