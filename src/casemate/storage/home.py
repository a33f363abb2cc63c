"""The home: where everything but the keys lies, and the lock that one process at a time may hold."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from datetime import datetime
from pathlib import Path
from typing import Self

import msgspec
from sqlalchemy import Engine

from casemate.core import SCHEMA, ConflictError, NotFoundError, StorageError, new_id, rfc3339
from casemate.keys import make_private_folder, write_private
from casemate.storage.database import migrate, open_database

_FOLDERS = ("blobs", "tmp", "tls", "run", "public")


class _About(msgspec.Struct, frozen=True):
    id: str
    created_at: str
    schema: int = SCHEMA


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
    if not (path / "home.json").exists() and path.is_dir() and {item.name for item in path.iterdir()} - known:
        raise StorageError(f"{path} holds other things: name an empty folder for the home.", code="not-a-home")
    try:
        make_private_folder(path)
        for name in _FOLDERS:
            make_private_folder(path / name)
    except OSError as error:
        raise StorageError(f"{path} cannot be made: {error.strerror}.", code="not-a-home") from error
    if not (path / "home.json").exists():
        engine = open_database(f"sqlite:///{path / 'casemate.db'}")
        migrate(engine)
        engine.dispose()
        write_private(path / "home.json", msgspec.json.encode(_About(new_id("home"), rfc3339(now))))
    return open_home(path)


def open_home(path: Path) -> Home:
    """Raises: NotFoundError: no home. StorageError: of a newer release, broken, or open to others."""
    try:
        about = msgspec.json.decode((path / "home.json").read_bytes(), type=_About)
    except FileNotFoundError:
        raise NotFoundError(f"{path} is not a home: make it with casemate init --home {path}", code="no-home") from None
    except (OSError, msgspec.DecodeError) as error:
        raise StorageError(f"{path / 'home.json'} cannot be read: restore it.", code="broken-home") from error
    if about.schema > SCHEMA:
        raise StorageError(f"{path} was written by a newer Casemate: install that release.", code="newer-home")
    make_private_folder(path)
    return Home(path, about)


def upgrade_home(home: Home) -> None:
    """Bring an older home to this release, after a copy of its database. Holds the lock: the caller's duty."""
    engine = home.open_database()
    try:
        migrate(engine)
    finally:
        engine.dispose()


def free_bytes(path: Path) -> int:
    return shutil.disk_usage(path).free


class HomeLock:
    """The right to write to a home, for one process at a time; also given up when that process dies."""

    def __init__(self, home: Path) -> None:
        self._path = home / "lock"
        self._fd = -1

    def __enter__(self) -> Self:
        """Raises: ConflictError `home-locked`, naming who has it."""
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
