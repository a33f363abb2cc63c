"""Small secret files: written whole or not at all, readable by their owner alone."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from casemate.core import StorageError


def make_private_folder(folder: Path) -> None:
    """Create `folder` and what is missing above it, mode 0700. Raises: StorageError: it is there and looser."""
    if not folder.is_dir():
        for path in reversed([folder, *(above for above in folder.parents if not above.exists())]):
            path.mkdir(mode=0o700, exist_ok=True)
            sync_folder(path.parent)
    check_private(folder, 0o700)


def write_private(path: Path, data: bytes) -> None:
    """Replace the file at `path`, 0600, whole or not at all, durably."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make names created, renamed or removed in `folder` durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def read_private(path: Path) -> bytes:
    """The file's bytes. Raises: StorageError: missing, a link, or others than its owner may read it."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise StorageError(
            f"The file {path} cannot be read ({error.strerror}): restore it from its copy.", code="key-file-missing"
        ) from error
    with os.fdopen(fd, "rb") as file:
        check_private(path, 0o600, os.fstat(fd))
        return file.read()


def check_private(path: Path, mode: int, status: os.stat_result | None = None) -> None:
    """Raises: StorageError: others may read it, or it is another user's. Args: mode: what it should have."""
    status = status or path.stat()
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise StorageError(f"Others may read {path}: run chmod {mode:o} {path}", code="open-to-others")
    if status.st_uid not in (os.geteuid(), 0):
        raise StorageError(f"{path} belongs to another user; keys must be your own.", code="open-to-others")
