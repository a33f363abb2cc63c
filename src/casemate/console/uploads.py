"""Request bodies as streams: an upload of any size crosses in bounded memory and touches no disk in the clear."""

from __future__ import annotations

import asyncio
import io
import tarfile
from collections.abc import AsyncIterator, Iterator

from casemate.core import InputError, checked_path

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
        return await anext(self._stream, None)

    def chunks(self) -> Iterator[bytes]:
        """The whole body, piece by piece."""
        while piece := self.read(_CHUNK):
            yield piece


def files_in_tar(body: BodyReader) -> Iterator[tuple[str, Iterator[bytes]]]:
    """The regular files of an uncompressed tar stream, in its order; each must be read before the next.

    Raises: InputError: a link, a device, an unsafe or doubled path, too many files, or not a tar stream.
    """
    seen: set[str] = set()
    try:
        with tarfile.open(fileobj=io.BufferedReader(body, _CHUNK), mode="r|") as archive:
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


def _pieces(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[bytes]:
    source = archive.extractfile(member)
    left = member.size
    while left and source is not None:
        piece = source.read(min(_CHUNK, left))
        if not piece:
            raise InputError(
                f"The upload ends in the middle of {member.name[:80]!r}; send it again.", code="bad-upload"
            )
        left -= len(piece)
        yield piece
