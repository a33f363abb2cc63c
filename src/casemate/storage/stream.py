"""Bytes at rest in Tink's published streaming format, AES256_GCM_HKDF_1MB: encrypted by segments, read at random.

File: a header (its length in one byte, a 32-byte salt, a 7-byte nonce prefix), then segments of 1 MiB of ciphertext, the
first one shorter by the header. Each segment is sealed with AES-256-GCM under the key HKDF-SHA256(key, salt, associated
data); its nonce is prefix, index (4 bytes, big-endian) and one byte that is 1 for the last segment. So no segment can be
altered, moved, dropped, added, or passed off as the last one.
Source: Tink wire format, "Streaming AEAD: AES-GCM-HKDF".
"""

from __future__ import annotations

import io
import os
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import GCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from casemate.core import StorageError, VerificationError

KEY_SIZE = 32  # bytes of the data key
_SALT, _PREFIX, _TAG = 32, 7, 16  # bytes
_HEADER = 1 + _SALT + _PREFIX
_SEGMENT = 1 << 20  # bytes of ciphertext
_PLAIN = _SEGMENT - _TAG  # bytes of plain text in a full segment
_FIRST = _PLAIN - _HEADER  # bytes of plain text in the first one
_LAST_INDEX = (1 << 32) - 1


def _derived(key: bytes, salt: bytes, associated: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=KEY_SIZE, salt=salt, info=associated).derive(key)


def _nonce(prefix: bytes, index: int, *, last: bool) -> bytes:
    if index > _LAST_INDEX:
        raise StorageError("A file of more than 4 PiB cannot be encrypted.", code="too-large")
    return prefix + index.to_bytes(4) + bytes([last])


class StreamWriter:
    """Encrypts what is written to `file`. Only `close` makes it whole; without it no reader accepts it.

    Args: file: Buffered: each `write` takes all it is given. key: 32 bytes, for this one file.
    """

    def __init__(self, file: BinaryIO, key: bytes, associated: bytes) -> None:
        salt, self._prefix = os.urandom(_SALT), os.urandom(_PREFIX)
        self._aes = AES(_derived(key, salt, associated))
        self._file = file
        self._plain = bytearray(_PLAIN)
        self._sealed = bytearray(_SEGMENT)
        self._filled, self._room, self._index = 0, _FIRST, 0
        file.write(bytes([_HEADER]) + salt + self._prefix)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data).cast("B")
        while len(view) > self._room - self._filled:  # more follows than the segment takes: it is not the last one
            size = self._room - self._filled
            self._seal(view[:size], last=False)
            view = view[size:]
        self._plain[self._filled : self._filled + len(view)] = view
        self._filled += len(view)

    def close(self) -> None:
        """Seal the last segment. The caller syncs and closes the file."""
        self._seal(memoryview(b""), last=True)

    def _seal(self, rest: memoryview, *, last: bool) -> None:
        """Seal what was kept, and `rest` from where it lies: only what does not fill a segment is copied."""
        encryptor = Cipher(self._aes, GCM(_nonce(self._prefix, self._index, last=last))).encryptor()
        sealed = memoryview(self._sealed)
        size = encryptor.update_into(memoryview(self._plain)[: self._filled], sealed)
        size += encryptor.update_into(rest, sealed[size:])
        encryptor.finalize()
        sealed[size : size + _TAG] = encryptor.tag
        # Before writing, so that whoever goes on after a failed write uses no nonce twice.
        self._filled, self._room, self._index = 0, _PLAIN, self._index + 1
        self._file.write(sealed[: size + _TAG])


class StreamReader(io.RawIOBase):
    """Reads plain text at any position; each segment is checked before a byte of it is given out.

    The last segment is checked at once, so `size` can be trusted and a cut file is refused whatever is read.
    A read comes up short at the end only. For one thread at a time.
    Raises: VerificationError `blob-altered`: altered, cut, extended, reordered, of another key or associated data.
    """

    def __init__(self, file: BinaryIO, key: bytes, associated: bytes) -> None:
        """Take ownership of `file`, which is closed if this raises."""
        super().__init__()
        self._file = file
        try:
            self._begin(key, associated)
        except BaseException:
            self.close()
            raise

    def _begin(self, key: bytes, associated: bytes) -> None:
        header = self._file.read(_HEADER)
        if len(header) != _HEADER or header[0] != _HEADER:
            raise _altered()
        salt, self._prefix = header[1 : 1 + _SALT], header[1 + _SALT :]
        self._aead = AESGCM(_derived(key, salt, associated))
        total = self._file.seek(0, os.SEEK_END)
        self._count = max(1, -(-total // _SEGMENT))
        self._tail = total - (self._count - 1) * _SEGMENT - (_HEADER if self._count == 1 else 0) - _TAG
        if self._tail < 0 or (self._tail == 0 and self._count > 1):
            raise _altered()
        self.size = self._tail if self._count == 1 else _FIRST + (self._count - 2) * _PLAIN + self._tail
        self._sealed = bytearray(_SEGMENT)
        self._plain = bytearray(_PLAIN)
        self._loaded, self._length = -1, 0
        self._position = 0
        self._load(self._count - 1)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        if start + offset < 0:
            raise ValueError("negative position")
        self._position = start + offset
        return self._position

    def readinto(self, buffer: object) -> int:
        """Fill `buffer`; less only at the end. After an error nothing unchecked is left in it."""
        if self.closed:
            raise ValueError("read from a closed file")
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        done, wanted = 0, min(len(view), max(0, self.size - self._position))
        while done < wanted:
            done += self._read_segment(view[done:wanted])
        return done

    def decrypt_to_fd(self, fd: int) -> None:
        """Write all of the plain text to `fd` at its position, whatever the reader's own."""
        for index in range(self._count):
            self._load(index)
            view = memoryview(self._plain)[: self._length]
            while view:
                view = view[os.write(fd, view) :]

    def _read_segment(self, target: memoryview) -> int:
        """Fill the start of `target` from the segment at the position; returns how much."""
        index, start = self._place(self._position)
        length = self._segment_size(index)
        if start == 0 and len(target) >= length and index != self._loaded:
            self._decrypt(index, target[:length])
            size = length
        else:
            self._load(index)
            size = min(len(target), length - start)
            target[:size] = memoryview(self._plain)[start : start + size]
        self._position += size
        return size

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()

    @staticmethod
    def _place(position: int) -> tuple[int, int]:
        """Segment and offset in it."""
        if position < _FIRST:
            return 0, position
        index, start = divmod(position - _FIRST, _PLAIN)
        return index + 1, start

    def _segment_size(self, index: int) -> int:
        """Bytes of plain text."""
        return self._tail if index == self._count - 1 else _FIRST if index == 0 else _PLAIN

    def _load(self, index: int) -> None:
        if index != self._loaded:
            self._loaded = -1
            length = self._segment_size(index)
            self._decrypt(index, memoryview(self._plain)[:length])
            self._loaded, self._length = index, length

    def _decrypt(self, index: int, target: memoryview) -> None:
        sealed = memoryview(self._sealed)[: len(target) + _TAG]
        self._file.seek(index * _SEGMENT if index else _HEADER)
        self._fill(sealed)
        try:
            nonce = _nonce(self._prefix, index, last=index == self._count - 1)
            self._aead.decrypt_into(nonce, sealed, None, target)
        except InvalidTag as error:
            target[:] = bytes(len(target))
            raise _altered() from error

    def _fill(self, sealed: memoryview) -> None:
        while sealed:
            got = self._file.readinto(sealed)  # type: ignore[attr-defined]
            if not got:
                raise _altered()
            sealed = sealed[got:]


def _altered() -> VerificationError:
    return VerificationError(
        "Stored bytes are not what was written: they were altered, cut or swapped. Restore them from a backup.",
        code="blob-altered",
    )
