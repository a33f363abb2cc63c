"""The gateway's process: follows the signed state, and serves what its fleet makes of it."""

from __future__ import annotations

import asyncio
import logging
import ssl
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from casemate.app.fleet import Fleet
from casemate.app.ground import audience_of, home_of, keys_folder, open_ground
from casemate.app.keeper import GATEWAY, deployed_keys
from casemate.app.remote_keeper import RemoteKeeper
from casemate.app.tokens import GatewayTokens
from casemate.core import CasemateError, Clock, Event, Principal, StorageError
from casemate.core.wire import listen, serve_calls
from casemate.doors import ServerConfig, TlsFiles, keep_certificates, tls_context, trust_clients
from casemate.gateway import LimitsConfig, Rate, Recorder, RecorderConfig, build_app, serve
from casemate.iam import MAX_RATE, MIN_RATE, Access, Authorizer, Policies
from casemate.iam.tokens.certificates import anchors_of
from casemate.iam.tokens.verifier import TokenVerifier
from casemate.registry import Deployments
from casemate.runtime import Pool, PoolConfig
from casemate.settings import Settings

SOCKET = "gateway.sock"
_POLL = 0.2  # seconds between two looks at the signed state: how late a revocation may come
_STALE = 5.0  # seconds without a look after which nobody is let in

_log = logging.getLogger("casemate.gateway")


async def run_gateway(
    settings: Settings,
    ready: Callable[[str], None],
    stop: asyncio.Event,
    reload: asyncio.Event,
    progress: Callable[[str], None],
) -> None:
    """Serve predictions until `stop` is set, then drain. `reload`: read certificates again. `progress`: of the start."""
    home = home_of(settings)
    ground = open_ground(settings, RemoteKeeper(home.run / GATEWAY, deployed_keys), read_only=True)
    access = Access(ground.ledger)
    access.refresh()
    policies = Policies()
    on_ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    tokens = GatewayTokens(
        access=access,
        keeper=ground.keeper.tokens,
        issuer=lambda: settings.data_url or _own_url(settings.host, on_ready),
        audience=audience_of(home),
        clock=ground.clock,
    )
    authorizer = tokens.authorizer = Authorizer(
        access=access, policies=policies, clock=ground.clock, stale_after=_STALE, tokens=TokenVerifier(own=tokens)
    )
    with Recorder(ground.keeper.sink, RecorderConfig(wait=settings.audit_wait), clock=ground.clock) as recorder:
        pool = Pool(
            sink=lambda event: _put(recorder, event),
            config=PoolConfig(insecure_no_sandbox=settings.insecure_no_sandbox),
            clock=ground.clock,
        )
        fleet = Fleet(Deployments(ground.stores), pool, stale_after=_STALE)
        reader = asyncio.create_task(_keep_reading(access, fleet))  # from now on: the models take their time
        with suppress(StorageError):  # logged; the follower tries again, and the other deployments are served
            await fleet.follow(progress)
        follower = asyncio.create_task(_keep_following(access, fleet))
        methods = {
            "converge": fleet.converge,
            "heed": fleet.heed,
            "standing": fleet.standing,
            "refresh": access.refresh,
        }
        threading.Thread(target=serve_calls, args=(listen(home.run / SOCKET), methods), daemon=True).start()

        files = TlsFiles(home.tls / "server.pem", keys_folder(settings, home) / "tls" / "server.key")
        context = tls_context(files)
        reloader = asyncio.create_task(keep_certificates(reload, context, files))
        app = build_app(
            authenticate=authorizer.authenticate,
            authorize=authorizer.decide,
            rate_of=lambda principal: rate_of(access, principal),
            deployments=fleet,
            recorder=recorder,
            limits=LimitsConfig(address_rate=Rate(settings.address_rate, 2 * settings.address_rate)),
            clock=ground.clock,
            monotonic=time.monotonic,
            is_ready=lambda: max(access.age(), fleet.age()) <= _STALE and not access.unreadable,
            tokens=tokens,
        )
        clients = asyncio.create_task(_follow_clients(access, context, ground.clock))
        keys = asyncio.create_task(tokens.follow())
        server = ServerConfig(host=settings.host, port=settings.data_port)
        on_ready.add_done_callback(lambda port: ready(f"port={port.result()}"))
        await serve(app, recorder=recorder, tls=context, config=server, stop=stop, on_ready=on_ready)

        for task in (reader, follower, reloader, clients, keys):
            task.cancel()
        await pool.drain()


def rate_of(access: Access, principal: Principal) -> Rate | None:
    """The key's own limit; a burst of one second's worth."""
    credential = access.snapshot.credentials.get(principal.credential)
    if credential is None or credential.rate is None:
        return None
    rate = min(max(credential.rate, MIN_RATE), MAX_RATE)  # an earlier release checked less
    return Rate(rate, max(1.0, rate))


def _put(recorder: Recorder, event: Event) -> None:
    try:
        recorder.put(event)
    except CasemateError as error:
        _log.error("an event of a worker could not be recorded: %s", error.message)


async def _keep_reading(access: Access, fleet: Fleet) -> None:
    """Read who may do what, and what is paused or revoked. Waits for no model, so that neither grows stale."""
    seen = 0
    with ThreadPoolExecutor(1, "casemate-access") as thread:

        async def read() -> None:
            nonlocal seen
            await asyncio.get_running_loop().run_in_executor(thread, access.refresh)
            number = access.snapshot.number
            if number != seen:
                await fleet.read_record()
                seen = number
            else:
                fleet.confirm()

        await _again_and_again(read)


async def _keep_following(access: Access, fleet: Fleet) -> None:
    """Serve what each new end of the signed state says, whoever read it first: a `refresh` from outside reads it, too."""
    followed = 0

    async def follow() -> None:
        nonlocal followed
        number = access.snapshot.number
        if number != followed:
            await fleet.follow()
            followed = number

    await _again_and_again(follow)


async def _follow_clients(access: Access, context: ssl.SSLContext, clock: Clock) -> None:
    """Ask clients for the certificates that the ledger binds."""
    asked: frozenset[str] = frozenset()

    async def follow() -> None:
        nonlocal asked
        wanted = anchors_of(access, access.instant(clock.now()))
        if wanted != asked:
            trust_clients(context, wanted)
            asked = wanted

    await _again_and_again(follow)


def _own_url(host: str, port: asyncio.Future[int]) -> str:
    """Where this gateway listens. Raises: StorageError: it does not yet."""
    if not port.done():
        raise StorageError("The gateway is starting.", code="not-ready")
    name = "localhost" if host in ("127.0.0.1", "::1", "0.0.0.0", "::") else host  # noqa: S104 compared, not bound
    return f"https://{name}:{port.result()}"


async def _again_and_again(act: Callable[[], Awaitable[None]]) -> None:
    """Every `_POLL` seconds, whatever happens: a trouble is logged once, not once a second."""
    told = ""
    while True:
        await asyncio.sleep(_POLL)
        try:
            await act()
            told = ""
        except Exception as error:  # noqa: BLE001 nobody else would start it again
            code = error.code if isinstance(error, CasemateError) else type(error).__name__
            if told != code:
                _log.error("the signed state cannot be followed: %s (%s)", error, code)
            told = code
