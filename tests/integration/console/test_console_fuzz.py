"""Raw bytes against the control plane over TLS, with an owner's key and without: never a 500, and it still serves."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import socket
import ssl

import pytest
import uvloop
from mutants import FORBIDDEN, mutant

from casemate.app.control import serve_console
from casemate.app.ground import keys_folder
from casemate.client import Casemate
from casemate.console import Services
from casemate.core.wire import listen
from casemate.doors import TlsFiles, tls_context
from casemate.settings import Settings
from casemate.storage import open_home

MUTANTS = 600
PATIENCE = 0.5  # seconds for an answer to what may be half a request


def requests(key: str) -> list[bytes]:
    """One of each kind of route: a list, a filter, a path, a body, a change."""
    lines = [
        ("GET", "/api/v1/status", b""),
        ("GET", "/api/v1/audit/entries?kind=intent&since=2026-01-31T00:00:00Z&limit=5", b""),
        ("GET", "/api/v1/models/diagnosis/versions/1", b""),
        ("GET", "/api/v1/access/explain?principal=local&action=key:issue&resource=key&role=owner&expires=1h", b""),
        ("GET", "/api/v1/datasets/diagnosis/versions/1/rows", b""),
        ("POST", "/api/v1/keys?name=fuzz&role=caller&deployment=diagnosis&expires=1h&rate=5/s", b""),
        ("POST", "/api/v1/grants?role=operator&on=deployment:diagnosis&life=1h&environment=dev&reason=fuzz", b""),
        ("POST", "/api/v1/grants/grt_00000000000000000000000000000000/approval?reason=fuzz", b""),
        ("POST", "/api/v1/keys/key_00000000000000000000000000000000/rotation?overlap=1h&expires=2h", b""),
        ("POST", "/api/v1/audit/verify", b"casemate.dev/home\n3\nAAAA\n\n\xe2\x80\x94 casemate.dev AAAA\n"),
        ("POST", "/api/v1/models/diagnosis/train?dataset=diagnosis&parameters=%7B%7D", b"print(1)\n"),
        ("PUT", "/api/v1/deployments/live?model=diagnosis@1&environment=dev", b""),
        ("DELETE", "/api/v1/keys/key_00000000000000000000000000000000?reason=fuzz", b""),
    ]
    head = "%s %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
    made = [(head % (method, path, key, len(body))).encode() + body for method, path, body in lines]
    return [*made, made[0].replace(key.encode(), b"cm_nobody")]


async def answer(port: int, context: ssl.SSLContext, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
    received = b""
    with contextlib.suppress(TimeoutError, ConnectionError, ssl.SSLError):
        async with asyncio.timeout(PATIENCE):
            writer.write(data)
            while piece := await reader.read(1 << 16):
                received += piece
    writer.transport.abort()
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        await writer.wait_closed()
    return received


@pytest.mark.parametrize("seed", [3, pytest.param(4, marks=pytest.mark.slow)])
def test_no_bytes_bring_the_control_plane_down(
    services: Services, settings: Settings, casemate: Casemate, caplog: pytest.LogCaptureFixture, seed: int
) -> None:
    home, chance = open_home(settings.home), random.Random(seed)
    valid = requests(casemate.issue_key("fuzz-owner", role="owner", expires="1h")["key"])
    tls = tls_context(TlsFiles(home.tls / "server.pem", keys_folder(settings, home) / "tls" / "server.key"))
    trust = ssl.create_default_context(cafile=str(home.tls / "ca.pem"))

    async def scenario() -> tuple[list[tuple[bytes, bytes]], bytes]:
        stop, up = asyncio.Event(), asyncio.Event()
        public = socket.create_server(("127.0.0.1", 0))
        port, local = public.getsockname()[1], listen(home.run / "fuzz.sock")
        serving = asyncio.create_task(
            serve_console(services, local=local, public=public, tls=tls, stop=stop, ready=up.set)
        )
        await up.wait()
        replies = []
        for _ in range(MUTANTS // 20):
            sent = [mutant(valid, chance) for _ in range(20)]
            replies += zip(sent, await asyncio.gather(*(answer(port, trust, one) for one in sent)), strict=True)
        last = await answer(port, trust, valid[0])
        stop.set()
        await serving
        return replies, last

    with caplog.at_level(logging.ERROR):
        replies, last = uvloop.run(scenario())
    busy = b'"code":"too-busy"'  # twenty at once are more than there are places for long acts
    assert [(sent, reply) for sent, reply in replies if FORBIDDEN.search(reply) and busy not in reply] == []
    assert [record.getMessage() for record in caplog.records] == []
    assert {b"200", b"400", b"401", b"404"} <= {reply[9:12] for _, reply in replies if reply}
    assert last.startswith(b"HTTP/1.1 200 OK")
    assert casemate.audit_verify()["ok"]
