"""The listener with the real spool and the real ledger: the next process finds what the last one left."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path

from spotlightd.clients.ledger.ledger import SqliteLedger
from spotlightd.clients.ledger.positions import SqlitePositions
from spotlightd.clients.locallog.bus import LocalLog
from spotlightd.clients.locallog.spool import LogSpool
from spotlightd.demo.exchange import Exchange, Script, run_exchange
from spotlightd.model.bus import KEY
from spotlightd.settings.sources import StreamsSettings
from tests.flows.listener_world import NAME, RunningListener, run_listener, stream

SLACK = timedelta(seconds=0.5)


@dataclass(slots=True)
class Stores:
    """Everything that is on the disk."""

    log: LocalLog
    spool: LogSpool
    ledger: SqliteLedger

    async def frames(self) -> list[tuple[int, bytes]]:
        """(received in nanoseconds, value) of all, in order."""
        ends = (await self.log.ends(NAME))[0]
        records = await self.log.peek(NAME, 0, ends.start, most=1 << 30)
        return [(KEY.unpack(records.key(at))[3], records.values[at]) for at in range(len(records))]

    async def gaps(self) -> list[tuple[str, datetime, datetime]]:
        rows = await self.ledger.run("SELECT cause, since, until FROM gaps ORDER BY id", ())
        return [(row["cause"], _moment(row["since"]), _moment(row["until"])) for row in rows]


def _moment(micros: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)


@asynccontextmanager
async def process(
    folder: Path, exchange: Exchange, limits: StreamsSettings
) -> AsyncIterator[tuple[Stores, RunningListener]]:
    """A listener with all of its parts, opened and closed in the daemon's order."""
    source = stream()
    async with (
        SqliteLedger(folder / "ledger.sqlite") as ledger,
        LocalLog(folder / "bus.sqlite") as log,
        LogSpool(log, limits, [source.topic], {NAME: 100}, is_bus=True) as spool,
    ):
        stores = Stores(log, spool, ledger)
        frames = await stores.frames()
        last = datetime.fromtimestamp(frames[-1][0] / 1e9, UTC) if frames else None
        async with run_listener(
            exchange.address, source, spool=spool, feeds=SqlitePositions(ledger), last_received=last
        ) as running:
            await running.until(lambda: running.state.state == "connected")
            yield stores, running


async def wait_for_more(running: RunningListener, frames: int = 100) -> None:
    wanted = running.state.frames + frames
    await running.until(lambda: running.state.frames >= wanted)


async def test_every_tick_is_stored_once_or_in_a_gap_through_hang_ups_full_spool_and_restart(tmp_path: Path) -> None:
    limits, tight = StreamsSettings(), StreamsSettings(spool_bytes=20_000)
    async with run_exchange(Script(rate=1000)) as exchange:
        async with process(tmp_path, exchange, limits) as (_, running):
            await wait_for_more(running)
            exchange.abort()
            await running.until(lambda: running.state.connects == 2 and running.state.state == "connected")
            await wait_for_more(running)
        async with process(tmp_path, exchange, tight) as (_, running):
            await running.until(lambda: running.state.shed > 100)
        async with process(tmp_path, exchange, limits) as (stores, running):
            await wait_for_more(running)
            await stores.spool.flush()
            values = [value for _, value in await stores.frames()]
            gaps = await stores.gaps()
    causes = [cause for cause, _ in groupby(cause for cause, _, _ in gaps)]
    assert causes == ["connection lost", "stopped", "spool full", "stopped"]
    numbers = [trade["v"] for value in values for trade in json.loads(value).get("data", [])]
    assert len(numbers) == len(set(numbers))
    for number in sorted(set(range(numbers[-1])) - set(numbers)):
        at = datetime.fromtimestamp(exchange.ticks[number] / 1e9, UTC)
        assert number < numbers[0] or any(since - SLACK <= at <= until + SLACK for _, since, until in gaps)
