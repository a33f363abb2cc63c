"""What is sent to be looked at: held until it is closed, and for an hour where it broke off, so that its sender can go on."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Self

import msgspec

from casemate.core import ConflictError, Digest, InputError
from casemate.storage.pending import Budget, writing
from casemate.storage.stream import KEY_SIZE, StreamReader, StreamWriter

_IN_MEMORY = 32 << 20  # bytes of an upload that stay in memory
_KEPT_SECONDS = 3600.0  # that a sender has to go on
_KEPT, _KEPT_OF_ONE = 8, 2  # that broke off and wait: in all, and of one sender
CUT_OFF = "upload-cut-off"  # the code with which chunks end that may go on


class Upload:
    """What somebody sent, for as long as it is looked at: small in memory, else encrypted on the disk. Gone at exit.

    Its key is in this process alone, so that nobody can read what a crash leaves; the next start removes it.
    """

    def __init__(self, path: Path, budget: Budget) -> None:
        """Args: path: where it lies if it is large."""
        self._path, self._budget, self.size = path, budget, 0
        self._hasher = hashlib.sha256()
        self._held = bytearray()
        self._file: BinaryIO | None = None
        self._stream: StreamWriter | None = None
        self._reader: StreamReader | None = None

    @property
    def digest(self) -> Digest:
        """Of what has come so far."""
        return Digest("sha256:" + self._hasher.hexdigest())

    def take(self, chunks: Iterable[bytes]) -> None:
        """Hold these, after what came before; where `chunks` raises, what came stays.

        Raises: TooLargeError `push-too-large`; StorageError; as `chunks`.
        """
        for chunk in chunks:
            self._budget.take(len(chunk))
            with writing():
                self._write(chunk)
            self._hasher.update(chunk)
            self.size += len(chunk)

    def end(self) -> None:
        """All has come: from now on it is read. Raises: StorageError."""
        if self._stream is None or self._file is None:
            return
        with writing():
            self._stream.close()
            self._file.flush()
        fd = os.dup(self._file.fileno())
        os.lseek(fd, 0, os.SEEK_SET)
        self._reader = StreamReader(os.fdopen(fd, "rb", buffering=0), self._key, self._context)

    def read_at(self, offset: int, size: int) -> bytes:
        """So many bytes, fewer only at the end. Raises: VerificationError `blob-altered`."""
        if self._reader is None:
            return bytes(self._held[offset : offset + size])
        self._reader.seek(offset)
        return self._reader.read(size) or b""

    def close(self) -> None:
        self._held = bytearray()
        self._path.unlink(missing_ok=True)
        for file in (self._reader, self._file):
            if file is not None:
                file.close()

    def _write(self, chunk: bytes) -> None:
        if self._stream is not None:
            self._stream.write(chunk)
            return
        self._held += chunk
        if len(self._held) > _IN_MEMORY:
            self._spill()

    def _spill(self) -> None:
        self._key, self._context = os.urandom(KEY_SIZE), self._path.name.encode()
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._file = os.fdopen(fd, "wb")
        self._stream = StreamWriter(self._file, self._key, self._context)
        self._stream.write(self._held)
        self._held = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Sending(msgspec.Struct, frozen=True, kw_only=True):
    """What is being sent, in one request or several. Args: sender: whose it is. id: as the sender calls it; empty: it is
    sent in one. start: bytes that came before this request.
    """

    sender: str
    id: str = ""
    start: int = 0


class Uploads:
    """The uploads of one process, and those that broke off, for an hour. For use from many threads."""

    def __init__(self, begin: Callable[[], Upload], *, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Args: begin: `BlobStore.receive`."""
        self._begin, self._monotonic = begin, monotonic
        self._kept: dict[tuple[str, str], tuple[float, Upload]] = {}  # by sender and id, oldest first
        self._lock = threading.Lock()

    def kept(self, sending: Sending) -> tuple[int, Digest] | None:
        """(bytes, their digest) of what broke off and can be gone on with."""
        self._forget()
        with self._lock:
            found = self._kept.get((sending.sender, sending.id))
        return (found[1].size, found[1].digest) if found else None

    @contextmanager
    def receive(self, chunks: Iterable[bytes], sending: Sending | None = None) -> Iterator[Upload]:
        """Hold what is sent until the context ends. What ends with the code `upload-cut-off` is kept for its sender.

        Raises: ConflictError `upload-gone`: nothing is kept that ends where this begins; as `Upload.take`.
        """
        self._forget()
        upload = self._begun(sending)
        try:
            upload.take(chunks)
        except BaseException as error:
            if not (isinstance(error, InputError) and error.code == CUT_OFF and self._keep(sending, upload)):
                upload.close()
            raise
        with upload:
            upload.end()
            yield upload

    def close(self) -> None:
        """Drop what waits."""
        with self._lock:
            waiting = [upload for _, upload in self._kept.values()]
            self._kept.clear()
        for upload in waiting:
            upload.close()

    def _begun(self, sending: Sending | None) -> Upload:
        if sending is None or not sending.start:
            return self._begin()
        with self._lock:
            key = (sending.sender, sending.id)
            found = self._kept.get(key)
            if found is None or found[1].size != sending.start:
                raise ConflictError("What came before of this upload is not here: send all of it.", code="upload-gone")
            del self._kept[key]
        return found[1]

    def _keep(self, sending: Sending | None, upload: Upload) -> bool:
        if sending is None or not sending.id or not upload.size:
            return False
        with self._lock:
            mine = [key for key in self._kept if key[0] == sending.sender and key != (sending.sender, sending.id)]
            gone = [self._kept.pop((sending.sender, sending.id), None)]
            gone += [self._kept.pop(key) for key in mine[: max(0, len(mine) + 1 - _KEPT_OF_ONE)]]
            full = len(self._kept) >= _KEPT
            if not full:
                self._kept[sending.sender, sending.id] = (self._monotonic() + _KEPT_SECONDS, upload)
        for other in gone:
            if other is not None:
                other[1].close()
        return not full

    def _forget(self) -> None:
        now = self._monotonic()
        with self._lock:
            late = [key for key, (until, _) in self._kept.items() if until <= now]
            uploads = [self._kept.pop(key)[1] for key in late]
        for upload in uploads:
            upload.close()
