"""The children of `casemate up`: `python -m casemate.app.processes NAME`, settings as JSON on standard input.

Each says `ready ...` on standard output once it serves, and ends on SIGTERM or when its parent dies.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import signal
import socket
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from casemate.core import CasemateError
from casemate.settings import Settings

_PR_SET_PDEATHSIG = 1


def main() -> int:
    """Run the process named on the command line."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="casemate: %(message)s")
    logging.getLogger("casemate").setLevel(logging.INFO)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    settings = msgspec.json.decode(sys.stdin.buffer.read(), type=Settings, dec_hook=lambda kind, value: kind(value))
    run = {"keeper": _keeper, "control": _control, "gateway": _gateway}[sys.argv[1]]
    try:
        run(settings)
    except CasemateError as error:
        logging.getLogger("casemate").error("%s (%s)", error.message, error.code)  # noqa: TRY400 a sentence, not a traceback
        return 2
    return 0


def _ready(words: str) -> None:
    print(f"ready {words}".strip(), flush=True)  # noqa: T201 the supervisor reads it


def _keeper(settings: Settings) -> None:
    from casemate.app.keeper import run_keeper

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    run_keeper(settings, _ready, stop)


def _control(settings: Settings) -> None:
    from casemate.app.control import RunningGateway, build_services, serve_console
    from casemate.app.gateway import SOCKET
    from casemate.app.ground import RemoteKeeper, keys_folder, open_ground
    from casemate.app.keeper import CONTROL
    from casemate.core.wire import Caller, listen
    from casemate.doors import TlsFiles, tls_context
    from casemate.storage import open_home

    home = open_home(settings.home)
    ground = open_ground(settings, RemoteKeeper(home.run / CONTROL), read_only=False)
    services = build_services(ground, RunningGateway(Caller(home.run / SOCKET)))
    public = _listen_tcp(settings.host, settings.control_port)
    files = TlsFiles(home.tls / "server.pem", keys_folder(settings, home) / "tls" / "server.key")
    port = public.getsockname()[1]

    async def serve(stop: asyncio.Event, _: asyncio.Event) -> None:
        await serve_console(
            services,
            local=listen(home.run / "control.sock"),
            public=public,
            tls=tls_context(files),
            stop=stop,
            ready=lambda: _ready(f"port={port} url={_url(settings.host, port)}"),
        )

    _run_async(serve)


def _gateway(settings: Settings) -> None:
    from casemate.app.gateway import run_gateway

    def ready(words: str) -> None:
        _ready(f"{words} url={_url(settings.host, int(words.removeprefix('port=')))}")

    _run_async(lambda stop, reload: run_gateway(settings, ready, stop, reload))


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
