"""The metadata database: tables, and how it is opened: SQLite in the home, or PostgreSQL (`storage.postgresql`)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import (
    URL,
    BigInteger,
    Column,
    Connection,
    Engine,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    create_engine,
    event,
    inspect,
    text,
)
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import QueuePool

from casemate.core import Secret, StorageError
from casemate.storage.postgresql import backup_command, is_postgresql, open_postgresql, vacuum

METADATA = MetaData()
MIGRATIONS = Path(__file__).parent / "migrations"
_BUSY = 30_000  # ms that a writer waits for another one


def _carried(*, with_project: bool = False) -> list[Column[Any]]:
    """What every row carries from the first release on; a row about no one environment leaves that empty."""
    project = [Column("project", String(63), nullable=False, server_default="default")] if with_project else []
    return [
        *project,
        Column("environment", String(16)),
        Column("schema", Integer, nullable=False, server_default="1"),
    ]


assets = Table(
    "assets",
    METADATA,
    Column("project", String(63), primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("name", String(63), primary_key=True),
    Column("created_at", String(27), nullable=False),
    *_carried(),
)
versions = Table(
    "versions",
    METADATA,
    Column("id", String(40), primary_key=True),
    Column("project", String(63), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("name", String(63), nullable=False),
    Column("number", Integer, nullable=False),
    Column("digest", String(71), nullable=False, index=True),
    Column("manifest", LargeBinary, nullable=False),
    Column("data_class", String(16), nullable=False),
    Column("state", String(16), nullable=False),  # live, deleted
    Column("created_at", String(27), nullable=False),
    Column("created_by", String(80), nullable=False),
    Column("intent", String(80), nullable=False, index=True),
    *_carried(),
    UniqueConstraint("project", "kind", "name", "number"),
)
blobs = Table(
    "blobs",
    METADATA,
    Column("id", String(40), primary_key=True),
    Column("project", String(63), nullable=False),
    Column("asset", String(90), nullable=False),
    Column("wrapped_key", LargeBinary, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("digest", String(71), nullable=False),
    Column("created_at", String(27), nullable=False),
    *_carried(),
)
version_blobs = Table(
    "version_blobs",
    METADATA,
    Column("version_id", String(40), ForeignKey("versions.id"), primary_key=True),
    Column("path", String(512), primary_key=True),
    Column("piece", Integer, primary_key=True, autoincrement=False, server_default="0"),  # its place in the file
    Column("blob_id", String(40), ForeignKey("blobs.id"), nullable=False, index=True),
    *_carried(with_project=True),
)
Table(  # reserved for names of versions such as `latest`: the first migration made it, and nothing uses it yet
    "tags",
    METADATA,
    Column("project", String(63), primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("name", String(63), primary_key=True),
    Column("tag", String(63), primary_key=True),
    Column("number", Integer, nullable=False),
    *_carried(),
)
attestations = Table(
    "attestations",
    METADATA,
    Column("id", String(40), primary_key=True),
    Column("project", String(63), nullable=False),
    Column("version_digest", String(71), nullable=False, index=True),
    Column("predicate_type", String(120), nullable=False),
    Column("envelope", LargeBinary, nullable=False),
    Column("created_at", String(27), nullable=False),
    Column("intent", String(80), nullable=False, index=True),
    *_carried(),
)
ledger = Table(
    "ledger",
    METADATA,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("at", String(27), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("body", LargeBinary, nullable=False),  # encrypted
    Column("previous", String(71), nullable=False),
    Column("digest", String(71), nullable=False),
    Column("signature", LargeBinary, nullable=False),
    Column("intent", String(80), nullable=False, index=True),
    *_carried(with_project=True),
)
entries = Table(  # of the audit log
    "entries",
    METADATA,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("id", String(80), nullable=False, unique=True),
    Column("at", String(27), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("action", String(40), nullable=False),
    Column("actor", String(80), nullable=False),
    Column("resource", String(160), nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("leaf", LargeBinary, nullable=False),
    *_carried(with_project=True),
)
Index("entries_at", entries.c.at)
Index("entries_kind_at", entries.c.kind, entries.c.seq)
Index("entries_actor_at", entries.c.actor, entries.c.seq)
tiles = Table(  # complete hash tiles of the audit log's tree
    "tiles",
    METADATA,
    Column("level", Integer, primary_key=True, autoincrement=False),
    Column("idx", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
    *_carried(with_project=True),
)
checkpoints = Table(
    "checkpoints",
    METADATA,
    Column("size", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("root", LargeBinary, nullable=False),
    Column("text", Text, nullable=False),
    Column("at", String(27), nullable=False),
    *_carried(with_project=True),
)
people_rows = Table(  # sessions, attempts to sign in, steps of one-time codes: what changes too often for the ledger
    "people_rows",
    METADATA,
    Column("id", String(80), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("principal", String(80), nullable=False, index=True),
    Column("ends_at", String(27), nullable=False, index=True),  # when it may be forgotten
    Column("body", LargeBinary, nullable=False),  # sealed, and bound to all of the above
    *_carried(with_project=True),
)


def open_database(url: str, *, password: Secret | None = None, read_only: bool = False, keeper: bool = False) -> Engine:
    """Connect to `sqlite:///PATH` or `postgresql://USER@HOST/NAME`. Every commit is durable when it returns.

    Args: password: for a server. read_only: No statement can write; the file must exist. keeper: what the one keeper of a home opens; SQLite's
        lies under the home's lock, and needs no other.
    Raises: InputError, StorageError, ConflictError: as `open_postgresql`.
    """
    if is_postgresql(url):
        return open_postgresql(url, password=password, read_only=read_only, keeper=keeper)
    path = url.removeprefix("sqlite:///")
    if not read_only:
        _create_private(path)
    query = {"mode": "ro" if read_only else "rw", "uri": "true"}
    # isolation_level None: pysqlite begins no transactions of its own; `_begin` below does, so that they are real.
    engine = create_engine(
        URL.create("sqlite", database=f"file:{quote(path)}", query=query),
        poolclass=QueuePool,
        connect_args={"check_same_thread": False, "isolation_level": None, "timeout": _BUSY / 1000},
    )

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _: Any) -> None:
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={_BUSY}")
        cursor.execute("PRAGMA foreign_keys=ON")
        if not read_only:
            cursor.execute("PRAGMA journal_mode=WAL")
            cursor.execute("PRAGMA synchronous=FULL")
            cursor.execute("PRAGMA secure_delete=ON")  # a destroyed key leaves no trace in the file
        else:
            cursor.execute("PRAGMA query_only=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        # A writer takes its lock at once: two that read first and write later could not both go on.
        reads = read_only or connection.get_execution_options().get("reads")
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine


def _create_private(path: str) -> None:
    """Make the file, 0600, if it is not there: SQLite's other files take its mode.

    One that is there is left alone: closing any descriptor of it would drop the locks of this process's connections,
    and another process would then delete the write-ahead log under them.
    Source: sqlite.org/howtocorrupt.html, section 2.2.
    """
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A consistent view of the database that keeps no writer waiting."""
    with engine.connect().execution_options(reads=True) as connection:
        yield connection


def is_append_only(engine: Engine | Connection) -> bool:
    """Whether nothing of the audit log is ever updated or deleted, so that no role need have the right to.

    SQLite knows no roles: there, tiles grow in place and old checkpoints make room.
    """
    return engine.dialect.name == "postgresql"


def migrate(engine: Engine) -> None:
    """Bring the database to this release's tables. Raises: StorageError `newer-home`, `broken-database`."""
    with _readable(engine), engine.begin() as connection:
        current, known = _revision(connection), _revisions()
        if current is not None and current not in known:
            raise StorageError("This home was written by a newer Casemate: install that release.", code="newer-home")
        if current != known[-1]:
            _upgrade(connection)


def outdated(engine: Engine) -> str | None:
    """The revision of a database that an older release wrote; None when it is new, or empty."""
    with _readable(engine), reading(engine) as connection:
        current = _revision(connection)
    return current if current != _revisions()[-1] else None


def refuse_migration(url: str, old: str) -> None:
    """What nobody has copied is not changed. Raises: StorageError `migration-due`, with both commands."""
    raise StorageError(
        f"An older Casemate wrote this database ({old}). Copy it: {backup_command(url, f'casemate-{old}.dump')}; then "
        "bring it to this release: casemate database migrate.",
        code="migration-due",
    )


def back_up(engine: Engine, copy: Path) -> None:
    """Copy an SQLite database to `copy`, which must not exist, 0600. What is deleted later lives on in the copy."""
    os.close(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    with closing(engine.raw_connection()) as connection:
        connection.cursor().execute("VACUUM INTO ?", (str(copy),))


def shred(engine: Engine, *, wait: bool = True) -> None:
    """Leave nothing of deleted rows in SQLite's write-ahead log. PostgreSQL keeps traces: docs/postgresql.md.

    Args: wait: for readers to end, while writers wait, too.
    Raises: StorageError `not-shredded`: somebody was reading all the while; the rows are gone, their traces not yet.
    """
    if engine.dialect.name == "sqlite":
        with closing(engine.raw_connection()) as connection:
            cursor = connection.cursor()
            cursor.execute(f"PRAGMA busy_timeout={_BUSY if wait else 0}")
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            busy, *_ = cursor.fetchone() or (1,)
            cursor.execute(f"PRAGMA busy_timeout={_BUSY}")
        if busy:
            raise StorageError(
                "The deleted keys still stand in the write-ahead log, which somebody reads: a restart or the next deletion clears it.",
                code="not-shredded",
            )
    else:
        vacuum(engine, blobs.name)


def _upgrade(connection: Connection, to: str = "head") -> None:
    from alembic import command  # loaded where something changes, not by every command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, to)


def _revisions() -> list[str]:
    """Every revision, in order: a migration's file is called by its number."""
    return sorted(path.name.partition("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*_*.py"))


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


@contextmanager
def _readable(engine: Engine) -> Iterator[None]:
    try:
        yield
    except DatabaseError as error:
        raise StorageError(
            f"The database {engine.url.database} cannot be used ({error.orig}): restore it from a backup.",
            code="broken-database",
        ) from error
