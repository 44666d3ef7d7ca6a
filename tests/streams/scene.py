"""A scene: the real daemon between a venue and a real Kafka, each behind a proxy; faults are done to it in turn."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from aiokafka.admin import AIOKafkaAdminClient
from prometheus_client.parser import text_string_to_metric_families

from spotlightd.demo.exchange import Script, run_exchange
from tests.daemon.process import Daemon
from tests.polling import until
from tests.real.kafka import Kafka, free_ports
from tests.streams.place import Count, Place
from tests.streams.proxy import Proxy, proxying

SHORT_TIMEOUTS = "partitions=2, stale_seconds=2.0, ping_seconds=0.5"


@dataclass
class Scene(Place):
    """A place with a daemon in it."""

    metrics_port: int = 0
    options: dict[str, Any] = field(default_factory=dict)
    _daemon: Daemon | None = None
    _life: AsyncExitStack = field(default_factory=AsyncExitStack)

    @property
    def daemon(self) -> Daemon:
        assert self._daemon
        return self._daemon

    @property
    def kafka(self) -> Kafka:
        assert self.broker
        return self.broker

    @property
    def wires(self) -> Proxy:
        assert self.wire
        return self.wire

    @property
    def lines(self) -> Proxy:
        assert self.line
        return self.line

    async def start(self, *, wait_ready: bool = True, **sections: Any) -> Daemon:
        """Start a daemon and wait until it is ready; without `wait_ready` also one that holds. The last one must have ended."""
        await self._life.aclose()
        self._daemon = await self._life.enter_async_context(self.begun(**self.options | sections))
        if wait_ready:
            return await self._daemon.ready()
        await self._daemon.wait_for("daemon ready")
        return self._daemon

    async def restart(self, **sections: Any) -> Daemon:
        """Kill the daemon and start it again."""
        await self.daemon.kill()
        return await self.start(**sections)

    async def end(self) -> None:
        await self._life.aclose()

    async def recover(self, *, seconds: float = 60.0) -> Count:
        """The fault is over: ticks flow again, and all are accounted for."""
        await self.wait_for_flow(seconds=seconds)
        return await self.settle(seconds=seconds)

    async def wait_until_holding(self, because: str, *, seconds: float = 10.0) -> None:
        """Wait until /readyz answers 503 with that in it, as an alarm would see it."""
        await until(lambda: self.daemon.is_degraded(because), f"/readyz says {because!r}", seconds=seconds, every=0.1)

    async def wait_for_ticks(self, more: int) -> None:
        """Wait until the venue has sent so many more ticks."""
        wanted = len(self.venue.ticks) + more
        await until(lambda: len(self.venue.ticks) >= wanted, f"{more} more ticks", every=0.05)

    @contextmanager
    def frozen_engine(self) -> Iterator[None]:
        """The engine stands still while the block runs."""
        engine = psutil.Process(self.daemon.engine_pid())
        engine.suspend()
        try:
            yield
        finally:
            with suppress(psutil.NoSuchProcess):  # it may have been ended meanwhile
                engine.resume()

    async def wait_until_ready(self, *, seconds: float = 60.0) -> None:
        await until(self.daemon.is_ready, "/readyz answers 200", seconds=seconds, every=0.1)

    async def metric(self, name: str, *labels: str) -> float:
        """One number of /metrics, without `spotlightd_` before its name."""
        async with self.daemon.session.get(f"http://127.0.0.1:{self.metrics_port}/metrics") as answer:
            text = await answer.text()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == f"spotlightd_{name}" and set(labels) <= set(sample.labels.values()):
                    return float(sample.value)
        raise AssertionError(f"/metrics has no {name} {labels}")

    async def loop_lags(self) -> dict[float, float]:
        """The histogram of the event loop's lag, by bucket."""
        async with self.daemon.session.get(f"http://127.0.0.1:{self.metrics_port}/metrics") as answer:
            text = await answer.text()
        return {
            float(sample.labels["le"]): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == "spotlightd_loop_lag_seconds_bucket"
        }

    def drained(self) -> int:
        """Offsets drained in this epoch, of all partitions together."""
        sql = "SELECT sum(offset) FROM positions WHERE source = ? AND epoch = ?"
        return int(self.ledger(sql, self.source, self.epoch())[0][0])

    def epoch(self) -> int:
        return int(self.ledger("SELECT max(number) FROM epochs WHERE source = ?", self.source)[0][0])

    @asynccontextmanager
    async def admin(self) -> AsyncIterator[Any]:
        """Another program at the broker, with Kafka's own tools."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.wires.address)
        await admin.start()
        try:
            yield admin
        finally:
            await admin.close()


@asynccontextmanager
async def run_scene(
    folder: Path,
    broker: Kafka,
    wire_port: int,
    *,
    script: Script | None = None,
    changes: str = SHORT_TIMEOUTS,
    **sections: Any,
) -> AsyncIterator[Scene]:
    """A scene with a topic of its own and a daemon that is ready and receives ticks; it ends with the block."""
    (metrics,) = free_ports(1)
    name = f"made_{secrets.token_hex(4)}"
    async with (
        run_exchange(script or Script(rate=1_000.0, ping_seconds=0.25)) as venue,
        proxying(int(venue.address.rstrip("/").rpartition(":")[2])) as line,
        proxying(broker.ports[0], at=wire_port) as wire,
    ):
        scene = Scene(
            folder, venue, broker, wire, line, name, changes, metrics_port=metrics,
            options={"metrics": {"port": metrics}, **sections},
        )  # fmt: skip
        try:
            await scene.start()
            await scene.wait_for_flow(50)
            yield scene
        finally:
            wire.healthy()
            await scene.end()
            await asyncio.sleep(0)
