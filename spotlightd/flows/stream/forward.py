"""From the spool to the bus: groups of frames in order, each retried until the bus acknowledges it.

A frame is sent once. If the bus loses frames, `resend` sends everything that the spool still holds, which is all that
is not durable in the warehouse. The drain recognises repeats by their keys.
"""

from __future__ import annotations

import asyncio
from time import time_ns

from spotlightd.backoff import Backoff
from spotlightd.errors import OffsetError, StoreError
from spotlightd.flows.supervise import Reporter
from spotlightd.log import logger
from spotlightd.model.bus import KEY, Records
from spotlightd.model.stream import Stream
from spotlightd.ports.bus import Bus
from spotlightd.ports.metrics import Metrics
from spotlightd.tasks import run_together

RETRY = Backoff(first=0.5, most=5.0)
GROUP_FRAMES = 10_000
GROUP_BYTES = 4 << 20
GATHER_SECONDS = 0.005  # how long an empty spool is read; a new frame wakes the reader at once
BEATS_PER_MINUTE = 20.0  # the bus may be slow to acknowledge


class Forwarder:
    """The flow that sends one stream's frames from the log of the spool, `spool_log`, to the bus."""

    def __init__(self, source: Stream, spool_log: Bus, bus: Bus, metrics: Metrics) -> None:
        self._source, self._spool_log, self._bus, self._metrics = source, spool_log, bus, metrics
        self._offsets = dict.fromkeys(range(source.partitions), 0)
        self._resend = {partition: asyncio.Event() for partition in range(source.partitions)}

    def resend(self) -> None:
        """Send everything again that is not known to be durable in the warehouse."""
        for event in self._resend.values():
            event.set()

    async def __call__(self, report: Reporter) -> None:
        report.expect_beats(BEATS_PER_MINUTE)
        partitions = await self._spool_log.ends(self._source.name)  # an earlier setting may have had more partitions
        for partition in partitions:
            self._offsets.setdefault(partition, 0)
            self._resend.setdefault(partition, asyncio.Event())
        await run_together(
            {f"partition {partition}": self._forward(report, partition) for partition in partitions},
            prefix=f"forward {self._source.name} ",
        )

    async def _forward(self, report: Reporter, partition: int) -> None:
        """For ever: from the start of the spool, then from the last acknowledged offset."""
        failures = 0
        self._resend[partition].set()
        while True:
            try:
                await self._send(report, partition)
            except OffsetError:  # freed meanwhile, so it is durable in the warehouse already
                self._resend[partition].set()
            except StoreError as problem:
                failures += 1
                report.set_holding(str(problem))
                self._metrics.count("retries_total", source=self._source.name)
                logger(source=self._source.name).warning("forward held", error=str(problem), attempt=failures)
                await asyncio.sleep(RETRY.pause(failures))
            else:
                failures = 0

    async def _send(self, report: Reporter, partition: int) -> None:
        """Send from the last acknowledged offset, or from the start of the spool; return when a resend is requested."""
        start = (await self._spool_log.ends(self._source.name))[partition].start
        offset = 0 if self._resend[partition].is_set() else self._offsets[partition]
        self._resend[partition].clear()
        self._offsets[partition] = max(start, offset)
        async with self._spool_log.open_reader(self._source.name, partition, self._offsets[partition]) as reading:
            while not self._resend[partition].is_set():
                records = await reading.next(frames=GROUP_FRAMES, size=GROUP_BYTES, seconds=GATHER_SECONDS)
                if len(records):
                    await self._bus.append(
                        self._source.name, partition % self._source.partitions, keys_of(records), records.values
                    )
                    self._offsets[partition] = records.offsets[-1] + 1
                    lag = (time_ns() - first_received(records)) / 1e9
                    self._metrics.observe("lag_seconds", lag, source=self._source.name, stage="bus")
                report.set_waiting(
                    f"partition {partition} forwarded to offset {self._offsets[partition]:,} of the spool"
                )
                report.beat()


def keys_of(records: Records) -> list[bytes]:
    return [records.key(index) for index in range(len(records))]


def first_received(records: Records) -> int:
    """When the first record was received, in nanoseconds since 1970."""
    return int(KEY.unpack(records.key(0))[3])
