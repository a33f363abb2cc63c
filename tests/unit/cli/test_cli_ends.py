"""Output that cannot be written, and a signal, end a command in order: no traceback, one JSON value, one exit code."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from casemate.settings import Settings

COMMANDS = (["key", "list", "--json"], ["audit", "log"], ["status"], ["--help"], ["--version"], ["nonsense"])


def shell(settings: Settings, words: list[str], redirection: str) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "CASEMATE_KEYS": str(settings.keys), "CASEMATE_HOME": str(settings.home)}
    line = f'exec "$@" {redirection}'
    command = ["bash", "-c", line, "bash", sys.executable, "-m", "casemate", *words]
    return subprocess.run(command, env=environment, capture_output=True, timeout=300, check=False)


@pytest.mark.parametrize("redirection", [">/dev/full", ">&-", "2>&-", ">&- 2>&-", ">/dev/full 2>/dev/full"])
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_output_that_cannot_be_written_is_an_error(settings: Settings, words: list[str], redirection: str) -> None:
    done = shell(settings, words, redirection)
    assert done.returncode == 2, done
    assert b"Traceback" not in done.stdout + done.stderr
    assert b"Exception" not in done.stdout + done.stderr


def test_a_closed_input_is_nothing(settings: Settings) -> None:
    assert shell(settings, ["key", "list", "--json"], "<&-").returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("as_json", [True, False])
def test_a_signal_is_one_json_value_and_the_exit_code_of_a_shell(
    tmp_path: Path, number: signal.Signals, as_json: bool
) -> None:
    (tmp_path / "run").mkdir()
    with socket.socket(socket.AF_UNIX) as silent:  # a control plane that never answers
        silent.bind(str(tmp_path / "run" / "control.sock"))
        silent.listen()
        command = [
            sys.executable,
            "-m",
            "casemate",
            "--home",
            str(tmp_path),
            "status",
            *(["--json"] if as_json else []),
        ]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        asked = []
        waiting = threading.Thread(
            target=lambda: [asked.append(silent.accept()[0]) for _ in range(2)]
        )  # is_served, and the call
        waiting.start()
        waiting.join(60)
        asked[1].recv(1)
        process.send_signal(number)
        out, err = process.communicate(timeout=300)
        for one in asked:
            one.close()
    assert process.returncode == 128 + number
    assert err.split() == [b"Interrupted."]
    if as_json:
        assert json.loads(out)["code"] == "interrupted"
    else:
        assert out == b""
