"""The rows that a database answers a query with, as an Arrow stream, a batch at a time. Nothing is written there.

The query runs where the command runs, with what its own user may reach; the control plane is sent rows, never an address.
"""

from __future__ import annotations

import io
import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from casemate.core import InputError, StorageError, UpstreamError, is_text
from casemate.keys.secret_refs import resolve_secret
from casemate.keys.secret_strength import Strength

if TYPE_CHECKING:  # loaded where a query is asked, not by every command
    import pyarrow as pa

_BATCH = 10_000  # rows that are held at a time
_CONNECT = 15  # seconds
_SQLITE, _POSTGRESQL = "sqlite:///", ("postgresql://", "postgres://")
_SQLITE_MAY = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE})
_FORBIDDEN = frozenset({"load_extension", "readfile", "writefile", "edit", "fts3_tokenizer"})
# Source: PostgreSQL, src/include/catalog/pg_type.dat
_OIDS = {
    **dict.fromkeys((20, 21, 23, 26), "int64"),
    **dict.fromkeys((700, 701, 1700), "float64"),
    **dict.fromkeys((18, 19, 25, 1042, 1043, 2950, 114, 3802), "string"),
    16: "bool_",
    1082: "date32",
    1114: "timestamp",
    1184: "timestamp",
}


def query_rows(
    sql: str, source: str, *, environ: Mapping[str, str] = os.environ, vault: Path | None = None
) -> Iterator[bytes]:
    """The answer to `sql` as the bytes of an Arrow IPC stream, in a transaction that cannot write.

    Args: source: a reference to the database's URL, `sqlite:////PATH` or `postgresql://...`: see `resolve_secret`.
    Raises: InputError `bad-query`, `bad-source`; StorageError; UpstreamError `no-answer`; as `resolve_secret`.
    """
    if not is_text(sql) or "\0" in sql:
        raise InputError("The query is not valid text: write it as UTF-8.", code="bad-query")
    url = resolve_secret(source, setting="--from", strength=Strength.URL, environ=environ, vault=vault).reveal()
    if url.startswith(_SQLITE):
        return _sqlite(sql, Path(url.removeprefix(_SQLITE)))
    if url.startswith(_POSTGRESQL):
        return _postgresql(sql, url)
    raise InputError(
        "--from must name a URL that is sqlite:////PATH or postgresql://USER@HOST/NAME.", code="bad-source"
    )


def _sqlite(sql: str, path: Path) -> Iterator[bytes]:
    """Read twice in one transaction, since SQLite tells a value's type with the value only."""
    import pyarrow as pa

    if not path.is_absolute() or not path.is_file():
        raise InputError("--from names no file of SQLite: write sqlite:// and an absolute path.", code="bad-source")
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, isolation_level=None)) as database:
            for pragma in ("query_only=ON", "trusted_schema=OFF", "cell_size_check=ON"):
                database.execute(f"PRAGMA {pragma}")
            database.execute("BEGIN")
            database.set_authorizer(_only_reads)
            cursor = database.execute(sql)
            names = _names(cursor.description)
            kinds: list[type | None] = [None] * len(names)
            for row in cursor:
                kinds = [_wider(kind, value, name) for kind, value, name in zip(kinds, row, names, strict=True)]
            types: dict[type | None, Any] = {int: pa.int64(), float: pa.float64(), str: pa.string(), None: pa.null()}
            schema = pa.schema([(name, types[kind]) for name, kind in zip(names, kinds, strict=True)])
            yield from _stream(schema, database.execute(sql), _plain)
    except sqlite3.Error as error:
        raise _refused(error) from error


def _only_reads(action: int, _: str | None, name: str | None, *__: object) -> int:
    allowed = action in _SQLITE_MAY and not (action == sqlite3.SQLITE_FUNCTION and (name or "").lower() in _FORBIDDEN)
    return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY


def _wider(kind: type | None, value: object, name: str) -> type | None:
    """The type of the values so far. Raises: InputError `bad-query`."""
    new = None if value is None else type(value)
    if new is None or kind is None or new is kind:
        found = kind if new is None else new
    else:
        found = float if {new, kind} == {int, float} else bytes
    if found is bytes:
        raise InputError(
            f"The column {name[:80]!r} of the answer holds bytes, or values of several types: cast it in the query.",
            code="bad-query",
        )
    return found


def _postgresql(sql: str, url: str) -> Iterator[bytes]:
    """Through a cursor of the server, so that no more than a batch is held here or there."""
    import pyarrow as pa

    try:
        import psycopg
    except ImportError as error:
        raise StorageError(
            "A query to PostgreSQL needs psycopg: install casemate[postgres].", code="missing-extra"
        ) from error
    types: dict[str, Callable[[], pa.DataType]] = {"timestamp": lambda: pa.timestamp("us")}
    try:
        with psycopg.connect(url, connect_timeout=_CONNECT, application_name="casemate") as connection:
            connection.read_only = True
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            with connection.cursor("casemate_rows") as cursor:
                cursor.itersize = _BATCH
                cursor.execute(sql, binary=True)  # so sent, it can be one statement only
                names = _names(cursor.description)
                kinds = []
                for name, column in zip(names, cursor.description or (), strict=True):
                    kind = _OIDS.get(column.type_code)
                    if kind is None:
                        raise InputError(
                            f"The column {name[:80]!r} of the answer is of a type that no dataset has: cast it in the"
                            f" query, as in {name[:40]}::text.",
                            code="bad-query",
                        )
                    kinds.append(types.get(kind, getattr(pa, kind, None))())  # type: ignore[misc]
                yield from _stream(pa.schema(list(zip(names, kinds, strict=True))), cursor, _plain)
    except psycopg.OperationalError as error:
        if error.sqlstate is None:
            raise UpstreamError(
                f"The database does not answer ({_first_line(error)}): look at what --from names.", code="no-answer"
            ) from error
        raise _refused(error) from error
    except psycopg.Error as error:
        raise _refused(error) from error


def _stream(
    schema: pa.Schema, rows: Iterable[tuple[Any, ...]], plain: Callable[[pa.DataType, Any], Any]
) -> Iterator[bytes]:
    import pyarrow as pa
    import pyarrow.ipc

    sink = io.BytesIO()
    with pyarrow.ipc.new_stream(sink, schema) as writer:
        waiting: list[tuple[Any, ...]] = []

        def batch() -> pa.RecordBatch:
            columns = list(zip(*waiting, strict=True))
            try:
                arrays = [
                    pa.array([plain(field.type, value) for value in column], field.type)
                    for field, column in zip(schema, columns, strict=True)
                ]
            except (pa.ArrowException, OverflowError, ValueError, TypeError):
                raise InputError(
                    "The answer holds a value that its column's type cannot: cast it in the query.", code="bad-query"
                ) from None
            return pa.RecordBatch.from_arrays(arrays, schema=schema)

        for row in rows:
            waiting.append(row)
            if len(waiting) == _BATCH:
                writer.write_batch(batch())
                waiting = []
                yield _taken(sink)
        if waiting:
            writer.write_batch(batch())
    yield _taken(sink)


def _plain(kind: pa.DataType, value: Any) -> Any:
    """A value as Arrow takes it: numbers of any precision as floating ones, what has a form of its own as text."""
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if str(kind) == "double":
        return float(value)
    if str(kind) == "string":
        return json.dumps(value) if isinstance(value, dict | list) else str(value)
    return value


def _taken(sink: io.BytesIO) -> bytes:
    data = sink.getvalue()
    sink.seek(0)
    sink.truncate()
    return data


def _names(description: Any) -> list[str]:
    if not description:
        raise InputError("The query answers with no rows: write one SELECT.", code="bad-query")
    return [str(column[0]) for column in description]


def _refused(error: Exception) -> InputError:
    return InputError(f"The database refused the query ({_first_line(error)}): mend it.", code="bad-query")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no reason given"])[0][:200].rstrip(".")
