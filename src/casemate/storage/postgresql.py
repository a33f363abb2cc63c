"""PostgreSQL as the metadata database: how a connection is made, what it must promise, and what its failures are called.

A writer takes one advisory lock for its transaction, as SQLite has one writer, so that what was read in it still holds
when it commits. A keeper's engine has a single connection, which holds a second lock for as long as it lives: what is
written through it is written by the only keeper (ADR 15).
"""

from __future__ import annotations

import stat
import time
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, ExceptionContext, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, InterfaceError, OperationalError

from casemate.core import ConflictError, InputError, Secret, StorageError

_LOCKS = 0x0CA5E  # the space of our advisory locks; with it, the number of each
_WRITER, _KEEPER = 1, 2
_BUSY = 30  # seconds that a writer waits for another one
_TAKEOVER = 10.0  # seconds that a new keeper waits for the server to notice that the one before it died
_OLDEST = 130000  # PostgreSQL 13; older ones get no repairs any more
_ALLOWED = frozenset(  # of libpq; none of them can hold a secret
    [
        "host",
        "port",
        "sslmode",
        "sslrootcert",
        "sslcert",
        "sslkey",
        "sslcrl",
        "passfile",
        "connect_timeout",
        "channel_binding",
        "gssencmode",
        "krbsrvname",
        "target_session_attrs",
        "application_name",
    ]
)
_DEFAULTS = {
    "connect_timeout": 10,  # seconds
    "application_name": "casemate",
    "client_encoding": "utf8",
    # A server that is gone is noticed within a minute, though nothing is being sent.
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,  # ms
}
_REFUSED = ("28", "3D000", "42501")  # SQLSTATE classes: not let in, no such database, no privilege
_FULL = ("53100", "53200")  # disk, memory
_WAITED = ("55P03", "40001", "40P01")  # lock timeout, serialization, deadlock
_NOT_LET_IN = (
    "authentication failed",
    "does not exist",
    "no pg_hba.conf entry",
)  # at a connection's start: no SQLSTATE
_LOST = ("08", "57P", "53300")  # connection lost, server stopping, too many connections


def is_postgresql(url: str) -> bool:
    return url.startswith(("postgresql:", "postgres:"))


def checked_url(text: str) -> URL:
    """A URL as SQLAlchemy takes it: no secret in it, and TLS that knows the server wherever a network lies between.

    Raises: InputError `bad-database`. The URL itself is never repeated: it may hold a password.
    """
    try:
        url = make_url(text)
    except (ArgumentError, ValueError) as error:
        raise _bad("is not a URL: write postgresql://USER@HOST/NAME") from error
    if url.drivername not in ("postgresql", "postgres"):
        raise _bad("is of another kind: write postgresql://USER@HOST/NAME")
    if url.password is not None or "password" in url.query:
        raise _bad(
            "holds a password, which then stands in process lists and files: write it into a file of mode 0600 as "
            "HOST:PORT:NAME:USER:PASSWORD, name that with ?passfile=/PATH, and change this password"
        )
    unknown = sorted(set(url.query) - _ALLOWED)
    if unknown or not all(isinstance(value, str) for value in url.query.values()):
        raise _bad(
            f"names what is not known here ({', '.join(unknown)[:80] or 'a name twice'}): see docs/postgresql.md"
        )
    if not url.database:
        raise _bad("names no database: write postgresql://USER@HOST/NAME")
    _check_passfile(url)
    return _over_tls(url).set(drivername="postgresql+psycopg")


def shown_url(text: str) -> str:
    """A URL that was checked, for people."""
    return checked_url(text).set(drivername="postgresql").render_as_string(hide_password=True)


def _check_passfile(url: URL) -> None:
    passfile = url.query.get("passfile")
    if not isinstance(passfile, str):
        return
    path = Path(passfile)
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise _bad(f"names the passfile {path}, which cannot be read ({error.strerror})") from error
    if not path.is_absolute() or not stat.S_ISREG(mode) or mode & 0o077:
        raise _bad(f"names the passfile {path}, which others may read: give its whole path, and chmod 600 it")


def _over_tls(url: URL) -> URL:
    """Ask for TLS with a server that proves its name, unless it is on this machine. Raises: InputError."""
    host = url.host or url.query.get("host") or ""
    if not isinstance(host, str) or host.startswith("/") or host in ("", "localhost", "127.0.0.1", "::1"):
        return url
    mode = url.query.get("sslmode", "verify-full")
    if mode != "verify-full":
        raise _bad(f"asks for sslmode={mode} over a network, where anybody could answer: use sslmode=verify-full")
    return url.update_query_dict({"sslmode": mode})


def _bad(why: str) -> InputError:
    return InputError(f"The setting `database` {why}.", code="bad-database")


def open_postgresql(
    text: str, *, password: Secret | None = None, read_only: bool = False, keeper: bool = False
) -> Engine:
    """Connect when first used. A commit that returns is durable.

    Args: password: of the URL's user, where the server asks for one. read_only: No statement can write. keeper: what only the one keeper of a database opens: see above.
    Raises: InputError `bad-database`. Where it is used: StorageError `database-unreachable`, `database-busy`,
        `database-full`, `database-role`, `database-not-durable`, `database-too-old`; ConflictError `keeper-elsewhere`.
    """
    url = checked_url(text)
    try:
        engine = create_engine(
            url,
            connect_args={**_DEFAULTS, **url.query, **({"password": password.reveal()} if password else {})},
            pool_pre_ping=True,  # what a restarted server left behind is replaced before it is used
            pool_timeout=_BUSY,
            **({"pool_size": 1, "max_overflow": 0} if keeper else {}),
        )
    except ImportError as error:
        raise StorageError(
            "PostgreSQL needs the extra `postgres`: pip install 'casemate[postgres]'.", code="extra-missing"
        ) from error
    where = url.set(drivername="postgresql").render_as_string(hide_password=True)

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _: Any) -> None:
        try:
            _prepare(connection, read_only=read_only, keeper=keeper)
        except BaseException:
            connection.close()
            raise

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        reads = read_only or connection.get_execution_options().get("reads")
        connection.exec_driver_sql(
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"
            if reads
            else f"SELECT pg_advisory_xact_lock({_LOCKS}, {_WRITER})"
        )

    @event.listens_for(engine, "handle_error")
    def _named(context: ExceptionContext) -> BaseException | None:
        return None if context.is_pre_ping else _told(context, where)

    return engine


def _prepare(connection: Any, *, read_only: bool, keeper: bool) -> None:
    """Raises: StorageError; ConflictError `keeper-elsewhere`."""
    connection.autocommit = True
    if connection.info.server_version < _OLDEST:
        raise StorageError("PostgreSQL is too old here: Casemate needs version 13 or newer.", code="database-too-old")
    _check_durable(connection)
    # Objects that another role made in a schema of its own, or as temporary ones, never stand in for ours.
    connection.execute("SET search_path = public, pg_temp")
    connection.execute(f"SET lock_timeout = '{_BUSY}s'")
    connection.execute("SET statement_timeout = 0")
    connection.execute("SET idle_in_transaction_session_timeout = '10min'")
    if read_only:
        connection.execute("SET default_transaction_read_only = on")
    if keeper:
        _become_keeper(connection)
    connection.autocommit = False


def _check_durable(connection: Any) -> None:
    """A server may be told to say "committed" before it is: then nothing that the log acknowledges would be sure."""
    found = dict(
        connection.execute(
            "SELECT name, setting FROM pg_settings WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit',"
            " 'server_encoding')"
        ).fetchall()
    )
    for name in ("fsync", "full_page_writes"):
        if found.get(name) != "on":
            raise StorageError(
                f"The PostgreSQL server runs with {name} off, so a crash could lose what it confirmed: set {name} = on.",
                code="database-not-durable",
            )
    if found.get("server_encoding") != "UTF8":
        raise StorageError(
            "The PostgreSQL database is not in UTF-8: make it with ENCODING 'UTF8' TEMPLATE template0.",
            code="database-encoding",
        )
    if found.get("synchronous_commit") in ("off", "local"):
        connection.execute("SET synchronous_commit = on")


def _become_keeper(connection: Any) -> None:
    """Take the keeper's lock, which the server gives up when this connection ends. Raises: ConflictError."""
    give_up = time.monotonic() + _TAKEOVER
    while not connection.execute(f"SELECT pg_try_advisory_lock({_LOCKS}, {_KEEPER})").fetchone()[0]:
        if time.monotonic() > give_up:
            raise ConflictError(
                "Another keeper writes to this database: stop that one first, on whatever machine it runs.",
                code="keeper-elsewhere",
            )
        time.sleep(0.05)


def _told(context: ExceptionContext, where: str) -> StorageError | None:
    """One sentence for what is nobody's data's fault; None leaves an error as it is."""
    error = context.original_exception
    state = getattr(error, "sqlstate", None) or ""
    never = context.connection is None and isinstance(context.sqlalchemy_exception, OperationalError | InterfaceError)
    found = None
    if state.startswith(_REFUSED) or (never and any(word in str(error) for word in _NOT_LET_IN)):
        found = (
            "database-role",
            (
                f"PostgreSQL at {where} does not let this role do that ({_first(error)}): docs/postgresql.md says what "
                "each needs, and casemate database roles gives it."
            ),
        )
    elif state in _FULL:
        found = (
            "database-full",
            (
                f"PostgreSQL at {where} has no room left ({_first(error)}): nothing was written; make room and try again."
            ),
        )
    elif state in _WAITED:
        found = (
            "database-busy",
            (f"The database was kept busy by others for {_BUSY} s: nothing was written; try again."),
        )
    elif context.is_disconnect or state.startswith(_LOST) or (never and not state):
        found = (
            "database-unreachable",
            (
                f"PostgreSQL at {where} cannot be reached ({_first(error)}); what was not acknowledged may not be on "
                "record. Start it, and try again."
            ),
        )
    return StorageError(found[1], code=found[0]) if found else None


def _first(error: BaseException) -> str:
    """The first line of what the driver said, without the full stop; it names hosts and users, and no secret."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].strip().rstrip(".")[:200]


def vacuum(engine: Engine, table: str) -> None:
    """Give the space of deleted rows up for reuse, where this role owns the table; else the server does so by itself.

    The server's write-ahead log and its backups keep what they have: docs/postgresql.md says how keys end for good.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT", reads=False) as connection:
        connection.exec_driver_sql(f"VACUUM {table}")


def backup_command(text: str, name: str) -> str:
    """What an operator types to copy a database."""
    return f"pg_dump --format=custom --file={name} '{shown_url(text)}'"
