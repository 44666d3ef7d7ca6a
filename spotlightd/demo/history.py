"""Ticks of days before, for a demo that has just begun: what old rows there are to archive.

The frames are the bundled real ones again and again, with their times moved (constructed). They lie on the bus as if they
had been received then, and from there on everything is the daemon's own work.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import cycle, islice

from spotlightd.demo.tapes import taped
from spotlightd.model.bus import Frame, mark, packed
from spotlightd.model.stream import Stream
from spotlightd.ports.bus import Bus

FRAMES = 20_000
PAUSE = timedelta(seconds=2)
GROUP = 5_000
CONNECTION = 0x5EED


async def remembered(bus: Bus, source: Stream, now: datetime) -> None:
    """Put frames of the day before yesterday on a bus that was just made."""
    day = (now.astimezone(UTC) - timedelta(days=2)).replace(hour=6, minute=0, second=0, microsecond=0)
    await bus.ensure(source.topic)
    frames = list(_frames(day))
    for at in range(0, len(frames), GROUP):
        some = frames[at : at + GROUP]
        keys = [packed(mark(source.name), one) for one in some]
        await bus.append(source.name, 0, keys, [one.value for one in some])


def _frames(begin: datetime) -> Iterator[Frame]:
    for number, one in enumerate(islice(cycle(taped()), FRAMES)):
        received = begin + number * PAUSE
        yield Frame(CONNECTION, number, round(received.timestamp() * 1e9), one.fresh(round(received.timestamp() * 1e3)))
