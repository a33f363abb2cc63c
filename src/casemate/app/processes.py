"""The children of `casemate up`: `python -m casemate.app.processes NAME [again]`, settings as JSON on standard input.

Each says `ready ...` on standard output once it serves, or `failed [CODE, MESSAGE]`, and ends on SIGTERM or when its parent dies.
A start of many steps says `progress ...` before each.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import msgspec

from casemate.core import CasemateError, forbid_core_dumps, forbid_reading_memory, refused_by_system
from casemate.settings import Settings, decode_value

AGAIN = "again"  # the second argument of a child that takes the place of one that died
_PR_SET_PDEATHSIG = 1
_OTHER_PORTS = "Free it, or choose others: CASEMATE_DATA_PORT and CASEMATE_CONTROL_PORT, 0 for any."


def main() -> int:
    """Run the process named on the command line."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # to reload, for whoever listens later; to end nothing until then
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="casemate: %(message)s")
    logging.getLogger("casemate").setLevel(logging.INFO)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    forbid_core_dumps()  # of keys, rows and weights
    raise_descriptor_limit()
    settings = msgspec.json.decode(sys.stdin.buffer.read(), type=Settings, dec_hook=decode_value)
    run = {"keeper": _keeper, "control": _control, "gateway": _gateway}[sys.argv[1]]
    try:
        run(settings)
    except (CasemateError, OSError) as error:
        told = error if isinstance(error, CasemateError) else refused_by_system(error)
        hint = f" {_OTHER_PORTS}" if told.code == "cannot-listen" else ""
        _failed(told.message + hint, told.code)
        return 2
    return 0


def raise_descriptor_limit() -> None:
    """As many descriptors as the system allows: often 1024 of them are given, and many more are there for the asking."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


_serving = threading.Event()


def _ready(words: str) -> None:
    _serving.set()
    print(f"ready {words}".strip(), flush=True)  # noqa: T201 the supervisor reads it


def _progress(words: str) -> None:
    print(f"progress {words}", flush=True)  # noqa: T201 the supervisor reads it


def _failed(message: str, code: str) -> None:
    """Say it once: to the supervisor while it waits for us, else into the log."""
    if _serving.is_set():
        logging.getLogger("casemate").error("%s (%s)", message, code)
    else:
        print("failed " + msgspec.json.encode([code, message]).decode(), flush=True)  # noqa: T201


def _keeper(settings: Settings) -> None:
    from casemate.app.keeper import run_keeper

    forbid_reading_memory()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    run_keeper(settings, _ready, stop, _progress, again=AGAIN in sys.argv[2:])


def _control(settings: Settings) -> None:
    from casemate.app.control import build_services, serve_console
    from casemate.app.gateway import SOCKET
    from casemate.app.ground import home_of, keys_folder, open_ground
    from casemate.app.keeper import CONTROL
    from casemate.app.remote_keeper import RemoteKeeper
    from casemate.app.rollouts import RunningGateway
    from casemate.core.wire import listen
    from casemate.doors import TlsFiles, keep_certificates, tls_context

    home = home_of(settings)
    ground = open_ground(settings, RemoteKeeper(home.run / CONTROL), read_only=False)
    public = _listen_tcp(settings.host, settings.control_port)
    files = TlsFiles(home.tls / "server.pem", keys_folder(settings, home) / "tls" / "server.key")
    port = public.getsockname()[1]
    url = settings.control_url or f"https://localhost:{port}"
    services = build_services(ground, RunningGateway(home.run / SOCKET), control_url=url)

    context = tls_context(files)

    async def serve(stop: asyncio.Event, reload: asyncio.Event) -> None:
        reloader = asyncio.create_task(keep_certificates(reload, context, files))
        await serve_console(
            services,
            local=listen(home.run / "control.sock"),
            public=public,
            tls=context,
            stop=stop,
            ready=lambda: _ready(f"port={port} url={_url(settings.host, port)}"),
        )
        reloader.cancel()

    _run_async(serve)


def _gateway(settings: Settings) -> None:
    from casemate.app.gateway import run_gateway

    def ready(words: str) -> None:
        _ready(f"{words} url={_url(settings.host, int(words.removeprefix('port=')))}")

    _run_async(lambda stop, reload: run_gateway(settings, ready, stop, reload, _progress))


def _run_async(serve: Callable[[asyncio.Event, asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    import uvloop

    async def until_stopped() -> None:
        loop, stop, reload = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGHUP, reload.set)
        await serve(stop, reload)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(until_stopped())


def _listen_tcp(host: str, port: int) -> socket.socket:
    from casemate.core import StorageError

    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise StorageError(f"Cannot listen on {host} port {port}: {error.strerror}.", code="cannot-listen") from error


def _url(host: str, port: int) -> str:
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"


if __name__ == "__main__":
    sys.exit(main())
