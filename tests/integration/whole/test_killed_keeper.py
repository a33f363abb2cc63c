"""A keeper that dies is replaced under a running control plane, whose acts go on and end in the log as they ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tiny_models import doubling_model

from casemate.app.local import init_home
from casemate.client import Casemate
from casemate.client.files import tar_stream
from casemate.core import CasemateError
from casemate.settings import Settings, load_settings

PATIENCE = 180  # seconds after which something is broken; a bound, not an aim
INTENT = {"action": "model:push"}


@contextmanager
def served(settings: Settings) -> Iterator[int]:
    """`casemate up` on a home; yields its process id."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("CASEMATE_")}
    command = [sys.executable, "-m", "casemate", "up", "--home", str(settings.home)]
    command += ["--data-port", "0", "--control-port", "0"]
    environment = {**kept, "CASEMATE_KEYS": str(settings.keys)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline().startswith("ready ")
            yield process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0


def child(supervisor: int, name: str) -> int | None:
    """The process id of one of a supervisor's children."""
    for task in Path(f"/proc/{supervisor}/task").iterdir():
        for pid in (task / "children").read_text().split():
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if b"casemate.app.processes" in words and name.encode() in words:
                return int(pid)
    return None


def until_answered(casemate: Casemate) -> None:
    give_up = time.monotonic() + PATIENCE
    while time.monotonic() < give_up:
        try:
            casemate.status()
        except CasemateError:
            time.sleep(0.05)
        else:
            return
    pytest.fail("the keeper did not come back")


@pytest.mark.slow
def test_an_upload_outlives_the_keeper(tmp_path: Path) -> None:
    settings = load_settings({}, home=tmp_path / "home", keys=tmp_path / "keys")
    init_home(settings)
    (tmp_path / "model.onnx").write_bytes(doubling_model(2.0))
    (tmp_path / "README.md").write_text("It doubles.\n" * 4000)
    body = b"".join(tar_stream([(name, tmp_path / name) for name in ("README.md", "model.onnx")]))
    half = len(body) // 2
    head = b"POST /api/v1/models/double/versions HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    path = settings.home / "run" / "control.sock"
    with served(settings) as supervisor, Casemate(socket=path) as casemate, socket.socket(socket.AF_UNIX) as client:
        client.connect(f"/proc/self/fd/{casemate._connection.folder}/{path.name}")
        client.sendall(head % len(body) + body[:half])
        while not list((settings.home / "tmp").iterdir()):  # the upload is being written
            time.sleep(0.02)
        first = child(supervisor, "keeper")
        assert first is not None
        os.kill(first, signal.SIGKILL)
        while child(supervisor, "keeper") in (None, first):
            time.sleep(0.02)
        until_answered(casemate)
        assert casemate.audit_entries(kind="outcome", **INTENT) == []  # it still runs, and nobody says otherwise
        client.sendall(body[half:])
        client.settimeout(PATIENCE)
        answer = b""
        while piece := client.recv(1 << 16):
            answer += piece
        assert b" 200 " in answer.splitlines()[0], answer
        assert [entry["outcome"] for entry in casemate.audit_entries(kind="outcome", **INTENT)] == ["done"]
        assert casemate.verify_models("double@1")["problems"] == []
        assert casemate.audit_verify()["problems"] == []
