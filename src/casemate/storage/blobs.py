"""Blobs: immutable, encrypted, each under a data key of its own. A blob's key dies with its last reference."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

from casemate.core import (
    Digest,
    InputError,
    SealedFile,
    StorageError,
    VerificationError,
    digest_of,
    memory_file,
    new_id,
)
from casemate.keys import KeyService, sync_folder
from casemate.storage.pending import BlobRecord, Budget, PendingBlob, Quota, blob_context, writing
from casemate.storage.stream import StreamReader
from casemate.storage.uploads import Upload

_CHUNK = 1 << 20  # bytes read at a time
_ID = re.compile(r"blob_[0-9a-f]{32}")
_LOST_SECONDS = 30 * 86400  # how long a blob that no row names is kept: time to put a damaged database right


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

    def push(self, project: str, asset: str, stored: Mapping[Digest, BlobRecord] | None = None) -> Push:
        """Begin a set of blobs that are kept together or not at all. Args: stored: as for `Push`."""
        return Push(self, project, asset, stored)

    def create(self, project: str, asset: str, budget: Budget | None = None) -> PendingBlob:
        """Begin a blob; with no `budget` shared with others, it has the quota to itself. Raises: StorageError."""
        budget = budget or Budget(self.quota, self._pending)
        return PendingBlob(self._pending / new_id("blob"), project, asset, self._keys, budget)

    def receive(self) -> Upload:
        """What somebody is about to send, with the bounds of one push."""
        return Upload(self._pending / new_id("blob"), Budget(self.quota, self._pending))

    def check_keys(self, records: Iterable[BlobRecord]) -> None:
        """In the transaction that commits their rows. Raises: ConflictError `kek-retired`: during a long push."""
        self._keys.check_kept([record.wrapped_key for record in records])

    def keep(self, records: Iterable[BlobRecord]) -> None:
        """Move finished blobs to their place, durably. A row must follow, or the next start removes them."""
        touched = set()
        with writing():
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

    def seal_file(self, pieces: Sequence[BlobRecord]) -> SealedFile:
        """Decrypt the pieces of one file, in order, into sealed memory. Its digest is the caller's to check.

        Raises: VerificationError, as `open`. StorageError `no-memory`.
        """
        if len(pieces) == 1:
            return self.seal(pieces[0])
        fd = memory_file("pieces")
        try:
            for record in pieces:
                with self.open(record) as reader:
                    _decrypt_to(reader, fd)
        except BaseException:
            os.close(fd)
            raise
        return SealedFile(fd)

    def read_file(self, pieces: Sequence[BlobRecord], start: int = 0) -> Iterator[bytes]:
        """The bytes of one file from `start` on, a few at a time; each is as it was encrypted. Raises: as `open`."""
        for record in pieces:
            if start >= record.size:
                start -= record.size
                continue
            with self.open(record) as reader:
                reader.seek(start)
                while chunk := reader.read(_CHUNK):
                    yield chunk
            start = 0

    def holds(self, record: BlobRecord, data: bytes | memoryview) -> bool:
        """Whether the stored blob can be read, and has these very bytes. Raises: StorageError: its key is out of reach."""
        if record.size != memoryview(data).nbytes:
            return False
        try:
            with self.open(record) as reader:
                return reader.read() == data
        except VerificationError:
            return False

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
    """Several files as one: leaving the context without `keep` discards them all. Holds the push to its quota.

    Attributes:
        files: Path -> the pieces of that file, in order; most files have one.
        made: The blobs that this push wrote; the other pieces belong to versions that are there.
    """

    def __init__(
        self, store: BlobStore, project: str, asset: str, stored: Mapping[Digest, BlobRecord] | None = None
    ) -> None:
        """Args: stored: blobs of the same asset that a piece may share, by the digest that the database says."""
        self._store, self._project, self._asset = store, project, asset
        self._stored = stored or {}
        self._mine: dict[Digest, BlobRecord] = {}
        self.files: dict[str, list[BlobRecord]] = {}
        self.made: list[BlobRecord] = []
        self._budget = Budget(store.quota, store.pending)

    @property
    def shared(self) -> set[str]:
        """Ids of the blobs that it names and did not write: they must still be there when it is committed."""
        made = {record.id for record in self.made}
        return {record.id for pieces in self.files.values() for record in pieces} - made

    def add(self, path: str, chunks: Iterable[bytes | bytearray | memoryview]) -> BlobRecord:
        """Encrypt one file. Raises: InputError `path-twice`; TooLargeError; StorageError, as `PendingBlob.write`."""
        pieces = self._begin(path)
        try:
            pieces.append(self._write(chunks))
        except BaseException:
            del self.files[path]
            raise
        return pieces[0]

    def pieces(self, path: str) -> PiecedFile:
        """Begin a file that comes in pieces, of which equal ones are stored once. Raises: InputError `path-twice`."""
        return PiecedFile(self._begin(path), self._stored_or_written)

    def keep(self) -> None:
        """Put the blobs in their place. Commit the rows that name them next."""
        self._store.keep(self.made)

    def _begin(self, path: str) -> list[BlobRecord]:
        if path in self.files:
            raise InputError(f"The path {path!r} was pushed twice: push each file once.", code="path-twice")
        return self.files.setdefault(path, [])

    def _stored_or_written(self, piece: bytes | memoryview) -> BlobRecord:
        digest = digest_of(piece)
        if digest not in self._mine:
            stored = self._stored.get(digest)
            # Read before it is relied on: what was lost or altered is stored anew, and what a row says proves nothing.
            is_there = stored is not None and self._store.holds(stored, piece)
            self._mine[digest] = stored if stored is not None and is_there else self._write([piece])
        return self._mine[digest]

    def _write(self, chunks: Iterable[bytes | bytearray | memoryview]) -> BlobRecord:
        blob = self._store.create(self._project, self._asset, self._budget)
        try:
            for chunk in chunks:
                blob.write(chunk)
            record = blob.finish()
        except BaseException:
            blob.discard()
            raise
        self.made.append(record)
        return record

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for record in self.made:
            self._store.discard(record.id)


class PiecedFile:
    """One file of a push, piece by piece; `digest` and `size` are of all that was added."""

    def __init__(self, pieces: list[BlobRecord], place: Callable[[bytes | memoryview], BlobRecord]) -> None:
        self._pieces, self._place = pieces, place
        self._hasher, self.size = hashlib.sha256(), 0

    def add(self, piece: bytes | memoryview) -> None:
        """Raises: TooLargeError; StorageError, as `PendingBlob.write`."""
        self._pieces.append(self._place(piece))
        self._hasher.update(piece)
        self.size += memoryview(piece).nbytes

    @property
    def digest(self) -> Digest:
        return Digest("sha256:" + self._hasher.hexdigest())


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
        _decrypt_to(reader, fd)
    except BaseException:
        os.close(fd)
        raise
    return SealedFile(fd)


def _decrypt_to(reader: StreamReader, fd: int) -> None:
    try:
        reader.decrypt_to_fd(fd)
    except OSError as error:
        raise StorageError(
            f"There is no memory for {reader.size} bytes: make room and try again.", code="no-memory"
        ) from error
