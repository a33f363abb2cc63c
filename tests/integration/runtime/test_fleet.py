"""What a gateway serves while the record changes: real workers, real models, and a record that the test writes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from types import SimpleNamespace

import models
import msgspec
import numpy as np
import pytest

from casemate.app import fleet as fleet_room
from casemate.app import gateway, rollouts
from casemate.app.fleet import Fleet
from casemate.core import (
    CasemateError,
    Digest,
    Environment,
    NotFoundError,
    PolicyError,
    Profile,
    SandboxError,
    StorageError,
    VerificationError,
)
from casemate.registry import Deployment
from casemate.runtime import Pool, PoolConfig
from casemate.sandbox import Limits
from casemate.signing import VerifiedModel

SMALL = PoolConfig(limits=Limits(memory=512 << 20, file_bytes=0, threads=64), linger_seconds=0.0)
ONE = {"X": np.ones((1, 1), np.float32)}
BROKEN = -1  # the version that does not load


class Record:
    """What the ledger would say, and the versions that it names."""

    def __init__(self, signer: models.Signer) -> None:
        self.signer = signer
        self.recorded: dict[str, Deployment] = {}
        self.gone: frozenset[Digest] = frozenset()
        self.held: set[str] = set()  # names whose loading waits for `go`
        self.go, self.loading = threading.Event(), threading.Event()
        self.loads = 0
        self.number = 0
        self.strict = False  # it stays so: no other profile is admitted
        self.ended = False  # an approval: nothing is admitted

    def version(self, value: int) -> VerifiedModel:
        content = b"\x08not a graph" if value == BROKEN else models.constant_onnx(value)
        return self.signer.verified({"model.onnx": content}, number=abs(value))

    def write(
        self,
        name: str,
        value: int,
        *,
        paused: bool = False,
        profile: Profile = Profile.STANDARD,
        environment: Environment = Environment.DEV,
    ) -> int:
        self.number += 1
        with self.version(value) as version:
            about = version.about
        self.recorded[name] = Deployment(
            name=name,
            project="default",
            environment=environment,
            profile=profile,
            model=about,
            number=self.number,
            since="",
            paused=paused,
        )
        return self.number

    def all(self) -> dict[str, Deployment]:
        return dict(self.recorded)

    def revoked(self) -> frozenset[Digest]:
        return self.gone

    def load(self, name: str) -> tuple[Deployment, VerifiedModel]:
        if name in self.held:
            self.loading.set()
            assert self.go.wait(60)
        found = self.recorded.get(name)
        if found is None:
            raise NotFoundError("gone")
        if self.ended:
            raise PolicyError("An approval ended.", code="not-approved")
        if self.strict and found.profile is not Profile.STRICT:
            raise PolicyError("It stays strict.", code="strict-stays")
        self.loads += 1
        for value in (BROKEN, found.model.number):
            version = self.version(value)
            if version.about == found.model:
                return found, version
            version.close()
        raise AssertionError(found.model)


def with_fleet(
    signer: models.Signer, play: Callable[[Fleet, Record], Awaitable[None]], **more: Callable[[], float]
) -> None:
    async def run() -> None:
        record = Record(signer)
        pool = Pool(sink=lambda _: None, config=SMALL)
        fleet = Fleet(record, pool, **more)  # type: ignore[arg-type]
        try:
            await play(fleet, record)
        finally:
            record.go.set()
            await pool.drain()

    asyncio.run(run())


async def converge(fleet: Fleet, name: str, number: int) -> None:
    await asyncio.to_thread(fleet.converge, name, number)


async def serving(fleet: Fleet, record: Record, value: int, name: str = "live") -> None:
    await converge(fleet, name, record.write(name, value))
    assert await answer(fleet, name) == value


async def answer(fleet: Fleet, name: str = "live") -> float:
    served = fleet.current(name)
    assert served is not None
    assert not served.paused
    return float((await served.infer(ONE, False))["y"].item())


def is_paused(fleet: Fleet, name: str = "live") -> bool:
    served = fleet.current(name)
    return served is not None and served.paused


def test_what_the_follower_could_not_load_is_told_to_whoever_asks_for_it(signer: models.Signer) -> None:
    async def play(fleet: Fleet, record: Record) -> None:
        await serving(fleet, record, 1)
        number = record.write("live", BROKEN)
        await fleet.follow()  # sees it before the control plane asks
        for _ in range(2):
            with pytest.raises(VerificationError) as refused:
                await converge(fleet, "live", number)
            assert refused.value.code == "model-load-failed"
        assert await answer(fleet) == 1
        loads = record.loads
        await fleet.follow()
        assert record.loads == loads  # it is not tried again, either
        await converge(fleet, "live", record.write("live", 1))
        assert await answer(fleet) == 1

    with_fleet(signer, play)


def test_what_is_not_served_says_why(signer: models.Signer) -> None:
    async def play(fleet: Fleet, record: Record) -> None:
        record.write("broken", BROKEN)
        await serving(fleet, record, 1)
        await fleet.follow()
        assert fleet.current("broken") is None
        recorded = fleet.recorded("broken")
        assert recorded is not None
        assert (recorded.name, recorded.environment) == ("broken", Environment.DEV)
        assert fleet.recorded("nothing") is None
        standing = await asyncio.to_thread(fleet.standing)
        assert (standing["broken"]["digest"], standing["broken"]["ready"]) == (None, False)
        assert "model-load-failed" in standing["broken"]["why"]
        assert standing["live"] == {
            "digest": record.recorded["live"].digest,
            "version": 1,
            "ready": True,
            "why": "",
        }
        rows = [record.recorded[name].summary() for name in ("broken", "live")]
        told = {row["name"]: rollouts.observed(row, standing.get(row["name"])) for row in rows}
        assert told["broken"]["state"] == "not serving"
        assert "model-load-failed" in told["broken"]["why"]
        assert told["live"] == rows[1]
        record.write("live", BROKEN)
        await fleet.follow()
        standing = await asyncio.to_thread(fleet.standing)
        told["live"] = rollouts.observed(record.recorded["live"].summary(), standing["live"])
        assert told["live"]["state"] == "serving version 1"
        assert "model-load-failed" in told["live"]["why"]

    with_fleet(signer, play)


def test_a_pause_holds_whatever_version_is_on_record(signer: models.Signer) -> None:
    async def play(fleet: Fleet, record: Record) -> None:
        await serving(fleet, record, 1)
        record.write("live", BROKEN)
        await fleet.follow()
        record.write("live", BROKEN, paused=True)
        loads = record.loads
        await asyncio.to_thread(fleet.heed)
        assert is_paused(fleet)
        assert record.loads == loads
        await converge(fleet, "live", record.write("live", 1))
        assert await answer(fleet) == 1

    with_fleet(signer, play)


def test_a_revoked_version_answers_nobody_whatever_is_on_record(signer: models.Signer) -> None:
    async def play(fleet: Fleet, record: Record) -> None:
        await serving(fleet, record, 1)
        digest = record.recorded["live"].digest
        record.write("live", BROKEN)
        await fleet.follow()
        record.gone = frozenset({digest})
        await asyncio.to_thread(fleet.heed)
        assert is_paused(fleet)
        await fleet.follow()
        record.write("live", 1)
        await fleet.follow()
        assert is_paused(fleet)  # also when the record returns to it

    with_fleet(signer, play)


def test_a_model_that_loads_holds_up_neither_a_pause_nor_another_deployment(signer: models.Signer) -> None:
    async def play(fleet: Fleet, record: Record) -> None:
        await serving(fleet, record, 1)
        await serving(fleet, record, 1, "slow")
        record.held.add("slow")
        number = record.write("slow", 2)
        following = asyncio.create_task(fleet.follow())
        assert await asyncio.to_thread(record.loading.wait, 60)
        await serving(fleet, record, 3)
        record.write("slow", 2, paused=True)
        await asyncio.to_thread(fleet.heed)
        assert is_paused(fleet, "slow")
        assert not following.done()
        record.go.set()
        await following
        await converge(fleet, "slow", number)
        assert is_paused(fleet, "slow")  # the newest record counts, not the one that asked for this load
        await converge(fleet, "slow", record.write("slow", 2))
        assert await answer(fleet, "slow") == 2

    with_fleet(signer, play)


def test_what_was_undone_can_be_deployed_again(signer: models.Signer) -> None:
    async def play(fleet: Fleet, record: Record) -> None:
        await serving(fleet, record, 1)
        undone = record.recorded.pop("live")
        await fleet.follow()
        assert fleet.current("live") is None
        record.recorded["live"] = msgspec.structs.replace(undone, number=undone.number + 2)
        await converge(fleet, "live", undone.number + 2)
        assert await answer(fleet) == 1

    with_fleet(signer, play)


def test_a_trouble_of_the_machine_is_tried_again_and_keeps_no_other_deployment_back(signer: models.Signer) -> None:
    async def play(fleet: Fleet, record: Record) -> None:
        record.write("first", 1)
        record.write("second", 2)
        load = record.load
        troubles = [OSError("no memory")]

        def troubled(name: str) -> tuple[Deployment, VerifiedModel]:
            if name == "first" and troubles:
                raise troubles.pop()
            return load(name)

        record.load = troubled  # type: ignore[method-assign]
        with pytest.raises(OSError, match="no memory"):
            await fleet.follow()
        assert await answer(fleet, "second") == 2
        await fleet.follow()
        assert await answer(fleet, "first") == 1

    with_fleet(signer, play)


@pytest.mark.parametrize(
    "trouble",
    [
        StorageError("The keeper does not answer.", code="not-running"),
        SandboxError("The worker ended.", code="sandbox-killed"),
    ],
    ids=lambda trouble: trouble.code,
)
def test_what_kept_a_model_from_being_loaded_is_tried_again_by_itself(
    trouble: CasemateError, signer: models.Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The very follower, over a record whose number does not change any more."""
    monkeypatch.setattr(gateway, "_POLL", 0.01)
    monkeypatch.setattr(fleet_room, "_FIRST_PAUSE", 0.02)

    async def play(fleet: Fleet, record: Record) -> None:
        await serving(fleet, record, 1)
        number = record.write("live", 2)
        record.write("other", 3)
        load, troubles = record.load, [trouble] * 3

        def troubled(name: str) -> tuple[Deployment, VerifiedModel]:
            if name == "live" and troubles:
                raise troubles.pop()
            return load(name)

        record.load = troubled  # type: ignore[method-assign]
        with pytest.raises(type(trouble)):  # whoever waits for it is told at once
            await converge(fleet, "live", number)
        access = SimpleNamespace(snapshot=SimpleNamespace(number=record.number))
        following = asyncio.create_task(gateway._keep_following(access, fleet))  # type: ignore[arg-type]
        async with asyncio.timeout(60):
            while (served := fleet.current("live")) is None or served.version != 2:  # noqa: ASYNC110 no event tells
                await asyncio.sleep(0.01)
        following.cancel()
        assert await answer(fleet) == 2
        assert await answer(fleet, "other") == 3

    with_fleet(signer, play)


def test_a_load_that_storage_keeps_failing_is_tried_after_pauses(
    signer: models.Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet_room, "_FIRST_PAUSE", 600.0)

    async def play(fleet: Fleet, record: Record) -> None:
        record.write("live", 1)
        tries = []

        def failing(name: str) -> tuple[Deployment, VerifiedModel]:
            tries.append(name)
            raise StorageError("The disk.", code="disk")

        record.load = failing  # type: ignore[method-assign]
        for _ in range(3):
            with pytest.raises(StorageError):
                await fleet.follow()
        assert len(tries) == 1, "the pause had not passed"
        record.write("live", 2)  # a new entry waits for nothing
        with pytest.raises(StorageError):
            await fleet.follow()
        assert len(tries) == 2

    with_fleet(signer, play)


def test_each_deployment_that_is_reached_at_start_is_told(signer: models.Signer) -> None:
    async def play(fleet: Fleet, record: Record) -> None:
        for value, name in ((1, "a"), (BROKEN, "b"), (2, "c")):
            record.write(name, value)
        told: list[str] = []
        await fleet.follow(told.append)
        assert told == ["1/3", "2/3", "3/3"]

    with_fleet(signer, play)


def test_a_deployment_whose_first_version_does_not_load_is_none(signer: models.Signer) -> None:
    async def play(fleet: Fleet, record: Record) -> None:
        number = record.write("live", BROKEN)
        with pytest.raises(CasemateError):
            await converge(fleet, "live", number)
        del record.recorded["live"]
        await converge(fleet, "live", number + 1)
        assert fleet.current("live") is None

    with_fleet(signer, play)


def test_nobody_is_served_once_a_pause_could_not_be_read_for_too_long(signer: models.Signer) -> None:
    now = [0.0]

    async def play(fleet: Fleet, record: Record) -> None:
        await serving(fleet, record, 1)
        read, trouble = record.all, VerificationError("An entry cannot be read.", code="state-unreadable")

        def unreadable() -> dict[str, Deployment]:
            raise trouble

        record.all = unreadable  # type: ignore[method-assign]
        for at, served in ((4.0, True), (6.0, False)):
            now[0] = at
            with pytest.raises(VerificationError):
                await fleet.read_record()
            if served:
                assert await answer(fleet) == 1
            else:
                with pytest.raises(StorageError) as refused:
                    fleet.current("live")
                assert refused.value.code == "deployments-stale"
        record.all = read  # type: ignore[method-assign]
        await fleet.read_record()
        assert await answer(fleet) == 1
        now[0] = 10.9
        fleet.confirm()
        now[0] = 15.0
        assert await answer(fleet) == 1

    with_fleet(signer, play, monotonic=lambda: now[0])


def test_a_rollout_that_takes_too_long_ends_and_harms_nothing_that_serves(
    signer: models.Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def play(fleet: Fleet, record: Record) -> None:
        await serving(fleet, record, 1)
        record.held.add("live")
        number = record.write("live", 2)
        monkeypatch.setattr(fleet_room, "_CONVERGE", 0.2)
        with pytest.raises(SandboxError) as late:
            await converge(fleet, "live", number)
        assert late.value.code == "rollout-timeout"
        monkeypatch.setattr(fleet_room, "_CONVERGE", 120.0)
        record.held.clear()
        record.go.set()
        await converge(fleet, "live", record.write("live", 1))  # no longer held up by the one that ended
        assert await answer(fleet) == 1

    with_fleet(signer, play)


def test_what_was_undone_while_it_loaded_is_not_switched_to(signer: models.Signer) -> None:
    async def play(fleet: Fleet, record: Record) -> None:
        await serving(fleet, record, 1)
        before = fleet.current("live")
        replace = fleet._pool.replace

        async def undone(*args: object, **more: object) -> object:
            record.write("live", 1)  # while the worker starts
            return await replace(*args, **more)  # type: ignore[arg-type]

        monkeypatched = pytest.MonkeyPatch()
        monkeypatched.setattr(fleet._pool, "replace", undone)
        await converge(fleet, "live", record.write("live", 2))
        monkeypatched.undo()
        after = fleet.current("live")
        assert before is not None
        assert after is not None
        assert after.infer == before.infer  # the very worker
        assert await answer(fleet) == 1

    with_fleet(signer, play)


@pytest.mark.parametrize("profile", [Profile.OPEN, Profile.STANDARD])
def test_what_serves_as_strict_is_not_weakened_by_an_entry_that_would_not_be_admitted(
    signer: models.Signer, profile: Profile
) -> None:
    """Whoever writes the ledger alone names the same model under a weaker profile: nothing has to load for that."""

    async def play(fleet: Fleet, record: Record) -> None:
        record.strict = True
        await converge(fleet, "live", record.write("live", 1, profile=Profile.STRICT, environment=Environment.STAGING))
        number = record.write("live", 1, profile=profile, environment=Environment.DEV)
        await fleet.read_record()
        await fleet.follow()
        with pytest.raises(PolicyError, match="stays strict"):
            await converge(fleet, "live", number)
        served = fleet.current("live")
        assert served is not None
        assert (served.profile, served.environment) == (Profile.STRICT, Environment.STAGING)
        assert await answer(fleet) == 1
        record.write("live", 1, profile=profile, paused=True)
        await fleet.read_record()
        assert is_paused(fleet)  # a pause needs nobody's approval

    with_fleet(signer, play)


def test_another_profile_is_admitted_first_and_moves_no_worker(signer: models.Signer) -> None:
    async def play(fleet: Fleet, record: Record) -> None:
        await serving(fleet, record, 1)
        before, loads = fleet.current("live"), record.loads
        await converge(fleet, "live", record.write("live", 1, profile=Profile.STRICT))
        after = fleet.current("live")
        assert before is not None
        assert after is not None
        assert (after.profile, after.infer) == (Profile.STRICT, before.infer)
        assert record.loads == loads + 1

    with_fleet(signer, play)


def test_what_was_paused_answers_again_only_when_it_is_admitted_again(signer: models.Signer) -> None:
    """An approval ended and the deployment was paused: an entry that resumes it is nobody's approval."""

    async def play(fleet: Fleet, record: Record) -> None:
        await converge(fleet, "live", record.write("live", 1, profile=Profile.STRICT))
        before = fleet.current("live")
        record.write("live", 1, profile=Profile.STRICT, paused=True)
        await fleet.read_record()
        assert is_paused(fleet)
        record.ended = True
        number = record.write("live", 1, profile=Profile.STRICT)
        await fleet.read_record()
        assert is_paused(fleet)
        await fleet.follow()
        with pytest.raises(PolicyError, match="ended"):
            await converge(fleet, "live", number)
        assert is_paused(fleet)
        record.ended = False
        await converge(fleet, "live", record.write("live", 1, profile=Profile.STRICT))
        after = fleet.current("live")
        assert before is not None
        assert after is not None
        assert after.infer == before.infer
        assert await answer(fleet) == 1

    with_fleet(signer, play)
