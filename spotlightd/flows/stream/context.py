"""What all drains of a daemon work with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from spotlightd.flows.gate import Gate
from spotlightd.flows.stream.parts import Parts
from spotlightd.model.stream import Stream
from spotlightd.ports.bus import Bus, Spool
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
