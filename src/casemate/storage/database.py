"""The metadata database: tables, and how it is opened. SQLite today; nothing here keeps PostgreSQL out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import (
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
)
from sqlalchemy.pool import QueuePool

from casemate.core import StorageError

METADATA = MetaData()
_BUSY = 30_000  # ms that a writer waits for another one

assets = Table(
    "assets",
    METADATA,
    Column("project", String(63), primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("name", String(63), primary_key=True),
    Column("created_at", String(27), nullable=False),
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
)
version_blobs = Table(
    "version_blobs",
    METADATA,
    Column("version_id", String(40), ForeignKey("versions.id"), primary_key=True),
    Column("path", String(512), primary_key=True),
    Column("blob_id", String(40), ForeignKey("blobs.id"), nullable=False, index=True),
)
tags = Table(
    "tags",
    METADATA,
    Column("project", String(63), primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("name", String(63), primary_key=True),
    Column("tag", String(63), primary_key=True),
    Column("number", Integer, nullable=False),
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
)
checkpoints = Table(
    "checkpoints",
    METADATA,
    Column("size", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("root", LargeBinary, nullable=False),
    Column("text", Text, nullable=False),
    Column("at", String(27), nullable=False),
)


def open_database(url: str, *, read_only: bool = False) -> Engine:
    """Connect to `sqlite:///PATH` (or another URL of SQLAlchemy's). Every commit is durable when it returns.

    Args: read_only: No statement can write; the file must exist.
    """
    if not url.startswith("sqlite:///"):
        return create_engine(url, pool_pre_ping=True)
    path = url.removeprefix("sqlite:///")
    mode = "ro" if read_only else "rwc"
    # isolation_level None: pysqlite begins no transactions of its own; `_begin` below does, so that they are real.
    engine = create_engine(
        f"sqlite:///file:{path}?mode={mode}&uri=true",
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


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A consistent view of the database that keeps no writer waiting."""
    with engine.connect().execution_options(reads=True) as connection:
        yield connection


def migrate(engine: Engine) -> None:
    """Bring the database to this release's tables. Raises: StorageError `newer-home`: a newer release wrote it."""
    config = Config()
    config.set_main_option("script_location", str(files("casemate.storage") / "migrations"))
    script = ScriptDirectory.from_config(config)
    with engine.begin() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
        if current is not None and current not in {revision.revision for revision in script.walk_revisions()}:
            raise StorageError("This home was written by a newer Casemate: install that release.", code="newer-home")
        if current != script.get_current_head():
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


def shred(engine: Engine) -> None:
    """Leave nothing of deleted rows in SQLite's write-ahead log."""
    if engine.dialect.name == "sqlite":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
