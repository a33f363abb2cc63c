"""Frames and calls between processes: whole or refused, never half read; descriptors never leak."""

from __future__ import annotations

import errno
import os
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from casemate.core import LimitError, StorageError, VerificationError
from casemate.core.wire import MAX_HEADER, Caller, connect, encode_frame, listen, recv_frame, send_frame, serve_calls

plain = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text() | st.binary(max_size=64)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    left, right = socket.socketpair()
    with left, right:
        yield left, right


class Slow(socket.socket):
    """Ours, descheduled just after a write: by then the peer has read it all, answered and left."""

    peer: socket.socket

    def _answered(self) -> None:
        recv_frame(self.peer)
        send_frame(self.peer, "the answer")
        self.peer.close()

    def sendmsg(self, *args: object) -> int:
        sent = super().sendmsg(*args)
        self._answered()
        return sent


@pytest.mark.parametrize("buffers", [[], [b""]])
def test_who_answers_and_leaves_at_once_has_been_sent_the_whole_frame(buffers: list[bytes]) -> None:
    left, right = socket.socketpair()
    with Slow(fileno=left.detach()) as ours, Path(os.devnull).open("rb") as file:
        ours.peer = right
        send_frame(ours, "the order", buffers, [file.fileno()])
        answer = recv_frame(ours)
    assert answer is not None
    assert answer.message == "the answer"


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@given(st.lists(plain), st.lists(st.binary(max_size=4096), max_size=4))
def test_a_frame_arrives_as_it_was_sent(message: list[object], buffers: list[bytes]) -> None:
    left, right = socket.socketpair()
    with left, right:
        send_frame(left, message, buffers)
        frame = recv_frame(right)
    assert frame is not None
    assert frame.message == message
    assert [bytes(buffer) for buffer in frame.buffers] == buffers


def test_descriptors_arrive_and_are_the_same_file(pair: tuple[socket.socket, socket.socket], tmp_path: Path) -> None:
    (tmp_path / "a").write_text("through the wall")
    with (tmp_path / "a").open() as file:
        send_frame(pair[0], "take this", fds=[file.fileno()])
    frame = recv_frame(pair[1])
    assert frame is not None
    with os.fdopen(frame.fds[0]) as received:
        assert received.read() == "through the wall"


@given(st.data())
def test_a_cut_frame_is_refused(data: st.DataObject) -> None:
    whole = b"".join(bytes(part) for part in encode_frame(["a", 1], [b"x" * 100]))
    cut = data.draw(st.integers(1, len(whole) - 1))
    left, right = socket.socketpair()
    with right:
        left.sendall(whole[:cut])
        left.close()
        with pytest.raises(StorageError):
            recv_frame(right)


@given(st.binary(min_size=5, max_size=200))
def test_noise_is_refused_or_read_but_never_breaks(noise: bytes) -> None:
    left, right = socket.socketpair()
    with right:
        left.sendall(noise)
        left.close()
        try:
            recv_frame(right)
        except StorageError as error:
            assert error.code == "bad-frame"


@pytest.mark.parametrize("sizes", [[-1], [1 << 40], ["a"], "aa", [True], [0] * 2000])
def test_impossible_sizes_are_refused(pair: tuple[socket.socket, socket.socket], sizes: object) -> None:
    header = msgspec.msgpack.encode(["m", sizes])
    pair[0].sendall(struct.pack(">I", len(header)) + header)
    pair[0].shutdown(socket.SHUT_WR)
    with pytest.raises(StorageError):
        recv_frame(pair[1])


def test_an_oversized_header_is_refused_and_its_descriptors_are_closed(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    before = open_descriptors()
    socket.send_fds(pair[0], [struct.pack(">I", MAX_HEADER + 1)], [0, 1])
    with pytest.raises(StorageError):
        recv_frame(pair[1])
    assert open_descriptors() == before


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Path]:
    deep = tmp_path / ("d" * 120)  # a path longer than a socket's own may be
    deep.mkdir()
    listener = listen(deep / "s")

    def refuse() -> None:
        raise VerificationError("no", code="changed")

    def later() -> None:
        raise LimitError("slow down", retry_after=3)

    methods = {"add": lambda a, b: a + b, "refuse": refuse, "later": later, "crash": lambda: 1 / 0}
    threading.Thread(target=serve_calls, args=(listener, methods), daemon=True).start()
    yield deep / "s"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def test_calls_return_and_raise_what_the_method_did(server: Path) -> None:
    caller = Caller(server)
    assert caller.call("add", 1, 2) == 3
    with pytest.raises(VerificationError) as refused:
        caller.call("refuse")
    assert refused.value.code == "changed"
    with pytest.raises(LimitError) as limited:
        caller.call("later")
    assert limited.value.retry_after == 3
    with pytest.raises(Exception, match="ZeroDivisionError") as crashed:
        caller.call("crash")
    assert "division by zero" not in str(crashed.value)
    with pytest.raises(Exception, match="KeyError"):
        caller.call("__import__", "os")
    caller.close()


def test_a_shortage_of_descriptors_does_not_end_the_accepting(tmp_path: Path) -> None:
    class Short(socket.socket):
        """A listener on a system that has no descriptor left for the first two connections, and then stops."""

        failures: ClassVar = [errno.EMFILE, errno.ENFILE]

        def accept(self) -> Any:
            if self.failures:
                raise OSError(self.failures.pop(), "Too many open files")
            return super().accept()

    plain = listen(tmp_path / "s")
    listener = Short(fileno=plain.detach())
    serving = threading.Thread(target=serve_calls, args=(listener, {"ping": lambda: "pong"}), daemon=True)
    serving.start()
    caller = Caller(tmp_path / "s", timeout=120)
    assert caller.call("ping") == "pong"
    assert not Short.failures
    caller.close()
    listener.shutdown(socket.SHUT_RDWR)
    serving.join(10)
    assert not serving.is_alive()
    listener.close()


def test_the_socket_is_for_its_owner_alone(server: Path) -> None:
    assert server.stat().st_mode & 0o777 == 0o600


def test_a_caller_connects_again_when_the_server_is_back(tmp_path: Path) -> None:
    caller = Caller(tmp_path / "s")
    with pytest.raises(StorageError, match="Nobody listens"):
        caller.call("ping")
    first = listen(tmp_path / "s")
    answered = threading.Thread(target=_accept_and_leave, args=(first,))
    answered.start()
    with pytest.raises(StorageError, match="not known"):
        caller.call("ping")
    answered.join()
    first.close()
    second = listen(tmp_path / "s")
    threading.Thread(target=serve_calls, args=(second, {"ping": lambda: "pong"}), daemon=True).start()
    assert caller.call("ping") == "pong"
    caller.close()
    second.shutdown(socket.SHUT_RDWR)
    second.close()


def test_a_call_after_the_server_was_started_anew_is_answered(tmp_path: Path) -> None:
    caller = Caller(tmp_path / "s")
    for _ in range(2):
        listener = listen(tmp_path / "s")
        answering = threading.Thread(target=_answer_once, args=(listener,))
        answering.start()
        assert caller.call("ping") == "pong"
        answering.join()  # the connection that the caller keeps is closed now
        listener.close()
    caller.close()


def test_nobody_there_is_one_clear_sentence(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="casemate up"):
        connect(tmp_path / "nothing")


def _accept_and_leave(listener: socket.socket) -> None:
    listener.accept()[0].close()


def _answer_once(listener: socket.socket) -> None:
    with listener.accept()[0] as sock:
        recv_frame(sock)
        send_frame(sock, [True, "pong"])
