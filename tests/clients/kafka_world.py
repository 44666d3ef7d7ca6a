"""What the tests of the Kafka client do with a bus."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from spotlightd import StoreError
from spotlightd.clients.kafka.bus import Kafka
from spotlightd.model.bus import Frame, Topic, mark, packed
from spotlightd.settings.sources import BusSettings
from tests.real.kafka import Kafka as Broker

IMPATIENT = 1.0
PATIENCE = 30.0


def opened(broker: Broker, *, seconds: float = 10.0) -> Kafka:
    return Kafka(BusSettings(kind="kafka", servers=[broker.address], request_seconds=seconds))


async def made(bus: Kafka, **wanted: int) -> str:
    topic = f"constructed_{secrets.token_hex(6)}"
    await bus.ensure(Topic(topic, **wanted))
    return topic


def keys_of(topic: str, values: Sequence[bytes]) -> list[bytes]:
    return [packed(mark(topic), Frame(7, at, 1_700_000_000_000_000_000 + at, b"")) for at in range(len(values))]


async def append(bus: Kafka, topic: str, values: Sequence[bytes]) -> None:
    await bus.append(topic, 0, keys_of(topic, values), values)


async def insist(bus: Kafka, topic: str, values: Sequence[bytes]) -> None:
    """As the forwarding does it: again and again, until it is certain."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await append(bus, topic, values)
            except StoreError:
                await asyncio.sleep(0.05)


async def all_of(bus: Kafka, topic: str, offset: int = 0) -> list[bytes]:
    async with bus.reading(topic, 0, offset) as reading:
        return await rest_of(reading)


async def rest_of(reading: Any) -> list[bytes]:
    found: list[bytes] = []
    while group := await reading.next(frames=10_000, size=1 << 24, seconds=0.1, idle_seconds=0.5):
        found += group.values
    return found


async def until(done: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            if await done():
                return
            await asyncio.sleep(0.01)
