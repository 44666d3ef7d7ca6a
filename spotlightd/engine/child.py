"""The engine's process after it was confined: open the engine and serve until the daemon ends."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import Mapping

from spotlightd.engine import server
from spotlightd.engine.configuration import Configuration
from spotlightd.engine.host.ready import Ready
from spotlightd.engine.service import Service
from spotlightd.server.listening import serve_on

SHUTDOWN_SECONDS = 3.0


def serve(configuration: Configuration) -> None:
    asyncio.run(_serve(configuration))


async def _serve(configuration: Configuration) -> None:
    service = Service(configuration)
    listening = socket.socket(fileno=configuration.socket_number)
    listening.setblocking(False)
    async with serve_on(
        [listening], server.make_application(service), server.make_limits(configuration), _report_dropped,
        shutdown_seconds=SHUTDOWN_SECONDS, **server.PROTOCOL_OPTIONS,
    ):  # fmt: skip
        print(Ready(configuration.sandbox, service.handles.detached).to_json(), flush=True)  # noqa: T201  the daemon reads it
        await _wait_for_shutdown()
    await service.close()


def _report_dropped(dropped: Mapping[str, int]) -> None:
    """On standard error: the daemon has the end of it in its log when the engine dies."""
    print(f"connections dropped: {dict(dropped)}", file=sys.stderr, flush=True)  # noqa: T201


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
