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
    def __init__(self, failures: int, error: Exception) -> None:
        self.followed, self.failures, self.error, self.done = 0, failures, error, asyncio.Event()

    async def follow(self) -> None:
        self.followed += 1
        if self.followed <= self.failures:
            raise self.error
        self.done.set()


async def follow(failures: int, error: Exception) -> int:
    fleet = Fleet(failures, error)
    task = asyncio.create_task(gateway._keep_following(Access(), fleet))
    await asyncio.wait_for(fleet.done.wait(), 20)
    await asyncio.sleep(0.05)  # some more looks
    task.cancel()
    return fleet.followed


@pytest.mark.parametrize(
    ("failures", "error"), [(0, None), (2, StorageError("not now")), (2, OSError("no memory"))], ids=str
)
def test_what_others_had_read_is_followed_once(
    monkeypatch: pytest.MonkeyPatch, failures: int, error: Exception
) -> None:
    monkeypatch.setattr(gateway, "_POLL", 0.001)
    assert asyncio.run(follow(failures, error)) == failures + 1  # a failure is tried again, a success is not


class Growing:
    """A record that gains an entry with each look; some looks fail."""

    def __init__(self) -> None:
        self.snapshot = SimpleNamespace(number=0)
        self.troubles: list[Exception] = [OSError("the disk"), StorageError("the keeper")]

    def refresh(self) -> bool:
        self.snapshot.number += 1
        if self.troubles:
            raise self.troubles.pop()
        return True


class Loading:
    """A fleet whose model loads until the record was read, and heeded, often enough meanwhile."""

    def __init__(self) -> None:
        self.looks, self.enough, self.loaded = 0, asyncio.Event(), asyncio.Event()

    def confirm(self) -> None:
        pass

    async def read_record(self) -> None:
        self.looks += 1
        if self.looks == 5:
            self.enough.set()

    async def follow(self) -> None:
        await self.enough.wait()
        self.loaded.set()


async def watch_while_loading() -> None:
    access, fleet = Growing(), Loading()
    tasks = [
        asyncio.create_task(gateway._keep_reading(access, fleet)),
        asyncio.create_task(gateway._keep_following(access, fleet)),
    ]
    await asyncio.wait_for(fleet.loaded.wait(), 20)
    for task in tasks:
        task.cancel()


def test_the_record_is_read_and_heeded_while_a_model_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "_POLL", 0.001)
    asyncio.run(watch_while_loading())


class Heeding:
    """A fleet that cannot read the record at first."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.troubles = 2
        self.enough = asyncio.Event()

    def confirm(self) -> None:
        self.told.append("confirmed")
        self.enough.set()

    async def read_record(self) -> None:
        if self.troubles:
            self.troubles -= 1
            self.told.append("unread")
            raise StorageError("not now")
        self.told.append("read")


async def watch_with_trouble() -> list[str]:
    fleet = Heeding()
    task = asyncio.create_task(gateway._keep_reading(Access(), fleet))
    await asyncio.wait_for(fleet.enough.wait(), 20)
    task.cancel()
    return fleet.told


def test_a_look_is_confirmed_only_once_the_record_was_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "_POLL", 0.001)
    assert asyncio.run(watch_with_trouble())[:4] == ["unread", "unread", "read", "confirmed"]
