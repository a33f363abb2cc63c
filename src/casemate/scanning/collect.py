"""Reads a file or a folder into sealed memory without following a link or opening anything but regular files."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from casemate.core import InputError, SealedFile, TooLargeError, checked_path, seal_bytes
from casemate.scanning.limits import ScanLimits

_CHUNK = 1 << 20  # bytes per read
_DEPTH = 16  # folders within folders
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe put there meanwhile does not hang us


def collect_files(path: Path, limits: ScanLimits | None = None) -> dict[str, SealedFile]:
    """The files at `path`, each read once, by their path inside it; the caller closes them.

    Raises: InputError `scan-path`: missing, unreadable, empty, a link or a special file. TooLargeError: over a bound.
    """
    limits = limits or ScanLimits()
    files: dict[str, SealedFile] = {}
    left = limits.total_bytes
    try:
        for name, fd in _walk(path):
            with os.fdopen(fd, "rb", buffering=0):
                if len(files) == limits.files:
                    raise TooLargeError(
                        f"{path} holds more than {limits.files} files: push a folder with one model only.",
                        code="scan-too-many-files",
                    )
                files[checked_path(name)] = sealed = seal_bytes(_chunks(fd, left), name="scan")
                left -= sealed.size
    except BaseException as error:
        for file in files.values():
            file.close()
        if isinstance(error, OSError):
            raise InputError(f"{path} cannot be read: {error.strerror}.", code="scan-path") from error
        raise
    if not files:
        raise InputError(f"{path} is an empty folder: name a model file or a folder with one.", code="scan-path")
    return files


def _chunks(fd: int, bound: int) -> Iterator[bytes]:
    done = 0
    while chunk := os.read(fd, _CHUNK):
        done += len(chunk)
        if done > bound:
            raise TooLargeError(
                "The model is larger than a scan may be: raise the limit or push less.", code="scan-too-large"
            )
        yield chunk


def _walk(path: Path) -> Iterator[tuple[str, int]]:
    """(path inside, descriptor) of each regular file, sorted. Raises: InputError, OSError."""
    # The caller's own path may go through links of the caller's; what lies at its end and beneath may not be one.
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        name = path.name or "."
        if stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            yield from _walk_folder(_open_at(folder, name, path), "", path, 0)
        else:
            yield name, _open_at(folder, name, path)
    finally:
        os.close(folder)


def _walk_folder(folder: int, prefix: str, root: Path, depth: int) -> Iterator[tuple[str, int]]:
    try:
        if depth > _DEPTH:
            raise TooLargeError(f"{root} has folders nested deeper than {_DEPTH}.", code="scan-path")
        for name in sorted(os.listdir(folder)):
            fd = _open_at(folder, name, root / prefix / name)
            if stat.S_ISDIR(os.fstat(fd).st_mode):
                yield from _walk_folder(fd, f"{prefix}{name}/", root, depth + 1)
            else:
                yield prefix + name, fd
    finally:
        os.close(folder)


def _open_at(folder: int, name: str, shown: Path) -> int:
    """A descriptor of a regular file or folder. Raises: InputError, OSError."""
    mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        what = "a symbolic link" if stat.S_ISLNK(mode) else "a special file"
        raise InputError(f"{shown} is {what}: a model is made of regular files and folders only.", code="scan-path")
    fd = os.open(name, _OPEN, dir_fd=folder)
    opened = os.fstat(fd).st_mode
    if not (stat.S_ISREG(opened) or stat.S_ISDIR(opened)):
        os.close(fd)
        raise InputError(f"{shown} changed while it was read: try again.", code="scan-path")
    return fd
