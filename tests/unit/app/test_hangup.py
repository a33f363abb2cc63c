"""SIGHUP asks a running child to reload, and ends none that still starts."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from casemate.app.up import _Child, _launch
from casemate.settings import load_settings


@pytest.mark.parametrize("name", ["keeper", "control", "gateway"])
def test_a_hangup_during_the_start_ends_nothing(tmp_path: Path, name: str) -> None:
    settings = load_settings({}, home=tmp_path / "none", keys=tmp_path / "keys")
    with (tmp_path / "lock").open("w") as lock:
        child = _Child(name)
        _launch(child, settings, lock.fileno())
        process = child.process
        assert process is not None
        assert process.stdout is not None
        try:
            while process.poll() is None:
                process.send_signal(signal.SIGHUP)
                time.sleep(0.005)
            with process.stdout as said:
                assert said.read().startswith(b'failed ["no-home"')  # the last that it does, whatever ends it then
        finally:
            process.kill()
            process.wait()
    assert signal.SIGHUP not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
