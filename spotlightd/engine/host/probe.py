"""Asks the engine whether it answers, over the socket of its clients: a process that lives may be stopped or hang.

Each probe is a new connection, because an engine that accepts none is as deaf as one that hangs. The engine answers when
it has run a statement (`Service.ping`).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

REQUEST = b"GET /ping HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Probing:
    """A pause between two probes, the longest wait for an answer, and how many probes in a row may stay without one."""

    pause_seconds: float
    answer_seconds: float
    misses: int

    @property
    def silent_seconds(self) -> float:
        """How long an engine was silent that is deaf."""
        return self.misses * self.answer_seconds


WHILE_RUNNING = Probing(pause_seconds=2.0, answer_seconds=5.0, misses=3)
"""An engine is deaf 17 s after its last answer at the latest. Three probes, because one is lost when the whole machine
was asleep: its time was over before the engine could answer.
"""
WHILE_STOPPING = Probing(pause_seconds=0.5, answer_seconds=1.5, misses=2)
"""The daemon has 10 s to end, and its flows wait for the engine."""


async def wait_until_deaf(address: tuple[str, int], probing: Probing) -> None:
    """Return when so many probes in a row got no answer."""
    missed = 0
    while missed < probing.misses:
        if not missed:
            await asyncio.sleep(probing.pause_seconds)
        missed = 0 if await is_answered(address, probing.answer_seconds) else missed + 1


async def is_answered(address: tuple[str, int], seconds: float) -> bool:
    """Whether a probe over a new connection is answered in time."""
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_connection(*address)
            writer.write(REQUEST)
            return (await reader.readline()).startswith(b"HTTP/1.1 200")
    except (OSError, TimeoutError):
        return False
    finally:
        if writer is not None:
            writer.close()
