"""Frames and calls between our own processes, over Unix sockets. MessagePack, never pickle.

A frame is a 4-byte big-endian length, a MessagePack header, then raw buffers whose lengths the header names, so
that tensors cross without being copied into the header. Descriptors ride along with the first byte (SCM_RIGHTS).
"""

from __future__ import annotations

import array
import errno
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from casemate.core import errors
from casemate.core.errors import CasemateError, StorageError

MAX_HEADER = 16 << 20  # bytes; our own messages stay far below, a broken peer is cut off here
MAX_BUFFERS = 1 << 30  # bytes of raw buffers in one frame
MAX_BUFFER_COUNT = 1024  # in one frame; a model has a handful of tensors
_PAUSE = 0.1  # seconds without accepting when the system lacks something
MAX_FDS = 250  # descriptors in one frame; the kernel's own bound is 253

_LENGTH = struct.Struct(">I")
_ENCODE = msgspec.msgpack.Encoder()
_DECODE = msgspec.msgpack.Decoder()


class Frame(msgspec.Struct):
    """`message` is plain data; `buffers` are raw bytes; `fds` belong to whoever received them."""

    message: Any
    buffers: list[bytearray] = []
    fds: list[int] = []


def encode_frame(
    message: Any, buffers: Sequence[bytes | bytearray | memoryview] = ()
) -> list[bytes | bytearray | memoryview]:
    """The parts of one frame, to be written in order."""
    header = _ENCODE.encode([message, [len(b) for b in buffers]])
    return [_LENGTH.pack(len(header)) + header, *buffers]


def send_frame(
    sock: socket.socket,
    message: Any,
    buffers: Sequence[bytes | bytearray | memoryview] = (),
    fds: Sequence[int] = (),
) -> None:
    """Write one frame whole. Raises: OSError when the peer is gone.

    What went out whole is not followed by an empty write: that fails once the peer has read it, answered and left.
    """
    parts = encode_frame(message, buffers)
    first = parts[0]
    if fds:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
        sent = sock.sendmsg([first], rights)
        first = memoryview(first)[sent:]
    for part in (first, *parts[1:]):
        if len(part):
            sock.sendall(part)


def recv_frame(sock: socket.socket, *, max_buffers: int = MAX_BUFFERS) -> Frame | None:
    """Read one frame; None when the peer closed between frames. Raises: StorageError when the frame is malformed."""
    head, fds = _recv_head(sock)
    try:
        if head is None:
            return None
        (length,) = _LENGTH.unpack(head)
        if length > MAX_HEADER:
            raise StorageError("A process of ours sent an oversized frame.", code="bad-frame")
        message, sizes = decode_header(_recv_exactly(sock, length), max_buffers=max_buffers)
        return Frame(message, [_recv_exactly(sock, size) for size in sizes], fds)
    except BaseException:
        for fd in fds:
            os.close(fd)
        raise


def decode_header(header: bytes | bytearray, *, max_buffers: int = MAX_BUFFERS) -> tuple[Any, list[int]]:
    """Split a header into message and buffer lengths. Raises: StorageError when it is malformed."""
    try:
        message, sizes = _DECODE.decode(header)
        fair = (
            len(sizes) <= MAX_BUFFER_COUNT
            and all(type(size) is int and size >= 0 for size in sizes)
            and sum(sizes) <= max_buffers
        )
    except (msgspec.DecodeError, ValueError, TypeError) as error:
        raise StorageError("A process of ours sent a malformed frame.", code="bad-frame") from error
    if not fair:
        raise StorageError("A process of ours sent a frame with impossible sizes.", code="bad-frame")
    return message, sizes


def _recv_head(sock: socket.socket) -> tuple[bytes | None, list[int]]:
    data, ancillary, flags, _ = sock.recvmsg(4, socket.CMSG_SPACE(MAX_FDS * 4), socket.MSG_CMSG_CLOEXEC)
    fds = array.array("i")
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(payload[: len(payload) - len(payload) % 4])
    if flags & socket.MSG_CTRUNC:
        for fd in fds:
            os.close(fd)
        raise StorageError("A process of ours sent too many descriptors.", code="bad-frame")
    if not data:
        return None, list(fds)
    try:
        return data + bytes(_recv_exactly(sock, 4 - len(data))), list(fds)
    except BaseException:
        for fd in fds:
            os.close(fd)
        raise


def _recv_exactly(sock: socket.socket, size: int) -> bytearray:
    data = bytearray(size)
    view, done = memoryview(data), 0
    while done < size:
        got = sock.recv_into(view[done:])
        if not got:
            raise StorageError("A process of ours closed its socket in the middle of a frame.", code="bad-frame")
        done += got
    return data


def listen(path: Path) -> socket.socket:
    """A listening Unix socket at `path`, mode 0600, whatever the length of the path."""
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        before = os.umask(0o177)
        try:
            sock.bind(f"/proc/self/fd/{folder}/{path.name}")
        finally:
            os.umask(before)
    finally:
        os.close(folder)
    sock.listen(128)
    return sock


def connect(path: Path) -> socket.socket:
    """Connect to a Unix socket, whatever the length of its path. Raises: StorageError when nobody listens."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            sock.connect(f"/proc/self/fd/{folder}/{path.name}")
        finally:
            os.close(folder)
    except OSError as error:
        sock.close()
        raise StorageError(f"Nobody listens at {path}: is `casemate up` running?", code="not-running") from error
    return sock


def is_served(path: Path) -> bool:
    """Whether somebody accepts connections at `path`."""
    try:
        connect(path).close()
    except StorageError:
        return False
    return True


def peer_uid(sock: socket.socket) -> int:
    """The user id of the process at the other end, as the kernel saw it."""
    _, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return int(uid)


class Caller:
    """Calls methods of the process that listens at `path`, one at a time, from any thread.

    Connects at the first call, and again after a failure. A call that could not be sent whole is sent once more over a
    new connection, since nobody has read it; one that was sent is not repeated, since it may have taken effect.

    Args: timeout: seconds of silence after which the listener counts as gone; None waits for ever.
    """

    def __init__(self, path: Path, *, timeout: float | None = None) -> None:
        self._path, self._timeout = path, timeout
        self._sock: socket.socket | None = None
        self._lock = threading.Lock()

    def call(self, method: str, *args: Any) -> Any:
        """Return what the method returned. Raises: what it raised, as the same family; StorageError when it is gone."""
        with self._lock:
            try:
                sock = self._sent([method, args])
                frame = recv_frame(sock)
                if frame is None:
                    raise ConnectionResetError
            except OSError as error:
                self.close()
                raise StorageError(
                    f"Who listened at {self._path.name} went away before it answered: whether it took effect is not "
                    "known. Look with casemate status, then try again.",
                    code="not-running",
                ) from error
            except BaseException:
                self.close()
                raise
        ok, value = frame.message
        if not ok:
            raise _revived(value)
        return value

    def _sent(self, message: Any) -> socket.socket:
        """The socket over which `message` went out whole."""
        if self._sock is not None:
            try:
                send_frame(self._sock, message)
            except OSError:  # the peer was started anew since the last call
                self.close()
            else:
                return self._sock
        sock = self._sock = connect(self._path)
        sock.settimeout(self._timeout)
        send_frame(sock, message)
        return sock

    def another(self) -> Caller:
        """A caller of the same process on a connection of its own, which no call of this one holds up."""
        return Caller(self._path)

    def close(self) -> None:
        """Let go of the connection; the next call makes a new one."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None


def _revived(value: dict[str, Any]) -> CasemateError:
    family = getattr(errors, value["family"], CasemateError)
    if family is errors.LimitError:
        return errors.LimitError(value["message"], retry_after=value["retry_after"], code=value["code"])
    error: CasemateError = family(value["message"], code=value["code"])
    return error


def serve_calls(listener: socket.socket, methods: dict[str, Callable[..., Any]]) -> None:
    """Answer calls until the listener is closed: a thread per connection; peers of another user are cut off.

    Only what is in `methods` can be called. An unexpected exception becomes a CasemateError without its text.
    A system that lacks descriptors, memory or threads for the moment ends nothing: accepting goes on after a pause.
    """
    while True:
        try:
            sock, _ = listener.accept()
        except OSError as error:
            if listener.fileno() < 0 or error.errno in (errno.EBADF, errno.EINVAL):  # closed, or shut down
                return
            time.sleep(_PAUSE)
            continue
        if peer_uid(sock) not in (os.geteuid(), 0):
            sock.close()
            continue
        try:
            threading.Thread(target=_answer, args=(sock, methods), daemon=True).start()
        except RuntimeError:
            sock.close()
            time.sleep(_PAUSE)


def _answer(sock: socket.socket, methods: dict[str, Callable[..., Any]]) -> None:
    with sock:
        while True:
            try:
                frame = recv_frame(sock)
                if frame is None:
                    return
                for fd in frame.fds:
                    os.close(fd)
                send_frame(sock, _outcome(frame.message, methods))
            except (OSError, StorageError):
                return


def _outcome(message: Any, methods: dict[str, Callable[..., Any]]) -> tuple[bool, Any]:
    try:
        method, args = message
        return True, methods[method](*args)
    except CasemateError as error:
        return False, {
            "family": type(error).__name__,
            "message": error.message,
            "code": error.code,
            "retry_after": getattr(error, "retry_after", 0.0),
        }
    except Exception as error:  # noqa: BLE001 the peer must learn that it failed, and nothing else
        return False, {
            "family": "CasemateError",
            "message": f"Internal error ({type(error).__name__}).",
            "code": "internal",
            "retry_after": 0.0,
        }
