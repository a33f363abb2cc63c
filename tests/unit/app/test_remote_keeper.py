"""The keeper over its socket: what one call waits for holds up no other kind of call."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from casemate.app import remote_keeper
from casemate.app.remote_keeper import RemoteKeeper
from casemate.core import StorageError
from casemate.core.wire import Caller, listen, serve_calls


@pytest.fixture(autouse=True)
def _closing(monkeypatch) -> Iterator[None]:
    """A process keeps its connections until it ends; a test does not."""
    made: list[Caller] = []

    def caller(*args, **more) -> Caller:
        made.append(Caller(*args, **more))
        return made[-1]

    monkeypatch.setattr(remote_keeper, "Caller", caller)
    yield
    for one in made:
        one.close()


class Slow:
    """A keeper whose key service answers when it is told to."""

    def __init__(self, path: Path) -> None:
        self.asked, self.answer = threading.Event(), threading.Event()
        methods = {"keys.unwrap": self.unwrap, "ledger.append": self.append, "keys.head": lambda: (7, "x")}
        threading.Thread(target=serve_calls, args=(listen(path), methods), daemon=True).start()

    def unwrap(self, _wrapped: bytes, _context: bytes) -> bytes:
        self.asked.set()
        self.answer.wait(60)
        return b"k"

    def append(self, _entries: list, _intent: str) -> int:
        self.asked.set()
        self.answer.wait(60)
        return 8


@pytest.mark.parametrize("act", [lambda k: k.keys.unwrap(b"w", b"c"), lambda k: k.commit([("a", {})], "i")])
def test_a_look_at_the_head_waits_for_no_key_service_and_no_commit(tmp_path, act) -> None:
    slow, keeper = Slow(tmp_path / "k.sock"), RemoteKeeper(tmp_path / "k.sock")
    busy = threading.Thread(target=act, args=(keeper,))
    busy.start()
    try:
        assert slow.asked.wait(20)
        found: list[int] = []
        look = threading.Thread(target=lambda: found.append(keeper.head().number), daemon=True)
        look.start()
        look.join(20)
        assert found == [7]
    finally:
        slow.answer.set()
        busy.join()


def test_a_key_service_that_never_answers_counts_as_gone(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(remote_keeper, "_UNWRAPPED", 0.05)
    slow, keeper = Slow(tmp_path / "k.sock"), RemoteKeeper(tmp_path / "k.sock")
    with pytest.raises(StorageError) as caught:
        keeper.keys.unwrap(b"w", b"c")
    assert caught.value.code == "not-running"
    slow.answer.set()
