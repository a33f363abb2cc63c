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
from sqlalchemy import Engine

from casemate.core import SCHEMA, ConflictError, NotFoundError, StorageError, new_id, rfc3339
from casemate.keys import make_private_folder, write_private
from casemate.storage.database import back_up, migrate, open_database, outdated

_FOLDERS = ("blobs", "tmp", "tls", "run", "public")
_ID = re.compile(r"home_[0-9a-f]{32}")


class _About(msgspec.Struct, frozen=True):
    schema: int
    id: str
    created_at: str


class Home:
    """A home folder that exists and is of a layout that this release knows."""

    def __init__(self, path: Path, about: _About) -> None:
        self.path = path
        self.id = about.id
        self.created_at = about.created_at
        self.blobs, self.tmp, self.tls, self.run, self.public = (path / name for name in _FOLDERS)

    @property
    def database(self) -> Path:
        return self.path / "casemate.db"

    def open_database(self, *, read_only: bool = False) -> Engine:
        return open_database(f"sqlite:///{self.database}", read_only=read_only)


def create_home(path: Path, *, now: datetime) -> Home:
    """Make a home, or finish one; what is there stays. Raises: StorageError: the folder holds something else."""
    known = {*_FOLDERS, "home.json", "state.key", "casemate.toml", "casemate.db", "lock"}
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
        _finish(path, now)
    return open_home(path)


def _finish(path: Path, now: datetime) -> None:
    """`home.json` comes last: without it, the next init goes on from what a crash left."""
    if not (path / "home.json").exists():
        engine = open_database(f"sqlite:///{path / 'casemate.db'}")
        migrate(engine)
        engine.dispose()
        write_private(path / "home.json", msgspec.json.encode(_About(SCHEMA, new_id("home"), rfc3339(now))))


def open_home(path: Path) -> Home:
    """Raises: NotFoundError: no home. StorageError: of a newer release, broken, or open to others."""
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
    make_private_folder(path)
    return Home(path, about)


def _no_home(path: Path) -> NotFoundError:
    return NotFoundError(f"{path} is not a home: make it with casemate init --home {path}", code="no-home")


def upgrade_home(home: Home) -> None:
    """Bring an older home to this release, after a copy of its database. Holds the lock: the caller's duty."""
    engine = home.open_database()
    try:
        old = outdated(engine)
        if old:
            copy = home.path / f"casemate.db.{old}.backup"
            copy.unlink(missing_ok=True)
            back_up(engine, copy)
        migrate(engine)
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
            raise ConflictError(
                f"The home {self._path.parent} is in use by {holder}: wait for it or stop it.", code="home-locked"
            ) from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"process {os.getpid()} ({' '.join(sys.argv)[:120]})".encode(), 0)
        return self

    def fileno(self) -> int:
        return self._fd

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)
