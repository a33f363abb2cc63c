"""What a hostile worker can write on its socket, and that it gets cut off."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import msgspec
import pytest

from casemate.core.wire import encode_frame
from casemate.runtime.connection import Connection


async def told(pieces: list[bytes]) -> tuple[list[tuple[Any, list[bytes]]], list[str]]:
    """What a connection hands on when a peer writes `pieces` and closes."""
    frames: list[tuple[Any, list[bytes]]] = []
    lost: list[str] = []
    ended = asyncio.Event()

    def on_lost(why: str) -> None:
        lost.append(why)
        ended.set()

    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    connection = Connection(
        on_frame=lambda message, buffers: frames.append((message, [bytes(b) for b in buffers])),
        on_lost=on_lost,
        max_answer=100,
    )
    await asyncio.get_running_loop().create_unix_connection(lambda: connection, sock=ours)
    with theirs:
        for piece in pieces:
            theirs.sendall(piece)
            await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await ended.wait()
    return frames, lost


def frame(message: Any, *buffers: bytes) -> bytes:
    return b"".join(map(bytes, encode_frame(message, buffers)))


def test_a_frame_arrives_however_it_is_cut() -> None:
    whole = frame({"id": 1}, b"abc", b"", b"defg")
    for size in (1, 2, 5, len(whole)):
        pieces = [whole[start : start + size] for start in range(0, len(whole), size)]
        assert asyncio.run(told(pieces)) == ([({"id": 1}, [b"abc", b"", b"defg"])], ["gone"])


@pytest.mark.parametrize(
    "data",
    [
        (1 << 30).to_bytes(4),
        b"\0\0\0\4\xc1\xc1\xc1\xc1",
        frame({"id": 1}, b"x" * 101),
        frame({"id": 1}) + frame({"id": 1}),
        frame({"id": 1}, b"abc") + b"more",
        len(raw := msgspec.msgpack.encode([1, [-1]])).to_bytes(4) + raw,
        len(raw := b"\x91" * 100_000).to_bytes(4) + raw,
    ],
    ids=["header", "noise", "large", "two", "more", "negative", "nested"],
)
def test_who_breaks_the_protocol_is_cut_off_once(data: bytes) -> None:
    frames, lost = asyncio.run(told([data]))
    assert lost == ["protocol"]
    assert frames == []


def test_a_cut_frame_is_never_handed_on() -> None:
    whole = frame({"id": 1}, b"abc")
    for stop in range(len(whole)):
        assert asyncio.run(told([whole[:stop]])) == ([], ["gone"])
