"""The gateway's process: follows the signed state, keeps a verified model behind walls for each deployment, serves."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from functools import partial

import msgspec

from casemate.app.ground import Ground, RemoteKeeper, keys_folder, open_ground
from casemate.app.keeper import GATEWAY, deployed_keys
from casemate.core import CasemateError, Event, NotFoundError, Principal
from casemate.core.wire import listen, serve_calls
from casemate.doors import ServerConfig, TlsFiles, reload_certificates, tls_context
from casemate.gateway import (
    LimitsConfig,
    Rate,
    Recorder,
    RecorderConfig,
    ServedModel,
    build_app,
    serve,
)
from casemate.iam import Access, Authorizer, Policies
from casemate.registry import Deployment, Deployments
from casemate.runtime import LiveModel, Pool, PoolConfig
from casemate.settings import Settings
from casemate.storage import open_home

SOCKET = "gateway.sock"
_POLL = 0.2  # seconds between two looks at the signed state: how late a revocation may come
_STALE = 5.0  # seconds without a look after which nobody is let in
_CONVERGE = 120.0  # seconds for a model to be verified, loaded and warmed

_log = logging.getLogger("casemate.gateway")


class Fleet:
    """What is served, by deployment. Belongs to one event loop; `converge` may be called from any thread."""

    def __init__(self, deployments: Deployments, pool: Pool) -> None:
        self._deployments, self._pool = deployments, pool
        self._served: dict[str, ServedModel] = {}
        self._live: dict[str, LiveModel] = {}
        self._number: dict[str, int] = {}
        self._lock = asyncio.Lock()
        self._loop = asyncio.get_running_loop()

    def current(self, name: str) -> ServedModel | None:
        """What `name` serves now. Never blocks."""
        served, live = self._served.get(name), self._live.get(name)
        if served is not None and live is not None and served.ready != live.ready:
            served = self._served[name] = msgspec.structs.replace(served, ready=live.ready)
        return served

    def converge(self, name: str, number: int) -> None:
        """Reach what the ledger says of `name` at entry `number` or later. Raises: CasemateError: it cannot be served."""
        asyncio.run_coroutine_threadsafe(self._reach(name, number), self._loop).result(_CONVERGE)

    async def follow(self) -> None:
        """Reach what the ledger says of every deployment; what cannot be served is logged, and the rest goes on."""
        for name, found in (await asyncio.to_thread(self._deployments.all)).items():
            if self._number.get(name) != found.number:
                try:
                    await self._reach(name, found.number)
                except CasemateError as error:
                    self._number[name] = found.number
                    _log.error("%s is not served: %s (%s)", name, error.message, error.code)

    async def _reach(self, name: str, number: int) -> None:
        async with self._lock:
            if self._number.get(name, 0) >= number:
                return
            try:
                found = await asyncio.to_thread(self._deployments.find, name)
            except NotFoundError:  # its first deployment failed and was undone
                self._served.pop(name, None)
                await self._pool.stop(name)
                return
            live = self._live.get(name)
            if live is None or live.about != found.model:
                live = await self._load(found)
            self._show(found, live)

    async def _load(self, found: Deployment) -> LiveModel:
        _, verified = await asyncio.to_thread(self._deployments.load, found.name)
        if verified.about != found.model:
            verified.close()
            raise NotFoundError(f"{found.name} moved on meanwhile.", code="moved-on")
        return await self._pool.replace(found.name, verified)

    def _show(self, found: Deployment, live: LiveModel) -> None:
        self._live[found.name], self._number[found.name] = live, found.number
        self._served[found.name] = ServedModel(
            name=found.name,
            version=found.model.number,
            digest=found.model.digest,
            signature=live.signature,
            profile=found.profile,
            infer=live.infer,
            environment=found.environment,
            project=found.project,
            paused=found.paused,
            ready=live.ready,
        )


async def run_gateway(
    settings: Settings, ready: Callable[[str], None], stop: asyncio.Event, reload: asyncio.Event
) -> None:
    """Serve predictions until `stop` is set, then drain. `reload`: read certificates and policies again."""
    home = open_home(settings.home)
    ground = open_ground(settings, RemoteKeeper(home.run / GATEWAY, deployed_keys), read_only=True)
    access = Access(ground.ledger)
    access.refresh()
    policies = Policies()
    authorizer = Authorizer(access=access, policies=policies, clock=ground.clock, stale_after=_STALE)
    config = RecorderConfig(wait=settings.audit_wait)
    with _recorder(ground, config) as recorder:
        pool = Pool(
            sink=lambda event: _put(recorder, event),
            config=PoolConfig(insecure_no_sandbox=settings.insecure_no_sandbox),
            clock=ground.clock,
        )
        fleet = Fleet(Deployments(ground.stores), pool)
        await fleet.follow()
        app = build_app(
            authenticate=authorizer.authenticate,
            authorize=authorizer.decide,
            rate_of=lambda principal: rate_of(access, principal),
            deployments=fleet,
            recorder=recorder,
            limits=LimitsConfig(address_rate=Rate(settings.address_rate, 2 * settings.address_rate)),
            clock=ground.clock,
            monotonic=time.monotonic,
        )
        files = TlsFiles(home.tls / "server.pem", keys_folder(settings, home) / "tls" / "server.key")
        context = tls_context(files)
        listener = listen(home.run / SOCKET)
        methods = {"converge": fleet.converge, "refresh": access.refresh}
        threading.Thread(target=serve_calls, args=(listener, methods), daemon=True).start()
        on_ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        on_ready.add_done_callback(lambda port: ready(f"port={port.result()}"))
        follower = asyncio.create_task(_follow(access, fleet))
        reloader = asyncio.create_task(_reload(reload, partial(reload_certificates, context, files)))
        server = ServerConfig(host=settings.host, port=settings.data_port)
        await serve(app, recorder=recorder, tls=context, config=server, stop=stop, on_ready=on_ready)
        for task in (follower, reloader):
            task.cancel()
        await pool.drain()


def rate_of(access: Access, principal: Principal) -> Rate | None:
    """The key's own limit; a burst of one second's worth."""
    credential = access.snapshot.credentials.get(principal.credential)
    if credential is None or credential.rate is None:
        return None
    return Rate(credential.rate, max(1.0, credential.rate))


def _recorder(ground: Ground, config: RecorderConfig) -> Recorder:
    return Recorder(ground.keeper.sink, config, clock=ground.clock)


def _put(recorder: Recorder, event: Event) -> None:
    try:
        recorder.put(event)
    except CasemateError as error:
        _log.error("an event of a worker could not be recorded: %s", error.message)


async def _follow(access: Access, fleet: Fleet) -> None:
    """Reach each new end of the signed state, whoever read it first: a `refresh` from outside reads it, too."""
    followed = 0
    while True:
        await asyncio.sleep(_POLL)
        try:
            await asyncio.to_thread(access.refresh)
            number = access.snapshot.number
            if number != followed:
                await fleet.follow()
                followed = number
        except CasemateError as error:
            _log.error("the signed state cannot be read: %s (%s)", error.message, error.code)


async def _reload(asked: asyncio.Event, act: Callable[[], None]) -> None:
    while True:
        await asked.wait()
        asked.clear()
        try:
            act()
        except CasemateError as error:
            _log.error("not reloaded: %s (%s)", error.message, error.code)
