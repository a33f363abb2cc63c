"""The home: where everything but the keys lies, and the lock that one process at a time may hold."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import sys
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from typing import Self

import msgspec
from sqlalchemy import Engine, inspect, select

from casemate.core import SCHEMA, ConflictError, NotFoundError, Secret, StorageError, new_id, rfc3339
from casemate.keys import make_private_folder, write_private
from casemate.storage.database import METADATA, back_up, migrate, open_database, outdated, reading, refuse_migration
from casemate.storage.database import ledger as ledger_table
from casemate.storage.postgresql import checked_url, is_postgresql

_FILE = "casemate.db"  # of SQLite
_FOLDERS = ("blobs", "tmp", "lost", "tls", "run", "public")
_ID = re.compile(r"home_[0-9a-f]{32}")
_HOLDER = re.compile(r"process (\d+)")


class _About(msgspec.Struct, frozen=True, omit_defaults=True):
    schema: int
    id: str
    created_at: str
    database: str = ""  # URL; empty: SQLite in the home


class Home:
    """A home folder that exists and is of a layout that this release knows."""

    def __init__(self, path: Path, about: _About, database: str = "", password: Secret | None = None) -> None:
        """Args: database: in place of the URL that the home was made with: of another role or host. password: of its user."""
        self.path = path
        self.id = about.id
        self.created_at = about.created_at
        self._password = password
        self.database_url = database or about.database or _sqlite(path)
        self.blobs, self.tmp, self.lost, self.tls, self.run, self.public = (path / name for name in _FOLDERS)

    @property
    def database(self) -> Path | None:
        """SQLite's file; None where the database is a server's."""
        return None if is_postgresql(self.database_url) else self.path / _FILE

    def open_database(self, *, read_only: bool = False, keeper: bool = False) -> Engine:
        return open_database(self.database_url, password=self._password, read_only=read_only, keeper=keeper)


def _sqlite(path: Path) -> str:
    return f"sqlite:///{path / _FILE}"


def create_home(path: Path, *, now: datetime, database: str = "", password: Secret | None = None) -> Home:
    """Make a home, or finish one; what is there stays.

    Args: database: `postgresql://...`, which the home remembers; empty: SQLite in the home. password: of its
        user, which it does not.
    Raises: StorageError: the folder or the database holds something else. InputError `bad-database`.
    """
    if database:
        checked_url(database)
    known = {*_FOLDERS, "home.json", "state.key", "people.key", "casemate.toml", "casemate.db", "lock"}
    if (
        not (path / "home.json").exists()
        and path.is_dir()
        and any(
            item.name not in known and not item.name.startswith((".home.json.", "casemate.db-"))
            for item in path.iterdir()
        )
    ):
        raise StorageError(f"{path} holds other things: name an empty folder for the home.", code="not-a-home")
    try:
        make_private_folder(path)
        for name in _FOLDERS:
            make_private_folder(path / name)
    except OSError as error:
        raise StorageError(f"{path} cannot be made: {error.strerror}.", code="not-a-home") from error
    with HomeLock(path, made=False) if not (path / "home.json").exists() else nullcontext():
        _finish(path, now, database, password)
    return open_home(path, database=database, password=password)


def _finish(path: Path, now: datetime, database: str, password: Secret | None) -> None:
    """`home.json` comes last: without it, the next init goes on from what a crash left."""
    if not (path / "home.json").exists():
        engine = open_database(database or _sqlite(path), password=password)
        try:
            migrate(engine)
            if database:
                _check_untaken(engine)
        finally:
            engine.dispose()
        about = _About(SCHEMA, new_id("home"), rfc3339(now), database)
        write_private(path / "home.json", msgspec.json.encode(about))


def _check_untaken(engine: Engine) -> None:
    """A home has a database to itself. Raises: StorageError `database-taken`."""
    with reading(engine) as connection:
        if any(connection.execute(select(table).limit(1)).first() is not None for table in METADATA.sorted_tables):
            raise StorageError(
                "This database belongs to another home: make a new one (CREATE DATABASE), or restore that home.",
                code="database-taken",
            )


def open_home(path: Path, *, database: str = "", password: Secret | None = None) -> Home:
    """Args: database, password: as for `Home`.

    Raises: NotFoundError: no home. StorageError: of a newer release, broken, or open to others.
    """
    try:
        about = msgspec.json.decode((path / "home.json").read_bytes(), type=_About)
    except FileNotFoundError:
        raise _no_home(path) from None
    except (OSError, msgspec.DecodeError) as error:
        raise StorageError(f"{path / 'home.json'} cannot be read: restore it.", code="broken-home") from error
    if about.schema > SCHEMA:
        raise StorageError(f"{path} was written by a newer Casemate: install that release.", code="newer-home")
    if not _ID.fullmatch(about.id):  # it names the folder of the keys
        raise StorageError(f"{path / 'home.json'} names no home: restore it.", code="broken-home")
    if bool(database) and not about.database:
        raise StorageError(
            f"{path} has its rows in {_FILE}, and the setting `database` names a server: unset it, or make a new home "
            "there.",
            code="database-elsewhere",
        )
    make_private_folder(path)
    for name in _FOLDERS:
        _own_folder(path / name)
    return Home(path, about, database, password)


def _own_folder(folder: Path) -> None:
    """A folder that lies in the home itself: cleaning up deletes what is in it, so it never leads elsewhere."""
    if folder.is_symlink():
        raise StorageError(
            f"{folder} is a link, and a home's folders are its own: move the whole home, or mount the disk there.",
            code="folder-is-link",
        )
    make_private_folder(folder)


def _no_home(path: Path) -> NotFoundError:
    return NotFoundError(f"{path} is not a home: make it with casemate init --home {path}", code="no-home")


def upgrade_home(home: Home) -> None:
    """Bring an older home to this release, after a copy of its database. Holds the lock: the caller's duty.

    Raises: StorageError `migration-due`: a server's database is not changed before somebody copied it: `migrate_home`.
    """
    engine = home.open_database()
    try:
        old = outdated(engine)
        if home.database is None:
            _check_made(engine)
            if old:
                refuse_migration(home.database_url, old)
        elif old:
            copy = home.path / f"{_FILE}.{old}.backup"
            copy.unlink(missing_ok=True)
            back_up(engine, copy)
        migrate(engine)
    finally:
        engine.dispose()


def _check_made(engine: Engine) -> None:
    """The tables are made with the home, and never later. Raises: StorageError `database-empty`."""
    if not inspect(engine).has_table(ledger_table.name):
        raise StorageError(
            "The database holds no home's tables: restore it, or name the right one in CASEMATE_DATABASE.",
            code="database-empty",
        )


def migrate_home(home: Home) -> str | None:
    """Bring a database that was copied to this release. Holds the lock. Returns the revision it had; None: the newest."""
    if home.database is not None:
        upgrade_home(home)
        return None
    engine = home.open_database()
    try:
        _check_made(engine)
        old = outdated(engine)
        migrate(engine)
        return old
    finally:
        engine.dispose()


def free_bytes(path: Path) -> int:
    return shutil.disk_usage(path).free


class HomeLock:
    """The right to write to a home, for one process at a time; also given up when that process dies."""

    def __init__(self, home: Path, *, made: bool = True) -> None:
        """Args: made: the home must have been made; only `create_home` locks one that is not."""
        self._path = home / "lock"
        self._made = made
        self._fd = -1

    def __enter__(self) -> Self:
        """Raises: ConflictError `home-locked`, naming who has it. NotFoundError `no-home`."""
        if self._made and not self._path.with_name("home.json").exists():
            raise _no_home(self._path.parent)
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._fd, 200, 0).decode(errors="replace").strip() or "another process"
            os.close(self._fd)
            if (pid := _HOLDER.match(holder)) and not Path("/proc", pid[1]).exists():  # its children have the lock, too
                holder = f"what {holder} had started and left running"
            raise ConflictError(
                f"The home {self._path.parent} is in use by {holder}: wait for it or stop it.", code="home-locked"
            ) from None
        said = f"process {os.getpid()} ({' '.join(sys.argv)[:120]})".encode(errors="backslashreplace")
        try:
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, said, 0)
        except OSError:
            os.close(self._fd)
            raise
        return self

    def fileno(self) -> int:
        return self._fd

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)
