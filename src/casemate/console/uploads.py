"""Request bodies as streams: an upload of any size crosses in bounded memory and touches no disk in the clear."""

from __future__ import annotations

import asyncio
import io
import tarfile
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from typing import Self

from starlette.requests import ClientDisconnect, Request

from casemate.core import InputError, checked_path
from casemate.storage import CUT_OFF

_CHUNK = 1 << 20  # bytes handed on at a time
_MAX_FILES = 10_000  # in one push


class BodyReader(io.RawIOBase):
    """The body of a request as a file that a worker thread reads while the event loop receives it."""

    def __init__(self, stream: AsyncIterator[bytes], loop: asyncio.AbstractEventLoop) -> None:
        self._stream = stream
        self._loop = loop
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        while not self._rest:
            chunk = asyncio.run_coroutine_threadsafe(self._next(), self._loop).result()
            if chunk is None:
                return 0
            self._rest = memoryview(chunk)
        view = memoryview(buffer)  # type: ignore[arg-type]
        size = min(len(view), len(self._rest))
        view[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size

    async def _next(self) -> bytes | None:
        try:
            return await anext(self._stream, None)
        except ClientDisconnect as error:
            raise InputError("The upload was cut off: push it again, and it goes on.", code=CUT_OFF) from error

    def whole(self, most: int) -> bytes:
        """The whole body, or its first bytes, more than `most`, when it is longer."""
        read = bytearray()
        while len(read) <= most and (piece := self.read(_CHUNK)):
            read += piece
        return bytes(read)

    def exactly(self, size: int) -> bytes:
        """The next bytes. Raises: InputError `bad-upload`: there are not so many."""
        read = bytearray()
        while len(read) < size and (piece := self.read(size - len(read))):
            read += piece
        if len(read) != size:
            raise InputError("The upload ends within what stands before it: send it again.", code="bad-upload")
        return bytes(read)

    def first(self, most: int) -> bytes:
        """The first bytes, at most so many; they stay to be read."""
        read = self.whole(most)
        self._rest = memoryview(read + bytes(self._rest))
        return read[:most]

    def chunks(self) -> Iterator[bytes]:
        """The whole body, piece by piece."""
        while piece := self.read(_CHUNK):
            yield piece


def client_gone(request: Request, loop: asyncio.AbstractEventLoop) -> Future[None]:
    """Done when the client has gone away, or was answered. To be asked for once the body has been read."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    return asyncio.run_coroutine_threadsafe(gone(), loop)


def files_in_tar(body: BodyReader) -> Iterator[tuple[str, Iterator[bytes]]]:
    """The regular files of an uncompressed tar stream, in its order; each must be read before the next.

    Raises: InputError: no plain file, an unsafe or doubled path, too many files, or not a tar stream.
    """
    seen: set[str] = set()
    try:
        with tarfile.open(fileobj=io.BufferedReader(body, _CHUNK), mode="r|", tarinfo=_PlainMember) as archive:
            for member in archive:
                if member.isdir():
                    continue
                if not member.isreg():
                    raise InputError(
                        f"{member.name[:80]!r} is a link or a device; push plain files.", code="bad-upload"
                    )
                path = checked_path(member.name.removeprefix("./"))
                if path in seen or len(seen) >= _MAX_FILES:
                    raise InputError(f"{path!r} comes twice, or there are over {_MAX_FILES} files.", code="bad-upload")
                seen.add(path)
                yield path, _pieces(archive, member)
    except tarfile.TarError as error:
        raise InputError("The upload is not a whole tar stream; send it again.", code="bad-upload") from error
    if not seen:
        raise InputError("The upload holds no file.", code="bad-upload")


class _PlainMember(tarfile.TarInfo):
    """Refuses, before a byte of it is read, whatever is no plain file: links, devices, extended headers of any size."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        member = super().frombuf(buf, encoding, errors)
        if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE):
            raise InputError(f"{member.name[:80]!r} is no plain file with a name under 256 bytes.", code="bad-upload")
        return member


def _pieces(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[bytes]:
    source = archive.extractfile(member)
    assert source is not None, "a plain file can be read"
    try:
        while piece := source.read(_CHUNK):
            yield piece
    except tarfile.TarError as error:
        raise InputError(f"The upload ends within {member.name[:80]!r}; send it again.", code="bad-upload") from error
