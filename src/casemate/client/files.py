"""Files on their way to a control plane and back: sent as a tar stream, written for nobody else to read."""

from __future__ import annotations

import io
import os
import secrets
import shutil
import stat
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from casemate.core import InputError, UpstreamError, checked_path, refused_by_system

Progress = Callable[[int, int], None]  # bytes sent so far, bytes in all; 0: nobody knows

CHUNK = 1 << 20  # bytes handed on at a time


def file_size(path: Path) -> int:
    """Bytes. Raises: InputError `no-file`: it is no file, or cannot be read."""
    try:
        if path.is_file():
            return path.stat().st_size
    except OSError as error:
        raise refused_by_system(error) from error
    what = "is not a file" if path.exists() else "does not exist"
    raise InputError(f"{path} {what}.", code="no-file")


def model_files(path: Path) -> list[tuple[str, Path]]:
    """(path inside the model, file) of a file or of all in a folder. Raises: InputError: a link, or no file."""
    if path.is_symlink() or not path.is_dir():
        return [(path.name, path)]
    found = sorted(file for file in path.rglob("*") if not file.is_dir() or file.is_symlink())
    for file in found:
        if file.is_symlink():
            raise InputError(f"{file} is a symbolic link; push plain files.", code="bad-upload")
    if not found:
        raise InputError(f"{path} holds no file.", code="no-file")
    return [(file.relative_to(path).as_posix(), file) for file in found]


def tar_stream(files: list[tuple[str, Path]]) -> Iterator[bytes]:
    """The files as an uncompressed tar stream. Raises: InputError: one cannot be sent whole."""
    for name, file in files:
        header = tarfile.TarInfo(name)
        header.size = file_size(file)
        try:
            yield header.tobuf(tarfile.USTAR_FORMAT)
        except ValueError as error:
            raise InputError(f"{name[:80]!r} is too long a path or too large a file.", code="bad-upload") from error
        with file.open("rb") as source:
            left = header.size
            while left and (piece := source.read(min(CHUNK, left))):
                left -= len(piece)
                yield piece
        if left:
            raise InputError(f"{file} became shorter while it was being sent.", code="file-changed")
        yield bytes(-header.size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


def told(pieces: Iterable[bytes], total: int, progress: Progress | None, *, done: int = 0) -> Iterator[bytes]:
    """The same pieces; `progress` hears of each. Args: done: bytes that came before."""
    for piece in pieces:
        done += len(piece)
        if progress:
            progress(min(done, total) if total else done, total)
        yield piece


class ByteStream(io.RawIOBase):
    """An iterator of bytes as a file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._rest = pieces, b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        while size < 0 or len(self._rest) < size:
            piece = next(self._pieces, None)
            if piece is None:
                break
            self._rest += piece
        size = len(self._rest) if size < 0 else size
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken


def unpack(archive: tarfile.TarFile, to: Path) -> None:
    """Write the plain files of a stream into the empty folder `to`: all of them or none, for our eyes only.

    Raises: UpstreamError, InputError: what came is no plain file with a safe path; tarfile.TarError: it broke off.
    """
    to.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=to) as name:
        part = Path(name)
        for member in archive:
            source = archive.extractfile(member) if member.isreg() else None
            if source is None:
                raise UpstreamError(f"The server sent {member.name[:80]!r}: no plain file.", code="bad-download")
            path = part / checked_path(member.name)
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "xb", opener=private) as file:
                shutil.copyfileobj(source, file, CHUNK)
        for path in part.iterdir():
            path.rename(to / path.name)


def write_private_file(to: Path, pieces: Iterable[bytes]) -> Path:
    """Write a file for its owner alone; what breaks off leaves nothing, and what was there stays.

    Raises: InputError `not-a-file`: a link, a device, a pipe or a folder is there, which is neither replaced nor followed.
    """
    replaceable(to)
    part = to.with_name(f".casemate-{secrets.token_hex(8)}")
    try:
        with open(part, "xb", opener=private) as file:
            file.writelines(pieces)
        replaceable(to)
        part.replace(to)
    finally:
        part.unlink(missing_ok=True)
    return to


def replaceable(to: Path) -> None:
    """Raises: InputError `not-a-file`: a link, a device, a pipe or a folder is there."""
    with suppress(FileNotFoundError):
        if not stat.S_ISREG(to.lstat().st_mode):
            raise InputError(
                f"{to} is there and is no plain file: name a new file, or one to replace.", code="not-a-file"
            )


def private(path: str, flags: int) -> int:
    """An opener: what is written is for its owner alone."""
    return os.open(path, flags, 0o600)
