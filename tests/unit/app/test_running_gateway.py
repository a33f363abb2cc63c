"""The control plane asks a gateway: an emergency waits for no model, and for no gateway that is silent."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from casemate.app import rollouts
from casemate.core import StorageError
from casemate.core.wire import listen, serve_calls


class Loading:
    """A gateway in which `slow` loads until it is let go."""

    def __init__(self) -> None:
        self.loading, self.go, self.heeded, self.refreshed = (threading.Event() for _ in range(4))

    def converge(self, name: str, number: int) -> None:
        del number
        if name == "slow":
            self.loading.set()
            assert self.go.wait(60)


def test_a_model_that_loads_holds_up_nothing_else(tmp_path: Path) -> None:
    gateway = Loading()
    methods = {"converge": gateway.converge, "heed": gateway.heeded.set, "refresh": gateway.refreshed.set}
    listener = listen(tmp_path / "g")
    threading.Thread(target=serve_calls, args=(listener, methods), daemon=True).start()
    with closing(rollouts.RunningGateway(tmp_path / "g")) as running, ThreadPoolExecutor(1) as other:
        try:
            slow = other.submit(running.converge, "slow", 1)
            assert gateway.loading.wait(20)
            running.heed()
            running.refresh()
            running.converge("quick", 2)
            assert gateway.heeded.is_set()
            assert gateway.refreshed.is_set()
            assert not slow.done()
        finally:
            gateway.go.set()
        slow.result(20)
    listener.close()


def test_a_silent_gateway_is_not_waited_for_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollouts, "_SOON", 0.05)
    silent = listen(tmp_path / "g")  # accepts, and answers nothing
    with silent, closing(rollouts.RunningGateway(tmp_path / "g")) as running:
        with pytest.raises(StorageError):
            running.heed()
        running.refresh()  # it stands on record, and a gateway looks by itself
