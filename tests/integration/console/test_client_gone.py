"""A training run ends with whoever waits for it: on Ctrl-C, and when a client's connection is gone."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_models import ROWS

from casemate.app.local import init_home
from casemate.client import Casemate
from casemate.settings import load_settings

ENDLESS = b"import time\nwhile True:\n    time.sleep(0.05)\n"


def confined_below(pid: int) -> list[int]:
    """The confined processes that this process started and has not buried."""
    tasks = [read(task / "children") for task in Path(f"/proc/{pid}/task").iterdir()]
    children = [int(child) for listed in tasks for child in listed.split()]
    return [child for child in children if b"casemate.sandbox.boot" in read(Path(f"/proc/{child}/cmdline"))]


def read(path: Path) -> bytes:
    """What this file of a thread or process says; nothing where it ended meanwhile."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def wait_until_confined(pid: int) -> int:
    """Its confined process, once there is one; the test's own limit ends the wait."""
    while True:
        for child in confined_below(pid):
            return child
        time.sleep(0.02)


def test_a_run_whose_client_is_gone_is_stopped(casemate: Casemate, socket_path: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(ROWS)
    casemate.push_dataset("rows", tmp_path / "rows.csv", target="label")
    head = b"POST /api/v1/models/gone/train?dataset=rows HTTP/1.1\r\nHost: casemate\r\nContent-Length: %d\r\n\r\n"
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(f"/proc/self/fd/{casemate._connection.folder}/{socket_path.name}")
        client.sendall(head % len(ENDLESS) + ENDLESS)
        wait_until_confined(os.getpid())
    outcome: list[str] = []
    while not outcome:
        entries = casemate.audit_entries(kind="outcome", action="model:train")
        outcome = [entry["outcome"] for entry in entries if entry["resource"].endswith("gone")]
        time.sleep(0.02)
    assert outcome == ["failed"]
    assert confined_below(os.getpid()) == []


@pytest.mark.slow
def test_an_interrupted_command_stops_its_run_and_says_so(tmp_path: Path) -> None:
    made = load_settings({}, home=tmp_path / "home", keys=tmp_path / "keys")
    init_home(made)
    (tmp_path / "rows.csv").write_text(ROWS)
    (tmp_path / "endless.py").write_bytes(ENDLESS)
    environment = {**os.environ, "CASEMATE_KEYS": str(made.keys)}
    command = [sys.executable, "-m", "casemate", "--home", str(made.home)]
    push = [*command, "dataset", "push", "rows", str(tmp_path / "rows.csv")]
    subprocess.run(push, env=environment, check=True, capture_output=True)
    train = [*command, "train", str(tmp_path / "endless.py"), "--dataset", "rows", "--model", "endless"]
    with subprocess.Popen(train, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            child = wait_until_confined(process.pid)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=300)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "Traceback" not in said
    assert said.split() == ["Interrupted."]
    assert not Path(f"/proc/{child}").exists()


def test_an_interrupt_in_the_first_moments_is_one_word() -> None:
    for module in ("casemate.cli", "rich.console", "casemate.core"):  # while these are imported
        code = (
            "import os, signal, sys\n"
            "class Interrupt:\n"
            "    def find_spec(self, name, *_):\n"
            f"        if name == {module!r}: os.kill(os.getpid(), signal.SIGINT)\n"
            "sys.meta_path.insert(0, Interrupt())\n"
            "from casemate.__main__ import main\n"
            "main()\n"
        )
        done = subprocess.run([sys.executable, "-c", code, "--version"], capture_output=True, timeout=300, check=False)
        assert (done.returncode, done.stderr) == (130, b"Interrupted.\n")
