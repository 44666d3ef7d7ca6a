"""What the tests of streams share: one real Kafka for all of them, and lives that several faults are done to in turn.

With FAULTS_JSON=path what was counted is written down there, for the table in docs/reliability.md (`make faults`).
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from spotlightd.demo.exchange import Script, exchanging
from tests.faults.disk import MIB, Disk, small_disk
from tests.real.kafka import Kafka, KafkaMissingError, free_ports
from tests.streams.place import Count, Place
from tests.streams.scene import Scene, played

RATE = 1_000.0
BROKER_DISK_BYTES = 384 * MIB
Verdict = Callable[..., None]


@dataclass(frozen=True, slots=True)
class Broker:
    """The real Kafka; it tells its clients to come to `wire_port`, where a test has its proxy. `disk` if it is small."""

    kafka: Kafka
    wire_port: int
    disk: Disk | None


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Place]:
    """A venue that makes a thousand ticks a second, and a state folder that no daemon has seen; the embedded bus."""
    async with exchanging(Script(rate=RATE, ping_seconds=0.5)) as venue:
        yield Place(tmp_path, venue)


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    folder = tmp_path_factory.mktemp("kafka")
    with ExitStack() as stack:
        disk: Disk | None = None
        try:
            disk = stack.enter_context(small_disk(folder, BROKER_DISK_BYTES))
        except pytest.skip.Exception:
            disk = None
        try:
            kafka = Kafka(folder)
        except KafkaMissingError as problem:
            pytest.skip(f"no real Kafka: {problem}")
        (wire,) = free_ports(1)
        kafka.properties["advertised.listeners"] = f"PLAIN://127.0.0.1:{wire},LOCKED://{kafka.locked}"
        try:
            with ThreadPoolExecutor(1) as thread:
                thread.submit(asyncio.run, kafka.start()).result()
            yield Broker(kafka, wire, disk)
        finally:
            kafka.kill()


@pytest.fixture
def scene(tmp_path: Path, broker: Broker) -> Callable[..., AbstractAsyncContextManager[Scene]]:
    """Opens a scene of a test's own."""
    return lambda **how: played(tmp_path, broker.kafka, broker.wire_port, **how)


@pytest.fixture(scope="session")
def written() -> Iterator[list[dict[str, object]]]:
    """What was counted, in the order of the tests."""
    counted: list[dict[str, object]] = []
    yield counted
    if path := os.environ.get("FAULTS_JSON"):
        Path(path).write_text(json.dumps(counted, indent=1), encoding="utf-8")


@pytest.fixture
def verdict(request: pytest.FixtureRequest, written: list[dict[str, object]]) -> Verdict:
    """Takes down what became of the ticks under a fault; the count must be good."""

    def taken(fault: str, count: Count, says: str = "") -> None:
        told = {name: len(some) if isinstance(some, tuple) else some for name, some in asdict(count).items()}
        written.append({"fault": fault, "test": request.node.name, "says": says, **told})
        print(f"fault {fault}: {count} {says}")
        assert count.good, str(count)

    return taken
