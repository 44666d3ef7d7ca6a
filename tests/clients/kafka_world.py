"""Helpers of the tests of the Kafka client."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from spotlightd import StoreError
from spotlightd.clients.kafka.bus import Kafka
from spotlightd.model.bus import Frame, Topic, pack_key, source_mark
from spotlightd.settings.sources import BusSettings
from tests.real.kafka import Kafka as Broker

SHORT_SECONDS = 1.0
WAIT_SECONDS = 30.0


def open_bus(broker: Broker, *, seconds: float = 10.0) -> Kafka:
    return Kafka(BusSettings(kind="kafka", servers=[broker.address], request_seconds=seconds))


async def create_topic(bus: Kafka, **settings: int) -> str:
    topic = f"constructed_{secrets.token_hex(6)}"
    await bus.ensure(Topic(topic, **settings))
    return topic


def make_keys(topic: str, values: Sequence[bytes]) -> list[bytes]:
    return [
        pack_key(source_mark(topic), Frame(7, sequence, 1_700_000_000_000_000_000 + sequence, b""))
        for sequence in range(len(values))
    ]


async def append(bus: Kafka, topic: str, values: Sequence[bytes]) -> None:
    await bus.append(topic, 0, make_keys(topic, values), values)


async def append_until_certain(bus: Kafka, topic: str, values: Sequence[bytes]) -> None:
    """Append again and again until it succeeds, as the forwarder does."""
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            try:
                return await append(bus, topic, values)
            except StoreError:
                await asyncio.sleep(0.05)


async def read_all(bus: Kafka, topic: str, offset: int = 0) -> list[bytes]:
    """The records from that offset up to the end as it is now."""
    count = (await bus.ends(topic))[0].end - offset
    values: list[bytes] = []
    async with asyncio.timeout(WAIT_SECONDS), bus.open_reader(topic, 0, offset) as reader:
        while len(values) < count:
            values += (await reader.next(frames=10_000, size=1 << 24, seconds=0.1)).values
    return values


async def read_rest(reader: Any) -> list[bytes]:
    values: list[bytes] = []
    while group := await reader.next(frames=10_000, size=1 << 24, seconds=0.1, idle_seconds=0.5):
        values += group.values
    return values


async def wait_until(is_done: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            if await is_done():
                return
            await asyncio.sleep(0.01)
