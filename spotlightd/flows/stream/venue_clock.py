"""By how much a venue's clock is off, as its trades show it: the median of the venue's time less that of receipt.

A few trades with a wild time do not move a median. Nobody can tell a clock that is behind from trades that come late, so
the texts say both.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from spotlightd.backoff import Clock
from spotlightd.errors import StoreError
from spotlightd.log import logger
from spotlightd.model.dataset import Dataset
from spotlightd.model.stream import Stream
from spotlightd.ports.metrics import Metrics
from spotlightd.ports.warehouse import Warehouse

EVERY_SECONDS = 10.0
SINCE = timedelta(minutes=2)
LEAST_ROWS = 5  # fewer prove nothing; then the last offset stands
OFFSET = """
SELECT count(), quantile(0.5)(toUnixTimestamp64Micro({time}) - toUnixTimestamp64Micro(received)) FROM {table}
WHERE received >= {{since:DateTime64(6, 'UTC')}} AND source = {{source:String}}
"""


class VenueClock:
    """The clock of one stream's venue. `offset_seconds` is above 0 when it is ahead of ours; None until it is known."""

    def __init__(self, source: Stream, warehouse: Warehouse, metrics: Metrics, clock: Clock | None = None) -> None:
        self._source, self._warehouse, self._metrics = source, warehouse, metrics
        self._clock = clock or Clock()
        self._next = 0.0
        self.offset_seconds: float | None = None

    @property
    def is_off(self) -> bool:
        """Whether the clock is further off than the stream tolerates."""
        return abs(self.offset_seconds or 0.0) > self._source.clock_tolerance_seconds

    async def measure(self) -> None:
        """Measure when it is due. Without the warehouse's answer the last offset stands: nothing depends on it."""
        if self._clock.now() < self._next or not has_two_clocks(self._source.dataset):
            return
        self._next = self._clock.now() + EVERY_SECONDS
        try:
            await self._read()
        except StoreError as problem:
            logger(source=self._source.name).warning("store failed", error=f"the venue's clock is not known: {problem}")

    async def _read(self) -> None:
        dataset, was_off = self._source.dataset, self.is_off
        since = self._clock.utc() - SINCE
        values: dict[str, Any] = {"since": f"{since:%Y-%m-%d %H:%M:%S.%f}", "source": self._source.name}
        rows, micros = (await self._warehouse.rows(OFFSET.format(time=dataset.time, table=dataset.name), values)).rows[
            0
        ]
        if rows < LEAST_ROWS:
            return
        self.offset_seconds = float(micros) / 1e6
        self._metrics.gauge("venue_clock_offset_seconds", self.offset_seconds, source=self._source.name)
        if self.is_off != was_off:
            event = "venue clock drifted" if self.is_off else "venue clock corrected"
            logger(source=self._source.name).warning(event, offset_seconds=round(self.offset_seconds, 3))


def has_two_clocks(dataset: Dataset) -> bool:
    """Whether its rows have the venue's time and the time of receipt."""
    names = {column.name for column in dataset.columns}
    return (
        {"received", "source"} <= names and dataset.time != "received" and dataset.column(dataset.time).kind == "time"
    )
