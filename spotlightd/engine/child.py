"""The engine's process once it is confined: open the engine, serve until the daemon goes away."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys

from aiohttp import web

from spotlightd.engine import server
from spotlightd.engine.configuration import Configuration
from spotlightd.engine.service import Service

SHUTDOWN_SECONDS = 3.0


def serve(configuration: Configuration) -> None:
    asyncio.run(_serve(configuration))


async def _serve(configuration: Configuration) -> None:
    service = Service(configuration)
    listening = socket.socket(fileno=configuration.listening)
    runner = server.runner(service)
    await runner.setup()
    await web.SockSite(runner, listening, shutdown_timeout=SHUTDOWN_SECONDS).start()
    print(json.dumps({"ready": True, "sandbox": configuration.sandbox}), flush=True)  # noqa: T201  the daemon reads it
    await _until_told()
    await runner.cleanup()
    await service.close()


async def _until_told() -> None:
    """Wait for SIGTERM, or for the end of standard input: the daemon closes it, or died."""
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, over.set)
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    ended = asyncio.create_task(reader.read(), name="watch standard input")
    ended.add_done_callback(lambda _: over.set())
    await over.wait()
    ended.cancel()
