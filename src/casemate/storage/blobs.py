"""Blobs: immutable, encrypted, each under a data key of its own. A blob's key dies with its last reference."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Self

import msgspec

from casemate.core import (
    Digest,
    InputError,
    SealedFile,
    StorageError,
    TooLargeError,
    VerificationError,
    canonical,
    memory_file,
    new_id,
)
from casemate.keys import KeyService, sync_folder
from casemate.storage.home import free_bytes
from casemate.storage.stream import KEY_SIZE, StreamReader, StreamWriter

_ID = re.compile(r"blob_[0-9a-f]{32}")
_MARGIN = 64 << 20  # bytes of plain text between two looks at the free disk
_LOST_SECONDS = 30 * 86400  # how long a blob that no row names is kept: time to put a damaged database right


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
        with _written():
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            self._file: BinaryIO = os.fdopen(fd, "wb")
            self._stream = StreamWriter(self._file, key, context)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Raises: TooLargeError `push-too-large`; StorageError `disk-full`, `not-written`."""
        size = memoryview(data).nbytes
        self._budget.take(size)
        self._hasher.update(data)
        self._size += size
        with _written():
            self._stream.write(data)

    def finish(self) -> BlobRecord:
        """Seal and sync the file. Raises: StorageError `disk-full`, `not-written`."""
        with _written():
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


class BlobStore:
    """The blobs of one home."""

    def __init__(
        self,
        folder: Path,
        pending: Path,
        lost: Path,
        keys: KeyService,
        quota: Quota | None = None,
        *,
        newest_key: Callable[[str], bytes | None] = lambda _: None,
    ) -> None:
        """Args: folder: of kept blobs. pending: of unfinished ones. lost: of those that no row names. On one disk.
        newest_key: a blob's wrapped key as the database has it now, for a reader whose record is older than the
        retirement of a key-encryption key.
        """
        self._folder, self._pending, self._lost = folder, pending, lost
        self._keys, self.quota = keys, quota or Quota()
        self._newest_key = newest_key

    @property
    def pending(self) -> Path:
        return self._pending

    def push(self, project: str, asset: str) -> Push:
        """Begin a set of blobs that are kept together or not at all."""
        return Push(self, project, asset)

    def create(self, project: str, asset: str, budget: Budget | None = None) -> PendingBlob:
        """Begin a blob; with no `budget` shared with others, it has the quota to itself. Raises: StorageError."""
        budget = budget or Budget(self.quota, self._pending)
        return PendingBlob(self._pending / new_id("blob"), project, asset, self._keys, budget)

    def check_keys(self, records: Iterable[BlobRecord]) -> None:
        """In the transaction that commits their rows. Raises: ConflictError `kek-retired`: during a long push."""
        self._keys.check_kept([record.wrapped_key for record in records])

    def keep(self, records: Iterable[BlobRecord]) -> None:
        """Move finished blobs to their place, durably. A row must follow, or the next start removes them."""
        touched = set()
        with _written():
            for record in records:
                place = self._place(record.id)
                place.parent.mkdir(mode=0o700, exist_ok=True)
                (self._pending / record.id).rename(place)
                touched |= {place.parent}
            for folder in [*touched, self._folder]:
                sync_folder(folder)

    def discard(self, blob_id: str) -> None:
        """Remove a pending blob; one that was kept stays."""
        (self._pending / _checked_id(blob_id)).unlink(missing_ok=True)

    def open(self, record: BlobRecord) -> StreamReader:
        """Read a blob at random. Raises: VerificationError `blob-missing`, `blob-altered`, `key-unwrap-failed`."""
        return self._reader(record, self._place(record.id))

    def open_pending(self, record: BlobRecord) -> StreamReader:
        """The same, for a blob that is finished and not kept yet."""
        return self._reader(record, self._pending / _checked_id(record.id))

    def seal(self, record: BlobRecord, *, pending: bool = False) -> SealedFile:
        """Decrypt a blob once into sealed memory, and check its digest.

        Raises: VerificationError, as `open`. StorageError `no-memory`.
        """
        with self.open_pending(record) if pending else self.open(record) as reader:
            sealed = _sealed(reader, record.id)
        if sealed.digest != record.digest:
            sealed.close()
            raise VerificationError(f"The blob {record.id} holds other bytes than were pushed.", code="blob-altered")
        return sealed

    def delete(self, blob_id: str) -> None:
        """Remove a blob's file; its key must be gone from the database before."""
        place = self._place(blob_id)
        place.unlink(missing_ok=True)
        if place.parent.exists():
            sync_folder(place.parent)

    def clean(self, known: set[str]) -> int:
        """At start, under the home's lock: remove what a killed push left, and set aside blobs that no row names.

        What is set aside comes back when its row does, and is removed after 30 days. Only files with a blob's name,
        in folders that are no links, are ever touched.

        Args: known: ids of all rows of `blobs`.
        Returns: how many files were removed or set aside.
        """
        cleaned = 0
        for path in _blob_files(self._lost):
            if path.name in known:
                self._move(path, self._place(path.name))
            elif path.lstat().st_mtime < time.time() - _LOST_SECONDS:
                path.unlink()
                cleaned += 1
        for path in _blob_files(self._pending):
            path.unlink()
            cleaned += 1
        for folder in self._folder.iterdir():
            for path in _blob_files(folder):
                if path.name not in known:
                    os.utime(path)
                    self._move(path, self._lost / path.name)
                    cleaned += 1
        return cleaned

    @staticmethod
    def _move(path: Path, to: Path) -> None:
        to.parent.mkdir(mode=0o700, exist_ok=True)
        path.rename(to)
        sync_folder(to.parent)
        sync_folder(path.parent)

    def _reader(self, record: BlobRecord, path: Path) -> StreamReader:
        key = self._unwrap(record)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise VerificationError(
                f"The blob {record.id} is missing: restore it from a backup.", code="blob-missing"
            ) from error
        file = os.fdopen(fd, "rb", buffering=0)
        reader = StreamReader(file, key, blob_context(record.project, record.asset, record.id))
        if reader.size != record.size:
            reader.close()
            raise VerificationError(f"The blob {record.id} is of another size than was pushed.", code="blob-altered")
        return reader

    def _unwrap(self, record: BlobRecord) -> bytes:
        context = blob_context(record.project, record.asset, record.id)
        try:
            return self._keys.unwrap(record.wrapped_key, context)
        except VerificationError as error:
            newest = self._newest_key(record.id) if error.code == "kek-retired" else None
            if newest is None or newest == record.wrapped_key:
                raise
            return self._keys.unwrap(newest, context)

    def _place(self, blob_id: str) -> Path:
        return self._folder / _checked_id(blob_id)[-2:] / blob_id


class Push:
    """Several blobs as one: leaving the context without `keep` discards them all. Holds the push to its quota."""

    def __init__(self, store: BlobStore, project: str, asset: str) -> None:
        self._store, self._project, self._asset = store, project, asset
        self.records: dict[str, BlobRecord] = {}
        self._budget = Budget(store.quota, store.pending)

    def add(self, path: str, chunks: Iterable[bytes | bytearray | memoryview]) -> BlobRecord:
        """Encrypt one file. Raises: InputError `path-twice`; TooLargeError; StorageError, as `PendingBlob.write`."""
        if path in self.records:
            raise InputError(f"The path {path!r} was pushed twice: push each file once.", code="path-twice")
        blob = self._store.create(self._project, self._asset, self._budget)
        try:
            for chunk in chunks:
                blob.write(chunk)
            record = blob.finish()
        except BaseException:
            blob.discard()
            raise
        self.records[path] = record
        return record

    def keep(self) -> None:
        """Put the blobs in their place. Commit the rows that name them next."""
        self._store.keep(self.records.values())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for record in self.records.values():
            self._store.discard(record.id)


def blob_context(project: str, asset: str, blob_id: str) -> bytes:
    """What a blob's data key and its bytes are bound to."""
    return canonical({"project": project, "asset": asset, "blob": blob_id})


def _blob_files(folder: Path) -> list[Path]:
    """The files in `folder` that bear a blob's name; none where it is no folder of its own."""
    if not stat.S_ISDIR(folder.lstat().st_mode):
        return []
    return [path for path in folder.iterdir() if _ID.fullmatch(path.name) and stat.S_ISREG(path.lstat().st_mode)]


def _checked_id(blob_id: str) -> str:
    """Ids come from the database, which others may have altered, and become file names."""
    if not _ID.fullmatch(blob_id):
        raise VerificationError("The database names a blob by an id that was never given.", code="blob-altered")
    return blob_id


def _sealed(reader: StreamReader, name: str) -> SealedFile:
    fd = memory_file(name)
    try:
        reader.decrypt_to_fd(fd)
    except BaseException as error:
        os.close(fd)
        if isinstance(error, OSError):
            raise StorageError(
                f"There is no memory for {reader.size} bytes: make room and try again.", code="no-memory"
            ) from error
        raise
    return SealedFile(fd)


@contextmanager
def _written() -> Iterator[None]:
    """What the disk refuses becomes one sentence."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise StorageError(
            f"The push could not be written ({error.strerror}): nothing of it was kept; mend this and push again.",
            code="disk-full" if full else "not-written",
        ) from error
