"""A blob under way: encrypted as it comes, within the bounds of its push, and nothing but a file until it is kept."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import msgspec

from casemate.core import Digest, StorageError, TooLargeError, canonical
from casemate.keys import KeyService
from casemate.storage.home import free_bytes
from casemate.storage.stream import KEY_SIZE, StreamWriter

_MARGIN = 64 << 20  # bytes of plain text between two looks at the free disk


class BlobRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What the database knows of a blob. `size` and `digest` are of the plain text."""

    id: str
    project: str
    asset: str  # "model/NAME" or "dataset/NAME"
    wrapped_key: bytes
    size: int
    digest: Digest


class Quota(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one push."""

    push_bytes: int = 4 << 30  # bytes of plain text; larger models do not fit into memory to be verified
    free_bytes: int = 512 << 20  # bytes of disk that must stay free, so that the log can still be written

    def bounded(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """The same chunks. Raises: TooLargeError `push-too-large` as soon as they are over the bound."""
        left = self.push_bytes
        for chunk in chunks:
            left -= len(chunk)
            if left < 0:
                raise TooLargeError(f"A push may hold at most {self.push_bytes} bytes.", code="push-too-large")
            yield chunk


class Budget:
    """What one push may still write. Args: folder: on the disk whose free space counts."""

    def __init__(self, quota: Quota, folder: Path) -> None:
        self._quota, self._folder = quota, folder
        self._left, self._unseen = quota.push_bytes, _MARGIN  # the first byte looks at the disk

    def take(self, size: int) -> None:
        """Raises: TooLargeError `push-too-large`; StorageError `disk-full`."""
        self._left -= size
        self._unseen += size
        if self._left < 0:
            raise TooLargeError(
                f"A push may hold at most {self._quota.push_bytes} bytes (push_bytes): push less, or raise the setting.",
                code="push-too-large",
            )
        if self._unseen >= _MARGIN:
            self._unseen = 0
            if free_bytes(self._folder) < self._quota.free_bytes + max(size, _MARGIN):
                raise StorageError(
                    f"The disk would have less than {self._quota.free_bytes} bytes left (free_bytes): make room and"
                    " push again.",
                    code="disk-full",
                )


class PendingBlob:
    """A blob under way. It becomes one by `BlobStore.keep`; anything else leaves nothing but a file to be cleaned."""

    def __init__(self, path: Path, project: str, asset: str, keys: KeyService, budget: Budget) -> None:
        """Args: path: where the file grows; its name is the blob's id."""
        key = os.urandom(KEY_SIZE)
        context = blob_context(project, asset, path.name)
        wrapped = keys.wrap(key, context)
        self._path, self._budget = path, budget
        self._project, self._asset, self._wrapped = project, asset, wrapped
        self._hasher, self._size = hashlib.sha256(), 0
        with writing():
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            self._file: BinaryIO = os.fdopen(fd, "wb")
            self._stream = StreamWriter(self._file, key, context)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Raises: TooLargeError `push-too-large`; StorageError `disk-full`, `not-written`."""
        size = memoryview(data).nbytes
        self._budget.take(size)
        self._hasher.update(data)
        self._size += size
        with writing():
            self._stream.write(data)

    def finish(self) -> BlobRecord:
        """Seal and sync the file. Raises: StorageError `disk-full`, `not-written`."""
        with writing():
            self._stream.close()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
        return BlobRecord(
            id=self._path.name,
            project=self._project,
            asset=self._asset,
            wrapped_key=self._wrapped,
            size=self._size,
            digest=Digest("sha256:" + self._hasher.hexdigest()),
        )

    def discard(self) -> None:
        """Leave nothing. What is still buffered need not reach a full disk."""
        with suppress(OSError):
            self._file.close()
        self._path.unlink(missing_ok=True)


def blob_context(project: str, asset: str, blob_id: str) -> bytes:
    """What a blob's data key and its bytes are bound to."""
    return canonical({"project": project, "asset": asset, "blob": blob_id})


@contextmanager
def writing() -> Iterator[None]:
    """What the disk refuses becomes one sentence."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise StorageError(
            f"The push could not be written ({error.strerror}): nothing of it was kept; mend this and push again.",
            code="disk-full" if full else "not-written",
        ) from error
