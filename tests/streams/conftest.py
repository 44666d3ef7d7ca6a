"""What the tests of streams share: one real Kafka for all of them, and daemons that meet several faults in turn.

With FAULTS_JSON=path the counts are written to that file, for the table in docs/reliability.md (`make faults`).
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

from spotlightd.demo.exchange import Script, run_exchange
from tests.faults.disk import MIB, Disk, small_disk
from tests.real.kafka import Kafka, KafkaMissingError, free_ports
from tests.streams.place import Count, Place
from tests.streams.scene import Scene, run_scene

RATE = 1_000.0
BROKER_DISK_BYTES = 384 * MIB
Verdict = Callable[..., None]


@dataclass(frozen=True, slots=True)
class Broker:
    """The real Kafka. It advertises `wire_port`, where a test has its proxy. `disk` is its small disk, if there is one."""

    kafka: Kafka
    wire_port: int
    disk: Disk | None


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    """A venue that sends a thousand ticks a second, and an empty state folder; the embedded bus."""
    async with run_exchange(Script(rate=RATE, ping_seconds=0.5)) as venue:
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
    return lambda **how: run_scene(tmp_path, broker.kafka, broker.wire_port, **how)


@pytest.fixture(scope="session")
def counts() -> Iterator[list[dict[str, object]]]:
    """What was counted, in the order of the tests."""
    counts: list[dict[str, object]] = []
    yield counts
    if path := os.environ.get("FAULTS_JSON"):
        Path(path).write_text(json.dumps(counts, indent=1), encoding="utf-8")


@pytest.fixture
def verdict(request: pytest.FixtureRequest, counts: list[dict[str, object]]) -> Verdict:
    """Records the count of the ticks under a fault, which must be good."""

    def record(fault: str, count: Count, note: str = "") -> None:
        numbers = {name: len(value) if isinstance(value, tuple) else value for name, value in asdict(count).items()}
        counts.append({"fault": fault, "test": request.node.name, "note": note, **numbers})
        print(f"fault {fault}: {count} {note}")
        assert count.is_good, str(count)

    return record
