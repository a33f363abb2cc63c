"""What a gateway serves: a verified model behind walls for each deployment on record, and nothing that is revoked."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import msgspec

from casemate.core import CasemateError, Digest, Environment, Profile, Resource, SandboxError, StorageError
from casemate.gateway import ServedModel, deployment_resource
from casemate.registry import Deployment, Deployments
from casemate.runtime import LiveModel, Pool
from casemate.signing import VerifiedModel, VersionIdentity

_CONVERGE = 120.0  # seconds for a model to be verified, loaded and warmed
_HEED = 5.0  # seconds for a look at the signed state
# Seconds until what storage kept from being loaded is tried again; doubles each time, since a try may read gigabytes.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 30.0

# The keeper is gone, the database busy, memory short, the worker was killed: what no look at the model's bytes can tell.
_PASSING = (StorageError, SandboxError)

_log = logging.getLogger("casemate.gateway")


class _Later(NamedTuple):
    """A load to be tried again: of which entry, when (loop time), after how long a pause, and why it failed."""

    number: int
    due: float
    pause: float
    error: CasemateError


class _Terms(NamedTuple):
    """What a deployment is admitted for. The walls around a live model are these, and not what the record says next."""

    model: VersionIdentity
    environment: Environment
    profile: Profile

    @classmethod
    def of(cls, found: Deployment) -> _Terms:
        return cls(found.model, found.environment, found.profile)


class Fleet:
    """What is served, by deployment. Belongs to one event loop; `converge` and `heed` may be called from any thread.

    What the ledger pauses or revokes answers nobody from the moment that it is read; that waits for no model to load.
    A pause that cannot be read is heeded, too: nothing is served once the last good look is over `stale_after` old.
    """

    def __init__(
        self,
        deployments: Deployments,
        pool: Pool,
        *,
        stale_after: float = 5.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Args: stale_after: seconds."""
        self._deployments, self._pool = deployments, pool
        self._stale_after, self._monotonic = stale_after, monotonic
        self._seen = monotonic()
        self._recorded: dict[str, Deployment] = {}
        self._revoked: frozenset[Digest] = frozenset()
        self._served: dict[str, ServedModel] = {}
        self._live: dict[str, LiveModel] = {}
        self._admitted: dict[str, _Terms] = {}  # what each of these was approved for
        self._asleep: set[str] = set()  # paused, and not admitted again since
        self._failed: dict[str, tuple[int, CasemateError]] = {}  # the entry that could not be carried out, and why
        self._later: dict[str, _Later] = {}  # what failed for no fault of the model's
        self._reading = asyncio.Lock()  # so that nothing older is taken for the newest state
        self._reader = ThreadPoolExecutor(1, "casemate-look")  # loading models may occupy every other thread
        self._switches: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._loop = asyncio.get_running_loop()

    def current(self, name: str) -> ServedModel | None:
        """What `name` serves now. Never blocks. Raises: StorageError `deployments-stale`: no fault of the caller's."""
        if self.age() > self._stale_after:
            raise StorageError(
                "The record of what is paused or revoked cannot be read at the moment: try again soon.",
                code="deployments-stale",
            )
        served, live = self._served.get(name), self._live.get(name)
        if served is not None and live is not None and served.ready != live.ready:
            served = self._served[name] = msgspec.structs.replace(served, ready=live.ready)
        return served

    def recorded(self, name: str) -> Resource | None:
        """What is on record under `name`, whether it is served or not. Never blocks."""
        found = self._recorded.get(name)
        return None if found is None else deployment_resource(name, found.project, found.environment, found.profile)

    def standing(self) -> dict[str, dict[str, Any]]:
        """What answers under each name on record: digest (None: nothing), `ready`, and why not what is on record.

        For any thread. Raises: TimeoutError.
        """

        async def stand() -> dict[str, dict[str, Any]]:
            return {name: self._stands(name) for name in self._recorded}

        return asyncio.run_coroutine_threadsafe(stand(), self._loop).result(_HEED)

    def _stands(self, name: str) -> dict[str, Any]:
        served, later = self.current(name), self._later.get(name)
        failed = self._failed_at(name) >= self._recorded[name].number
        error = self._failed[name][1] if failed else later.error if later else None
        return {
            "digest": served and served.digest,
            "version": served and served.version,
            "ready": served is not None and served.ready,
            "why": f"{error.message} ({error.code})" if error else "",
        }

    def age(self) -> float:
        """Seconds since what is served was last known to be what the newest record allows."""
        return self._monotonic() - self._seen

    def confirm(self) -> None:
        """Nothing came into the record since the last look, says who has just looked."""
        self._seen = self._monotonic()

    def converge(self, name: str, number: int) -> None:
        """Reach what the ledger says of `name` at entry `number` or later.

        Raises: CasemateError: it cannot be served, whoever tried first; SandboxError `rollout-timeout`: not in time, so
            this attempt ended, and what served before serves on.
        """
        reaching = asyncio.run_coroutine_threadsafe(self._reach(name, number), self._loop)
        try:
            reaching.result(_CONVERGE)
        except TimeoutError as error:
            reaching.cancel()
            raise SandboxError(
                f"{name} was not verified, loaded and warm within {_CONVERGE:.0f} s: see the gateway's output.",
                code="rollout-timeout",
            ) from error

    def heed(self) -> None:
        """As `read_record`. Raises: CasemateError; TimeoutError."""
        asyncio.run_coroutine_threadsafe(self.read_record(), self._loop).result(_HEED)

    async def read_record(self) -> None:
        """Read the signed state: what it pauses or revokes answers nobody any more when this returns."""
        async with self._reading:
            read, began = self._loop.run_in_executor, self._monotonic()
            self._recorded = await read(self._reader, self._deployments.all)
            self._revoked = await read(self._reader, self._deployments.revoked)
            self._asleep |= {name for name, found in self._recorded.items() if found.paused}
            for name in self._live:
                self._show(name)
            self._seen = began

    async def follow(self, progress: Callable[[str], None] = lambda _: None) -> None:
        """Reach what the ledger says of every deployment; what cannot be served is logged, and the rest goes on.

        Args: progress: told `N/ALL` before each deployment.
        Raises: Exception: nobody's model was at fault, so it is worth another try.
        """
        await self.read_record()
        trouble: Exception | None = None
        names = list({**self._recorded, **self._live})
        for place, name in enumerate(names, 1):
            progress(f"{place}/{len(names)}")
            found = self._recorded.get(name)
            number = found.number if found else 0
            if found and self._failed_at(name) >= number:
                continue
            if (later := self._later.get(name)) and later.number >= number and self._loop.time() < later.due:
                trouble = later.error
                continue
            try:
                await self._reach(name, number)
            except _PASSING as error:
                trouble = self._put_off(name, number, error)
            except CasemateError as error:
                _log.error("%s is not served: %s (%s)", name, error.message, error.code)
            except Exception as error:  # noqa: BLE001 the other deployments go on
                trouble = error
        if trouble is not None:
            raise trouble

    def _put_off(self, name: str, number: int, error: CasemateError) -> CasemateError:
        before = self._later.get(name)
        pause = min(2 * before.pause, _LONGEST_PAUSE) if before and before.number >= number else _FIRST_PAUSE
        self._later[name] = _Later(number, self._loop.time() + pause, pause, error)
        if pause == _FIRST_PAUSE:
            _log.error("%s is not served yet, and is tried again: %s (%s)", name, error.message, error.code)
        return error

    async def _reach(self, name: str, number: int) -> None:
        """Serve what the newest record says of `name`, once no other change of it is under way."""
        await self.read_record()
        async with self._switches[name]:
            if number and self._failed_at(name) >= number:
                raise self._failed[name][1]
            while (found := self._recorded.get(name)) is not None:
                if self._admitted.get(name) == _Terms.of(found) and (found.paused or name not in self._asleep):
                    return
                await self._load(found)
            await self._drop(name)  # its first deployment failed and was undone

    def _failed_at(self, name: str) -> int:
        """The newest entry of `name` that could not be carried out; 0: none."""
        return self._failed[name][0] if name in self._failed else 0

    async def _load(self, found: Deployment) -> None:
        try:
            admitted, verified = await self._verified(found.name)
            if _Terms.of(admitted) != _Terms.of(found):  # it moved on meanwhile
                verified.close()
                await self.read_record()
                return
            before = self._live.get(found.name)
            if before is not None and before.about == found.model:  # under other terms, which now hold
                verified.close()
            else:
                live = await self._pool.replace(found.name, verified, still_wanted=partial(self._is_recorded, found))
                if live is None:
                    return
                self._live[found.name] = live
            self._admitted[found.name] = _Terms.of(found)
            newest = self._recorded.get(found.name)
            if newest is not None and not newest.paused:
                self._asleep.discard(found.name)
        except _PASSING:
            raise
        except CasemateError as error:
            self._failed[found.name] = found.number, error
            raise
        self._later.pop(found.name, None)
        self._show(found.name)

    async def _verified(self, name: str) -> tuple[Deployment, VerifiedModel]:
        loading = asyncio.ensure_future(asyncio.to_thread(self._deployments.load, name))
        try:
            return await asyncio.shield(loading)
        except asyncio.CancelledError:
            loading.add_done_callback(_discard)
            raise

    async def _is_recorded(self, found: Deployment) -> bool:
        """Whether what was loaded for `found` is what the newest record wants, which may have been undone meanwhile."""
        await self.read_record()
        newest = self._recorded.get(found.name)
        return newest is not None and newest.model == found.model

    async def _drop(self, name: str) -> None:
        self._served.pop(name, None)
        self._live.pop(name, None)
        self._admitted.pop(name, None)
        self._asleep.discard(name)
        await self._pool.stop(name)

    def _show(self, name: str) -> None:
        """Show what lives under `name` as the newest record has it, within what it was admitted for.

        What is not on record answers nobody.
        """
        found, live, served = self._recorded.get(name), self._live[name], self._served.get(name)
        terms = self._admitted[name]
        if found is not None and found.model == live.about:
            self._served[name] = ServedModel(
                name=name,
                version=found.model.number,
                digest=found.model.digest,
                signature=live.signature,
                profile=terms.profile,
                infer=live.infer,
                environment=terms.environment,
                project=found.project,
                paused=found.paused or name in self._asleep or found.digest in self._revoked,
                ready=live.ready,
            )
        elif served is not None and (found is None or found.paused or served.digest in self._revoked):
            self._served[name] = msgspec.structs.replace(served, paused=True)


def _discard(loading: asyncio.Future[tuple[Deployment, VerifiedModel]]) -> None:
    """Nobody waits for this model any longer."""
    if not loading.cancelled() and loading.exception() is None:
        loading.result()[1].close()
