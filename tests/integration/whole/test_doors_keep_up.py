"""Both doors take new certificates while they serve, and the gateway is not ready while nobody could be let in."""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from casemate.app.local import init_home
from casemate.core import SystemClock
from casemate.keys import init_tls
from casemate.settings import load_settings
from conftest import Server


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("doors")
    init_home(load_settings({}, home=folder / "home", keys=folder / "keys"))
    return folder


@pytest.fixture(scope="module")
def up(place: Path) -> Iterator[Server]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("CASEMATE_")}
    command = [sys.executable, "-m", "casemate", "--home", str(place / "home")]
    command += ["up", "--data-port", "0", "--control-port", "0"]
    environment["CASEMATE_KEYS"] = str(place / "keys")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        words = process.stdout.readline().split()
        assert words[:1] == ["ready"], "the server did not become ready"
        found = dict(word.split("=", 1) for word in words[1:])
        yield Server(found["data"], found["control"], process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=300) == 0


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def certificate(url: str) -> str:
    where = urlsplit(url)
    assert where.hostname is not None
    assert where.port is not None
    return ssl.get_server_certificate((where.hostname, where.port), timeout=120)


def test_both_doors_take_a_new_certificate_on_sighup(place: Path, up: Server) -> None:
    before = {certificate(up.data), certificate(up.control)}
    assert len(before) == 1
    (private,) = (place / "keys").glob("*/tls")
    for old in private.glob("server.*"):
        old.unlink()
    init_tls(place / "home" / "tls", private, now=SystemClock().now())
    up.process.send_signal(signal.SIGHUP)
    until(lambda: certificate(up.data) not in before)
    until(lambda: certificate(up.control) not in before)
    assert certificate(up.data) == certificate(up.control)


def child(up: Server, name: str) -> int:
    children = Path(f"/proc/{up.process.pid}/task/{up.process.pid}/children").read_text().split()
    (found,) = (
        int(pid) for pid in children if Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[-2] == name.encode()
    )
    return found


def test_the_gateway_is_not_ready_while_it_cannot_read_who_may_do_what(place: Path, up: Server) -> None:
    trusted = ssl.create_default_context(cafile=str(place / "home" / "tls" / "ca.pem"))
    keeper = child(up, "keeper")
    with httpx.Client(verify=trusted, timeout=120) as http:

        def ready() -> int:
            return http.get(f"{up.data}/v2/health/ready").status_code

        assert ready() == 200
        os.kill(keeper, signal.SIGSTOP)
        try:
            until(lambda: ready() == 503)
            assert http.get(f"{up.data}/v2/health/live").status_code == 200
        finally:
            os.kill(keeper, signal.SIGCONT)
        until(lambda: ready() == 200)
