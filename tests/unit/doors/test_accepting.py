"""Connections are counted from accept, so that who never finishes a handshake takes no more than others."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import uvloop

from casemate.doors import FrontServer, ServerConfig, TlsFiles, WireLimits, tls_context
from casemate.doors.accepting import OWN_DESCRIPTORS, Seats

WORDS = 16  # connections beyond the bound that are told so


async def site(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


def certificate(folder: Path) -> TlsFiles:
    files = TlsFiles(folder / "c.pem", folder / "k.pem")
    made = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-subj",
        "/CN=a",
    ]
    subprocess.run([*made, "-out", files.certificate, "-keyout", files.key], check=True, capture_output=True)
    return files


def test_connections_without_a_handshake_are_counted_bounded_and_let_go(tmp_path: Path) -> None:
    limits = WireLimits(connections_per_address=4, handshake_seconds=0.5)
    refused: list[tuple[str, str]] = []

    async def scenario() -> None:
        server = FrontServer(
            site,
            tls=tls_context(certificate(tmp_path)),
            config=ServerConfig(port=0, limits=limits),
            on_refused=lambda error, address: refused.append((error.code, address)),
        )
        async with server:
            silent = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(4 + WORDS)]
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            assert await reader.read() == b""  # closed at once, unheard
            writer.close()
            assert refused == [("too-many-connections", "127.0.0.1")]
            for reader, writer in silent:
                assert await reader.read() == b""  # their handshake did not come in time
                writer.close()
            assert b" 200 " in await get(server.port)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())


def test_a_few_beyond_the_bound_are_told_why(tmp_path: Path) -> None:
    async def scenario() -> None:
        config = ServerConfig(port=0, limits=WireLimits(connections_per_address=1, handshake_seconds=20.0))
        async with FrontServer(site, tls=tls_context(certificate(tmp_path)), config=config) as server:
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            assert b" 503 " in (told := await get(server.port))
            assert b"too-many-connections" in told
            writer.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())


async def get(port: int) -> bytes:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    return answer


def test_seats_leave_descriptors_for_ourselves() -> None:
    limits = WireLimits(connections=1024)
    assert Seats(limits, 1024).most == 1024 - OWN_DESCRIPTORS
    assert Seats(limits, 128).most == 32
    assert Seats(limits, 1 << 20).most == 1024


def test_a_seat_is_given_back_once() -> None:
    seats = Seats(WireLimits(connections=1, connections_per_address=1), 4096)
    first = seats.take("a")
    assert first
    assert not first.crowded
    first.leave()
    first.leave()
    second, third = seats.take("b"), seats.take("a")
    assert second
    assert third
    assert not second.crowded
    assert third.crowded


def test_the_servers_take_as_many_descriptors_as_they_may() -> None:
    code = (
        "import resource as r; from casemate.app.processes import raise_descriptor_limit as up; "
        "r.setrlimit(r.RLIMIT_NOFILE, (200, 600)); up(); print(r.getrlimit(r.RLIMIT_NOFILE))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "(600, 600)"


def test_a_shortage_of_descriptors_does_not_end_the_accepting(tmp_path: Path) -> None:
    """In a process of its own: the shortage would be every other test's too."""
    done = subprocess.run([sys.executable, __file__], check=False, capture_output=True, text=True, timeout=300)
    assert done.stdout.strip() == "answered", done.stderr


async def _short() -> None:
    config = ServerConfig(port=0, limits=WireLimits())
    async with FrontServer(site, tls=None, config=config) as server:
        client = socket.create_connection(("127.0.0.1", server.port))  # connected, and not accepted yet
        used = max(map(int, os.listdir("/proc/self/fd")))
        held = []
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 4, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        while True:
            try:
                held.append(socket.socket())
            except OSError:
                break
        await asyncio.sleep(0.05)  # the server meets the shortage
        for sock in held:
            sock.close()
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        client.setblocking(False)
        answer = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(client, 100), 20)
        print("answered" if b" 200 " in answer else answer)


if __name__ == "__main__":
    asyncio.run(_short())
