"""Clients that send or read too slowly are cut off; one that we make wait is not. The clock is the test's own."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from casemate.core.wire import listen
from casemate.doors import Connection, FrontServer, ServerConfig, WireLimits

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"
LIMITS = WireLimits(body_seconds=math.inf, body_rate=1000.0, body_window=10.0)


class Site:
    """An application that reads a body once `reading` is set, on a server whose sweep the test does itself."""

    def __init__(self) -> None:
        self.reading = asyncio.Event()
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.got = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.reading.wait()
        while True:
            message = await receive()
            self.got += len(message.get("body", b""))
            if message["type"] == "http.disconnect" or not message["more_body"]:
                break
        if not self.ended.done():
            self.ended.set_result(message["type"])
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})


@asynccontextmanager
async def opened(
    folder: Path, site: Any, limits: WireLimits
) -> AsyncIterator[tuple[Connection, asyncio.StreamReader, asyncio.StreamWriter]]:
    config = ServerConfig(limits=limits, sweep_seconds=3600.0, drain_seconds=0.1)
    made: asyncio.Future[Connection] = asyncio.get_running_loop().create_future()

    class Shown(Connection):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            made.set_result(self)

    async with FrontServer(site, tls=None, sock=listen(folder / "s"), config=config, connection=Shown):
        reader, writer = await asyncio.open_unix_connection(str(folder / "s"))
        try:
            yield await made, reader, writer
        finally:
            writer.close()


async def until(holds: Any) -> None:
    while not holds():  # noqa: ASYNC110 plain attributes tell nobody
        await asyncio.sleep(0)


def test_a_body_slower_than_the_rate_is_cut_off(tmp_path: Path) -> None:
    async def scenario() -> None:
        site = Site()
        site.reading.set()
        async with opened(tmp_path, site, LIMITS) as (connection, reader, writer):
            writer.write(HEAD + b"x" * 9_000)
            await until(lambda: site.got == 9_000)
            began = asyncio.get_running_loop().time()
            connection.sweep(began + 9)  # the window still runs
            assert not site.ended.done()
            writer.write(b"x" * 2_000)
            await until(lambda: site.got == 11_000)
            connection.sweep(began + 11)  # 1100 bytes a second
            assert not site.ended.done()
            connection.sweep(began + 22)  # nothing since
            assert b" 408 " in await reader.readline()
            assert await site.ended == "http.disconnect"

    asyncio.run(scenario())


def test_a_body_that_waits_for_us_is_not(tmp_path: Path) -> None:
    async def scenario() -> None:
        site = Site()
        async with opened(tmp_path, site, LIMITS) as (connection, reader, writer):
            writer.write(HEAD + b"x" * 1_000_000)
            await until(lambda: connection.flow is not None and connection.flow.read_paused)
            began = asyncio.get_running_loop().time()
            for seconds in range(0, 1000, 5):
                connection.sweep(began + seconds)
            site.reading.set()
            assert b" 200 " in await reader.readline()
            assert site.got == 1_000_000

    asyncio.run(scenario())


PIECE = b"x" * (1 << 20)
PIECES = 16


async def sender(scope: Any, receive: Any, send: Any) -> None:
    """Answers with more than any buffer on the way holds."""
    length = str(PIECES * len(PIECE)).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
    for left in range(PIECES - 1, -1, -1):
        await send({"type": "http.response.body", "body": PIECE, "more_body": left > 0})


def test_a_client_that_does_not_read_is_cut_off_and_one_that_reads_is_not(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path, sender, LIMITS) as (connection, reader, writer):
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
            deadlines = set()
            for _ in range(PIECES):
                await reader.readexactly(len(PIECE))
                deadlines.add(connection._write_deadline)
                connection.sweep(asyncio.get_running_loop().time())
            assert len(deadlines) > PIECES // 2  # what is read gives what comes next a time of its own
            await until(lambda: connection._write_deadline == math.inf)
            assert not connection.transport.is_closing()
        async with opened(tmp_path, sender, LIMITS) as (connection, reader, writer):
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await until(lambda: connection.flow is not None and connection.flow.write_paused)
            now = asyncio.get_running_loop().time()
            connection.sweep(now + LIMITS.write_seconds - 1)
            assert not connection.transport.is_closing()
            connection.sweep(now + LIMITS.write_seconds + 1)
            await until(connection.transport.is_closing)
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await reader.readexactly(PIECES * len(PIECE))

    asyncio.run(scenario())
