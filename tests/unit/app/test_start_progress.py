"""The limit on a child's start follows its progress: many models may take long, and none may take for ever."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from casemate.app import up


@contextmanager
def child(source: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-I", "-c", source], stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def never() -> bool:
    return False


def test_steps_may_take_longer_together_than_one_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(up, "_STEP_TIME", 60.0)
    monkeypatch.setattr(up, "_START_TIME", 5.0)
    steps = "import time\nfor n in range(8):\n print('progress', n, flush=True); time.sleep(0.7)\n"
    with child(steps + "print('ready port=1')") as process:
        assert up._first_word(process, never) == "ready port=1"


def test_lines_that_come_together_are_all_read() -> None:
    with child(r"print('progress 1\nprogress 2\nfailed []\nmore', flush=True); input()") as process:
        assert up._first_word(process, never) == "failed []"


@pytest.mark.parametrize("said", ["", "print('progress 1', flush=True)"])
def test_who_makes_no_progress_is_given_up(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(up, "_START_TIME", 0.3)
    monkeypatch.setattr(up, "_STEP_TIME", 0.3)
    with child(f"import time\n{said}\ntime.sleep(60)") as process:
        assert up._first_word(process, never) == ""


def test_who_ends_without_a_word_is_not_waited_for() -> None:
    with child("print('half a line', end='')") as process:
        assert up._first_word(process, never) == ""


def test_being_told_to_stop_ends_the_wait() -> None:
    with child("import time; time.sleep(60)") as process, pytest.raises(up._Stopped):
        up._first_word(process, lambda: True)
