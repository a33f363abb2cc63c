"""Serves the data plane until it is told to stop, then drains."""

from __future__ import annotations

import asyncio
import gc
import ssl

from casemate.doors import Exchange, FrontServer, Recorder, ServerConfig
from casemate.gateway.http import DataPlane


def front_server(
    app: DataPlane, *, recorder: Recorder, tls: ssl.SSLContext | None, config: ServerConfig | None = None
) -> FrontServer:
    """The data plane's own server: refusals before the app are counted, and it says that it is not ready in time."""
    return FrontServer(
        app, tls=tls, config=config, on_refused=recorder.count_early, on_stop=app.drain, exchange=Exchange
    )


async def serve(
    app: DataPlane,
    *,
    recorder: Recorder,
    tls: ssl.SSLContext,
    config: ServerConfig,
    stop: asyncio.Event,
    on_ready: asyncio.Future[int] | None = None,
) -> None:
    """Serve until `stop` is set, then drain. The process should do nothing else.

    Args: on_ready: gets the port once connections are accepted.
    """
    gc.collect()
    gc.freeze()  # what start-up has made stays; walking through it again and again costs a tenth of the throughput
    async with front_server(app, recorder=recorder, tls=tls, config=config) as server:
        if on_ready is not None:
            on_ready.set_result(server.port)
        await stop.wait()
