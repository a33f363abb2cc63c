"""Blobs: immutable, encrypted, each under a data key of its own. A blob's key dies with its last reference."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Self

import msgspec

from casemate.core import (
    Digest,
    SealedFile,
    StorageError,
    TooLargeError,
    VerificationError,
    canonical,
    new_id,
    seal_bytes,
)
from casemate.keys import KeyService, sync_folder
from casemate.storage.home import free_bytes
from casemate.storage.stream import KEY_SIZE, StreamReader, StreamWriter

_CHUNK = 1 << 20  # bytes handed on at a time
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


class PendingBlob:
    """A blob under way. It becomes one by `BlobStore.keep`; anything else leaves nothing but a file to be cleaned."""

    def __init__(self, path: Path, blob_id: str, project: str, asset: str, keys: KeyService) -> None:
        key = os.urandom(KEY_SIZE)
        context = _context(project, asset, blob_id)
        self.path = path
        self._about = (blob_id, project, asset, keys.wrap(key, context))
        self._file: BinaryIO = open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")  # noqa: SIM115, PTH123 closed by finish or discard
        self._stream = StreamWriter(self._file, key, context)
        self._hasher, self._size = hashlib.sha256(), 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._hasher.update(data)
        self._size += len(data)
        self._stream.write(data)

    def finish(self) -> BlobRecord:
        """Seal and sync the file."""
        self._stream.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        blob_id, project, asset, wrapped = self._about
        digest = Digest("sha256:" + self._hasher.hexdigest())
        return BlobRecord(id=blob_id, project=project, asset=asset, wrapped_key=wrapped, size=self._size, digest=digest)

    def close(self) -> None:
        self._file.close()


class BlobStore:
    """The blobs of one home."""

    def __init__(self, folder: Path, pending: Path, keys: KeyService, quota: Quota | None = None) -> None:
        self._folder, self._pending, self._keys, self.quota = folder, pending, keys, quota or Quota()

    def push(self, project: str, asset: str) -> Push:
        """Begin a set of blobs that are kept together or not at all."""
        return Push(self, project, asset)

    def create(self, project: str, asset: str) -> PendingBlob:
        blob_id = new_id("blob")
        return PendingBlob(self._pending / blob_id, blob_id, project, asset, self._keys)

    def keep(self, records: Iterable[BlobRecord]) -> None:
        """Move finished blobs to their place, durably. A row must follow, or the next start removes them."""
        touched = set()
        for record in records:
            place = self._place(record.id)
            place.parent.mkdir(mode=0o700, exist_ok=True)
            (self._pending / record.id).rename(place)
            touched |= {place.parent}
        for folder in [*touched, self._folder]:
            sync_folder(folder)

    def discard(self, blob_id: str) -> None:
        (self._pending / blob_id).unlink(missing_ok=True)

    def open(self, record: BlobRecord) -> StreamReader:
        """Read a blob at random. Raises: VerificationError; StorageError `blob-missing`."""
        return self._reader(record, self._place(record.id))

    def open_pending(self, record: BlobRecord) -> StreamReader:
        """The same, for a blob that is finished and not kept yet."""
        return self._reader(record, self._pending / record.id)

    def seal(self, record: BlobRecord, *, pending: bool = False) -> SealedFile:
        """Decrypt a blob once into sealed memory, and check its digest. Raises: VerificationError; StorageError."""
        with self.open_pending(record) if pending else self.open(record) as reader:
            sealed = seal_bytes(_pieces(reader), name=record.id)
        if sealed.digest != record.digest:
            sealed.close()
            raise VerificationError(f"The blob {record.id} holds other bytes than were pushed.", code="blob-altered")
        return sealed

    def delete(self, blob_id: str) -> None:
        """Remove a blob's file; its key must be gone from the database before."""
        self._place(blob_id).unlink(missing_ok=True)

    def clean(self, known: set[str]) -> int:
        """At start: remove what a killed push left, and blobs that no row knows. Returns how many."""
        stray = [*self._pending.iterdir(), *(path for path in self._folder.glob("*/*") if path.name not in known)]
        for path in stray:
            path.unlink()
        return len(stray)

    def _reader(self, record: BlobRecord, path: Path) -> StreamReader:
        key = self._keys.unwrap(record.wrapped_key, _context(record.project, record.asset, record.id))
        try:
            file = path.open("rb")
        except OSError as error:
            raise VerificationError(
                f"The blob {record.id} is missing: restore it from a backup.", code="blob-missing"
            ) from error
        try:
            return StreamReader(file, key, _context(record.project, record.asset, record.id))
        except BaseException:
            file.close()
            raise

    def _place(self, blob_id: str) -> Path:
        return self._folder / blob_id[-2:] / blob_id


class Push:
    """Several blobs as one: leaving the context without `keep` discards them all. Holds the push to its quota."""

    def __init__(self, store: BlobStore, project: str, asset: str) -> None:
        self._store, self._project, self._asset = store, project, asset
        self.records: dict[str, BlobRecord] = {}
        self._left, self._since_look = store.quota.push_bytes, _MARGIN

    def add(self, path: str, chunks: Iterable[bytes | bytearray | memoryview]) -> BlobRecord:
        """Encrypt one file. Raises: TooLargeError `push-too-large`; StorageError `disk-full`."""
        blob = self._store.create(self._project, self._asset)
        try:
            for chunk in chunks:
                self._check(len(chunk))
                blob.write(chunk)
            record = blob.finish()
        except OSError as error:
            blob.close()
            blob.path.unlink(missing_ok=True)
            raise StorageError(f"The push could not be written: {error.strerror}.", code="disk-full") from error
        except BaseException:
            blob.close()
            blob.path.unlink(missing_ok=True)
            raise
        self.records[path] = record
        return record

    def _check(self, size: int) -> None:
        self._left -= size
        self._since_look += size
        quota = self._store.quota
        if self._left < 0:
            raise TooLargeError(f"A push may hold at most {quota.push_bytes} bytes.", code="push-too-large")
        if self._since_look >= _MARGIN:
            self._since_look = 0
            if free_bytes(self._store._pending) < quota.free_bytes + _MARGIN:  # noqa: SLF001 the store's own half
                raise StorageError(
                    f"The disk would have less than {quota.free_bytes} bytes left: make room and push again.",
                    code="disk-full",
                )

    def keep(self) -> None:
        """Put the blobs in their place. Commit the rows that name them next."""
        self._store.keep(self.records.values())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for record in self.records.values():
            self._store.discard(record.id)


def _context(project: str, asset: str, blob_id: str) -> bytes:
    return canonical({"project": project, "asset": asset, "blob": blob_id})


def _pieces(reader: StreamReader) -> Iterator[bytes]:
    while piece := reader.read(_CHUNK):
        yield piece
