"""The engine's process after it was confined: open the engine and serve until the daemon ends."""

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
    listening = socket.socket(fileno=configuration.socket_number)
    runner = server.make_runner(service)
    await runner.setup()
    await web.SockSite(runner, listening, shutdown_timeout=SHUTDOWN_SECONDS).start()
    print(json.dumps({"ready": True, "sandbox": configuration.sandbox}), flush=True)  # noqa: T201  the daemon reads it
    await _wait_for_shutdown()
    await runner.cleanup()
    await service.close()


async def _wait_for_shutdown() -> None:
    """Wait for SIGTERM, or for the end of standard input, which ends when the daemon closes it or dies."""
    loop = asyncio.get_running_loop()
    shutdown = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, shutdown.set)
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    watcher = asyncio.create_task(reader.read(), name="watch standard input")
    watcher.add_done_callback(lambda _: shutdown.set())
    await shutdown.wait()
    watcher.cancel()
