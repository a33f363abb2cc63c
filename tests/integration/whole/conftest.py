"""A home that the demo walked through, and a server on it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from real_bao import bao, durable_bao

__all__ = ["Server", "Walked", "bao", "durable_bao"]


@dataclass(frozen=True)
class Walked:
    """What `casemate demo --home H --once --json` left behind."""

    home: Path
    keys: Path
    steps: list[dict[str, Any]]

    def environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("CASEMATE_")}
        return {**kept, "CASEMATE_KEYS": str(self.keys)}

    def run(self, *words: str, code: int = 0) -> str:
        """A command on this home; returns what it printed."""
        command = [sys.executable, "-m", "casemate", "--home", str(self.home), *words]
        done = subprocess.run(command, capture_output=True, text=True, env=self.environment(), timeout=300, check=False)
        assert done.returncode == code, f"{words}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture(scope="session")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Walked:
    folder = tmp_path_factory.mktemp("demo")
    made = Walked(folder / "home", folder / "keys", [])
    command = [sys.executable, "-m", "casemate", "demo", "--home", str(made.home), "--once", "--json"]
    ports = {"CASEMATE_DATA_PORT": "0", "CASEMATE_CONTROL_PORT": "0"}  # another walk may be under way beside this one
    environment = made.environment() | ports
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return Walked(made.home, made.keys, json.loads(done.stdout))


@dataclass(frozen=True)
class Server:
    data: str
    control: str
    process: subprocess.Popen[str]


@pytest.fixture(scope="session")
def server(walked: Walked) -> Iterator[Server]:
    command = [
        sys.executable,
        "-m",
        "casemate",
        "up",
        "--home",
        str(walked.home),
        "--data-port",
        "0",
        "--control-port",
        "0",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=walked.environment())
    assert process.stdout is not None
    words = process.stdout.readline().split()
    assert words[:1] == ["ready"], "the server did not become ready"
    place = dict(word.split("=", 1) for word in words[1:])
    yield Server(place["data"], place["control"], process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=300) == 0
    process.stdout.close()
