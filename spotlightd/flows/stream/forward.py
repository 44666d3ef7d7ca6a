"""From the spool to the bus: groups in order, again and again until the bus has acknowledged them.

What was sent once is not sent again, unless the bus lost it: then `again` has everything sent that the spool still
holds, which is all that is not durable in the warehouse. The drain knows repeats by their keys.
"""

from __future__ import annotations

import asyncio
import random
from time import time_ns

from spotlightd.errors import OffsetError, StoreError
from spotlightd.flows.supervise import Reporter
from spotlightd.log import logger
from spotlightd.model.bus import KEY, Records
from spotlightd.model.stream import Stream
from spotlightd.ports.bus import Bus
from spotlightd.ports.metrics import Meters
from spotlightd.tasks import together

FIRST_PAUSE_SECONDS = 0.25
LONGEST_PAUSE_SECONDS = 5.0
GROUP_FRAMES = 10_000
GROUP_BYTES = 4 << 20
GATHER_SECONDS = 0.005  # an empty spool is looked at in vain for so long; what comes wakes the reader at once
BEATS_PER_MINUTE = 20.0  # the bus may take its time to acknowledge


class Forwarding:
    """The flow that sends one stream's frames from the spool's own log, `spooled`, to the bus."""

    def __init__(self, source: Stream, spooled: Bus, bus: Bus, meters: Meters) -> None:
        self._source, self._spooled, self._bus, self._meters = source, spooled, bus, meters
        self._offsets = dict.fromkeys(range(source.partitions), 0)
        self._again = {at: asyncio.Event() for at in range(source.partitions)}

    def again(self) -> None:
        """Send everything again that is not known to be durable in the warehouse."""
        for event in self._again.values():
            event.set()

    async def __call__(self, report: Reporter) -> None:
        report.expects(BEATS_PER_MINUTE)
        partitions = await self._spooled.ends(self._source.name)  # also those of a time when there were more
        for at in partitions:
            self._offsets.setdefault(at, 0)
            self._again.setdefault(at, asyncio.Event())
        await together(
            {f"partition {at}": self._partition(report, at) for at in partitions},
            prefix=f"forward {self._source.name} ",
        )

    async def _partition(self, report: Reporter, at: int) -> None:
        """For ever: from the spool's start, then on from where the bus has acknowledged."""
        failures = 0
        self._again[at].set()
        while True:
            try:
                await self._send(report, at)
            except OffsetError:  # freed meanwhile: what is durable in the warehouse need not be sent
                self._again[at].set()
            except StoreError as problem:
                failures += 1
                report.holding(str(problem))
                self._meters.retried(self._source.name)
                logger(source=self._source.name).warning("forward held", error=str(problem), attempt=failures)
                pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(failures, 6))
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311
            else:
                failures = 0

    async def _send(self, report: Reporter, at: int) -> None:
        """Read on from what the bus has, or from the start of the spool, until that is asked for."""
        start = (await self._spooled.ends(self._source.name))[at].start
        wanted = 0 if self._again[at].is_set() else self._offsets[at]
        self._again[at].clear()
        self._offsets[at] = max(start, wanted)
        async with self._spooled.reading(self._source.name, at, self._offsets[at]) as reading:
            while not self._again[at].is_set():
                records = await reading.next(frames=GROUP_FRAMES, size=GROUP_BYTES, seconds=GATHER_SECONDS)
                if len(records):
                    await self._bus.append(
                        self._source.name, at % self._source.partitions, keys_of(records), records.values
                    )
                    self._offsets[at] = records.offsets[-1] + 1
                    self._meters.lagged(self._source.name, "bus", (time_ns() - received_of(records)) / 1e9)
                report.waiting(f"partition {at} forwarded to offset {self._offsets[at]:,} of the spool")
                report.beat()


def keys_of(records: Records) -> list[bytes]:
    return [records.key(at) for at in range(len(records))]


def received_of(records: Records) -> int:
    """When the first of them was received, in nanoseconds."""
    return int(KEY.unpack(records.key(0))[3])
