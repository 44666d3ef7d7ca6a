"""Ticks of an earlier day for a new demo, so that the archive has old rows to move.

The frames are the bundled real ones, repeated, with their times moved (constructed). They are put on the bus of the
running daemon as if they had been received on that day; all that follows is the daemon's own work. They are put there
after the listener has started: a listener that finds frames at its start takes the time since then for an outage.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import cycle, islice

from spotlightd.demo.recordings import read_recordings
from spotlightd.model.bus import Frame, pack_key, source_mark
from spotlightd.model.stream import Stream
from spotlightd.ports.bus import Bus

FRAMES = 20_000
PAUSE = timedelta(seconds=2)
GROUP = 5_000
CONNECTION = 0x5EED


async def append_history(bus: Bus, source: Stream, now: datetime) -> None:
    """Append frames of the day before yesterday."""
    day = (now.astimezone(UTC) - timedelta(days=2)).replace(hour=6, minute=0, second=0, microsecond=0)
    await bus.ensure(source.topic)
    frames = list(_create_frames(day))
    for start in range(0, len(frames), GROUP):
        group = frames[start : start + GROUP]
        keys = [pack_key(source_mark(source.name), frame) for frame in group]
        await bus.append(source.name, 0, keys, [frame.value for frame in group])


def _create_frames(begin: datetime) -> Iterator[Frame]:
    for number, frame in enumerate(islice(cycle(read_recordings()), FRAMES)):
        received = begin + number * PAUSE
        value = frame.move_times(round(received.timestamp() * 1e3))
        yield Frame(CONNECTION, number, round(received.timestamp() * 1e9), value)
