"""Workers in reserve: taken once, replaced, and gone with their pool."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import models
import pytest

from casemate.core import ServedFile, VerificationError
from casemate.runtime import PoolConfig
from casemate.runtime.spares import Spares
from casemate.sandbox import Cell, Limits

SERVED = ServedFile(path="model.onnx", runtime="onnx")
CONFIG = PoolConfig(limits=Limits(memory=512 << 20, file_bytes=0, threads=64))


@pytest.fixture
def spares() -> Iterator[Spares]:
    made = Spares(CONFIG)
    yield made
    made.close()


def start(spares: Spares, contents: bytes) -> int:
    """The worker's process; it is ended."""
    with models.seal_bytes([contents]) as file, spares.start_worker({"model.onnx": file}, SERVED).cell as cell:
        return cell.pid


def idle(spares: Spares) -> Cell:
    """The spare, once it stands."""
    for thread in threading.enumerate():
        if thread.name == "casemate-spare":
            thread.join(60)
    return spares._idle["onnx"]


def is_gone(pid: int) -> bool:
    """Whether it has ended: another process may have its number by now, and a parent may be late to bury it."""
    try:
        return b"casemate.sandbox.boot" not in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_spare_stands_after_the_first_start_and_each_is_used_once(spares: Spares) -> None:
    used = [start(spares, models.constant_onnx(4))]
    for _ in range(2):
        waiting = idle(spares)
        assert waiting.walls[:4] == ("privileges", "limits", "landlock", "seccomp")
        used.append(start(spares, models.constant_onnx(4)))
        assert used[-1] == waiting.pid
    assert len(set(used)) == 3


def test_a_spare_that_a_bad_model_was_given_to_is_ended_not_kept(spares: Spares) -> None:
    start(spares, models.constant_onnx(4))
    given = idle(spares)
    with pytest.raises(VerificationError):
        start(spares, b"no model")
    assert not given.alive
    assert idle(spares).pid != given.pid


def test_a_spare_that_died_meanwhile_is_passed_over(spares: Spares) -> None:
    start(spares, models.constant_onnx(4))
    dead = idle(spares)
    os.kill(dead.pid, signal.SIGKILL)
    dead.wait(10)
    assert start(spares, models.constant_onnx(4)) != dead.pid


@pytest.mark.parametrize("wait", [idle, lambda _: None], ids=["standing", "under way"])
def test_none_outlives_its_pool(spares: Spares, wait: Callable[[Spares], object]) -> None:
    start(spares, models.constant_onnx(4))
    wait(spares)
    made = list(spares._idle.values())
    assert not any(is_gone(cell.pid) for cell in made)
    spares.close()
    for thread in threading.enumerate():
        if thread.name == "casemate-spare":
            thread.join(60)
    assert all(is_gone(cell.pid) for cell in made)
    assert not spares._idle
