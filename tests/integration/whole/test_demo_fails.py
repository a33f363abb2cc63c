"""A walk that fails says so and leaves nothing behind; a port that is taken is no reason to fail."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from casemate.app.local import init_home
from casemate.cli.demo import stage as stages
from casemate.settings import load_settings


def test_a_failed_walk_does_not_say_that_the_server_stays_up(tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("no home")
    command = [sys.executable, "-m", "casemate", "demo", "--home", str(tmp_path)]
    environment = {**os.environ, "CASEMATE_KEYS": str(tmp_path / "keys")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
    assert done.returncode == 1
    assert "FAILED" in done.stderr
    assert "the server is stopped" in done.stderr
    assert "stays up" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_port_that_was_taken_meanwhile_is_left_to_its_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CASEMATE_KEYS", str(tmp_path / "keys"))
    with socket.create_server(("127.0.0.1", 0)) as owner:
        port = owner.getsockname()[1]
        made = load_settings(home=tmp_path / "home", data_port=port, control_port=0)
        init_home(made)
        first = iter([port, 0])  # as the probe saw the ports, a moment before
        really = stages._free
        monkeypatch.setattr(stages, "_free", lambda host, wanted: next(first, None) or really(host, wanted))
        with stages.Stage(made) as stage:
            assert stage.start().startswith("ready data=https://127.0.0.1:")
            assert not stage.data.endswith(f":{port}")
    assert f"port {port}" in (said := capfd.readouterr().err)
    assert "CASEMATE_DATA_PORT" in said
    assert list((tmp_path / "home" / "run").glob("*.sock")) == []  # a clean stop leaves none
