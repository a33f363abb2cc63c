"""Which worker serves which deployment, and how one takes over from another."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable

from casemate.core import Clock, SystemClock
from casemate.runtime.config import PoolConfig
from casemate.runtime.live import LiveModel, Sink
from casemate.runtime.spares import Spares
from casemate.signing import VerifiedModel

__all__ = ["Pool", "PoolConfig"]


class Pool:
    """Deployment name -> live model. All methods belong to one event loop.

    Args: sink: takes `worker.started`, `worker.crashed`, `worker.hung` and `worker.stopped`, and must not block.
    """

    def __init__(self, *, sink: Sink, config: PoolConfig | None = None, clock: Clock | None = None) -> None:
        self._sink, self._config, self._clock = sink, config or PoolConfig(), clock or SystemClock()
        self._spares = Spares(self._config)
        self._live: dict[str, LiveModel] = {}
        self._switches: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._retiring: dict[asyncio.Task[None], LiveModel] = {}

    def current(self, name: str) -> LiveModel | None:
        """What serves `name` now. Never blocks."""
        return self._live.get(name)

    async def replace(
        self, name: str, verified: VerifiedModel, *, still_wanted: Callable[[], Awaitable[bool]] | None = None
    ) -> LiveModel | None:
        """Bring up a worker for `verified`, warm; then switch; the old one finishes and ends by itself.

        No request fails: each runs where it began. Takes ownership of `verified`, also on failure.
        Args: still_wanted: asked last; where it says no, nothing switches, the new worker ends, and None is returned.
        Raises: as `LiveModel.start`; the old worker then serves on.
        """
        async with self._switches[name]:
            live = LiveModel(
                name, verified, config=self._config, spares=self._spares, sink=self._sink, clock=self._clock
            )
            try:
                await live.start()
            except BaseException:
                verified.close()
                raise
            if still_wanted is not None:
                wanted = False
                try:
                    wanted = await still_wanted()
                finally:
                    if not wanted:
                        self._retire(live, linger=0.0)
                if not wanted:
                    return None
            old, self._live[name] = self._live.get(name), live
            if old is not None:
                self._retire(old, linger=self._config.linger_seconds)
        return live

    async def stop(self, name: str) -> None:
        """Serve `name` no longer; returns when what was begun is finished. Idempotent."""
        async with self._switches[name]:
            live = self._live.pop(name, None)
            if live is not None:
                await live.retire()

    async def drain(self) -> None:
        """Take nothing new, finish what was begun, end every worker."""
        for name in list(self._live):
            self._retire(self._live.pop(name), linger=0.0)
        for live in self._retiring.values():
            live.hurry()
        await asyncio.gather(*self._retiring, return_exceptions=True)
        await asyncio.get_running_loop().run_in_executor(None, self._spares.close)

    def _retire(self, live: LiveModel, *, linger: float) -> None:
        task = asyncio.get_running_loop().create_task(live.retire(linger=linger))
        self._retiring[task] = live
        task.add_done_callback(lambda done: self._retiring.pop(done, None))
