"""The gateway reaches each new end of the signed state, also when somebody else had it read first."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from casemate.app import gateway
from casemate.core import StorageError


class Access:
    """Read already, by a call from outside: `refresh` finds nothing new any more."""

    def __init__(self) -> None:
        self.snapshot = SimpleNamespace(number=3)

    def refresh(self) -> bool:
        return False


class Fleet:
    def __init__(self, failures: int = 0) -> None:
        self.followed, self.failures, self.done = 0, failures, asyncio.Event()

    async def follow(self) -> None:
        self.followed += 1
        if self.followed <= self.failures:
            raise StorageError("not now")
        self.done.set()


async def follow(failures: int) -> int:
    fleet = Fleet(failures)
    task = asyncio.create_task(gateway._follow(Access(), fleet))
    await asyncio.wait_for(fleet.done.wait(), 20)
    await asyncio.sleep(0.05)  # some more looks
    task.cancel()
    return fleet.followed


@pytest.mark.parametrize("failures", [0, 2])
def test_what_others_had_read_is_followed_once(monkeypatch: pytest.MonkeyPatch, failures: int) -> None:
    monkeypatch.setattr(gateway, "_POLL", 0.001)
    assert asyncio.run(follow(failures)) == failures + 1  # a failure is tried again, a success is not
