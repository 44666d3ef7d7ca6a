"""Midnights, time zones and clocks that are set: the day of a frame is the UTC day of its receipt."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from spotlightd.clients.kafka.bus import Kafka
from spotlightd.demo.exchange import Script, run_exchange
from spotlightd.model.bus import Frame, Topic, pack_key, source_mark
from spotlightd.settings.sources import BusSettings
from tests.polling import until
from tests.streams.conftest import Broker, Verdict
from tests.streams.place import Count, Place
from tests.streams.proxy import proxying
from tests.streams.scene import Scene

pytestmark = pytest.mark.slow
ZONES = ("UTC", "America/New_York", "Asia/Tokyo")
# Constructed: seconds before and after the midnights of the three zones, and the hours in which New York sets its clocks.
MOMENTS = [
    datetime.fromisoformat(day + "T00:00:00+00:00") + timedelta(hours=hour, seconds=second)
    for day in ("2026-01-01", "2026-03-08", "2026-11-01")
    for hour in (0, 4, 5, 6, 7, 15)
    for second in (-1.5, -0.000001, 0, 0.000001, 1.5)
]
HOUR_NANOSECONDS = 3_600 * 10**9
STEPPED = """\
# Constructed: a clock of the box that somebody sets, by writing nanoseconds into a file.
import pathlib
import time

_true, _file = time.time_ns, pathlib.Path(__file__).with_name("offset")
time.time_ns = lambda: _true() + int(_file.read_text())
time.time = lambda: time.time_ns() / 1e9
"""
SAME = """
SELECT * EXCEPT (ingested, load_id) FROM trades WHERE source = '{source}' ORDER BY epoch, partition, offset, frame_index
"""
PARTS = "SELECT DISTINCT table, partition_id FROM system.parts WHERE active AND table IN ('trades', '{source}_frames') ORDER BY ALL"


async def test_faults_4_44_45_days_are_the_same_in_every_zone_of_time(
    tmp_path: Path, broker: Broker, verdict: Verdict
) -> None:
    """4, 44, 45: the same records, across midnights, drained by three daemons in three time zones: equal tables."""
    source, told = f"made_{secrets.token_hex(4)}", []
    async with (
        run_exchange(Script(rate=0.001, ping_seconds=3_600)) as venue,
        proxying(broker.kafka.ports[0], at=broker.wire_port),
    ):
        await produced(broker, source)
        for zone in ZONES:
            folder = tmp_path / zone.replace("/", "_")
            place = Place(folder, venue, broker.kafka, None, None, source)
            folder.mkdir()
            told.append(await drained(place, zone))
    assert told[0] == told[1] == told[2]
    rows, parts = told[0]
    days = {f"{one:%Y%m%d}-0" for one in MOMENTS}
    assert {part for table, part in parts if table == "trades"} == days
    numbers = {int(row["volume"]) for row in rows}
    lost = tuple(sorted(set(range(len(MOMENTS))) - numbers))
    verdict("4, 44, 45", Count(len(MOMENTS), len(rows), 0, lost, (), ()), f"{len(days)} days, three equal tables")
    assert len(rows) == len(numbers)


async def produced(broker: Broker, source: str) -> None:
    """A trade for each moment, its number as its volume."""
    keys, values = [], []
    for number, at in enumerate(sorted(MOMENTS)):
        received = int((at - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1)) * 1000
        trade = {"c": None, "p": 1.5, "s": "AAPL", "t": received // 10**6, "v": number}
        values.append(json.dumps({"data": [trade], "type": "trade"}, separators=(",", ":")).encode())
        keys.append(pack_key(source_mark(source), Frame(7, number, received, b"")))
    async with Kafka(BusSettings(kind="kafka", servers=[broker.kafka.address])) as bus:
        await bus.ensure(Topic(source))
        await bus.append(source, 0, keys, values)


async def drained(place: Place, zone: str) -> tuple[list[dict[str, Any]], list[tuple[Any, ...]]]:
    """All rows without what identifies this instance, and the partitions of the tables."""
    async with place.ready(env={"TZ": zone}) as daemon:

        async def all_there() -> bool:
            return int((await place.trades("SELECT count() FROM {trades}"))[0][0]) >= len(MOMENTS)

        await until(all_there, "all trades", every=0.1)
        async with place.reading() as opened:
            rows = (await opened.rows(SAME.format(source=place.source))).dicts()
            parts = list((await opened.rows(PARTS.format(source=place.source))).rows)
        assert await daemon.stop() == 0
        return rows, parts


async def test_a_clock_that_is_set_while_frames_flow(
    tmp_path: Path, scene: Callable[..., AbstractAsyncContextManager[Scene]], verdict: Verdict
) -> None:
    """44: the wall clock that frames are timed by steps 2 h forward and back; the venue disconnects in between."""
    clock = tmp_path / "clock"
    clock.mkdir()
    (clock / "sitecustomize.py").write_text(STEPPED, encoding="utf-8")
    (clock / "offset").write_text("0")
    async with scene() as place:
        assert await place.daemon.stop() == 0
        await place.start(env={"PYTHONPATH": str(clock)})
        for hours in (2, 0, -2, 0):
            (clock / "new").write_text(str(hours * HOUR_NANOSECONDS))
            (clock / "new").rename(clock / "offset")
            await place.wait_for_flow(500)
            gaps = len(place.gaps())
            await place.venue.close()
            await until(lambda had=gaps: len(place.gaps()) > had, "a gap", every=0.05)  # type: ignore[misc]
            await place.wait_for_flow(50)  # the frames around a gap tell which ticks lie in it, so both by one clock
        verdict("clock", await place.recover(), "four gaps where the venue closed the connection")
        assert place.gap_causes() == ["stopped", *["closed by the venue"] * 4]
