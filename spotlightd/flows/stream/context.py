"""What all drains of a daemon work with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from spotlightd.audience import Audience
from spotlightd.flows.gate import Gate
from spotlightd.flows.stream.parts import Parts
from spotlightd.model.bus import Records
from spotlightd.model.stream import Stream
from spotlightd.ports.bus import Bus, PartitionReader, Spool
from spotlightd.ports.ledger import Positions
from spotlightd.ports.metrics import Metrics
from spotlightd.ports.warehouse import Warehouse
from spotlightd.settings.sources import StreamsSettings
from spotlightd.sql.tiers import Archives, NoArchives

Trim = Callable[[Stream, Mapping[int, int]], Awaitable[None]]
Resend = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class DrainContext:
    """`trim` frees drained records of the embedded log. `resend` makes the spool of a stream send again what it holds.
    Both are None where they do not apply. `gate` holds the work while the disk of the tables is too full.
    """

    bus: Bus
    spool: Spool
    warehouse: Warehouse
    positions: Positions
    parts: Parts
    metrics: Metrics
    settings: StreamsSettings
    trim: Trim | None = None
    resend: Resend | None = None
    gate: Gate = field(default_factory=Gate)
    archives: Archives = NoArchives()
    audience: Audience = field(default_factory=Audience)

    @property
    def batch_seconds(self) -> float:
        """How long a batch may fill up now. A batch costs the same processor time, whether it has one frame or a thousand."""
        seconds = self.settings.batch_seconds
        return min(seconds, self.settings.watched_batch_seconds) if self.audience.size else seconds

    async def read_batch(self, reader: PartitionReader) -> Records:
        """The next batch, empty when nothing came for a second."""
        settings = self.settings
        return await reader.next(frames=settings.batch_frames, size=settings.batch_bytes, seconds=self.batch_seconds)
