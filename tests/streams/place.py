"""What a test of streams needs: a venue and a real Kafka on loopback, each behind a proxy, a daemon that listens to the
venue and writes to Kafka, and oracles that count.

Every tick has a number, which is its volume. A tick must be in the table exactly once (O1), or have been sent inside a
recorded gap. The table may hold nothing that the venue did not send (O2). No intent may stay open (O3). The daemon ends
when it is stopped, and logs only events (O5). The engine's secret is in no line of its log (O6).
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.datasets.trades import trades
from spotlightd.demo.exchange import Exchange
from spotlightd.errors import StoreError
from spotlightd.sql.visibility import visible_condition
from tests.daemon import process
from tests.daemon.process import Daemon, Done
from tests.daemon.publisher import endpoint, warehouse
from tests.polling import until
from tests.real.kafka import Kafka
from tests.streams.proxy import Proxy

SYMBOLS = ("AAPL", "TSLA", "BINANCE:BTCUSDT")
DRAINED_SECONDS = 60.0
UNDER_WAY_SECONDS = 1.0  # from the venue to the spool, as a rule
UNDER_WAY_NANOSECONDS = 5_000_000_000  # at most, from the venue to the spool, on a machine that is busy
SLACK_NANOSECONDS = 50_000_000  # between the venue's making of a tick and our receiving it
SPOOLED = """
SELECT coalesce(sum(max(freed, coalesce(hi, 0))), 0), coalesce(sum(freed), 0) FROM partitions
LEFT JOIN (SELECT topic, partition, max(hi) AS hi FROM blocks GROUP BY topic, partition) USING (topic, partition)
"""
SOURCE = """\
# Constructed: Finnhub's source under a name of its own, and with less patience.
from dataclasses import replace

from spotlightd.sources.finnhub import finnhub

constructed = replace(finnhub, name={name!r}, key_required=False, {changes})
"""


# It may miss a ping's answer, see nothing for the short time that the tests allow, or not run at all for seconds.
CAUSES_OF_A_BUSY_MACHINE = {"connection lost", "stale", "asleep"}


@dataclass(frozen=True, slots=True)
class Count:
    """Ticks of the venue, rows of them, missing ticks inside gaps, missing ticks outside gaps, ticks that are there twice, and
    rows that the venue never sent.
    """

    ticks: int
    rows: int
    in_gaps: int
    lost: tuple[int, ...]
    doubled: tuple[int, ...]
    strange: tuple[int, ...]

    @property
    def is_good(self) -> bool:
        return not (self.lost or self.doubled or self.strange)

    def __str__(self) -> str:
        errors = {"lost": self.lost, "doubled": self.doubled, "strange": self.strange}
        detail = "".join(f", {len(ticks)} {name} {ticks[:5]}" for name, ticks in errors.items() if ticks)
        return f"{self.ticks} ticks, {self.rows} rows, {self.in_gaps} in gaps{detail}"


@dataclass(frozen=True, slots=True)
class Hole:
    """A gap in nanoseconds."""

    since: int
    until: int
    cause: str


@dataclass
class Place:
    """`broker` None: the embedded bus. `source` is the stream's name, and with `changes` it is an operator's own file."""

    folder: Path
    venue: Exchange
    broker: Kafka | None = None
    wire: Proxy | None = None
    line: Proxy | None = None
    source: str = "finnhub"
    changes: str = ""
    sections: dict[str, Any] = field(default_factory=dict)

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def settings(self, **sections: Any) -> Path:
        self.write_source()
        address = f"ws://{self.line.address}/" if self.line else self.venue.address
        streams = {"symbols": {self.source: list(SYMBOLS)}, "addresses": {self.source: address}}
        streams |= {"backoff_seconds": 0.1, "backoff_most_seconds": 1.0}
        settings: dict[str, Any] = {"streams": streams, "schedule": {"enabled": False, "sources": ["sec_ftd"]}}
        if self.broker:
            servers = [self.wire.address if self.wire else self.broker.address]
            settings["bus"] = {"kind": "kafka", "servers": servers, "security": "PLAINTEXT", "request_seconds": 3.0}
        for name, values in (*self.sections.items(), *sections.items()):
            settings[name] = {**settings.get(name, {}), **values}
        return process.settings_file(self.folder, "http://127.0.0.1:9", **settings)

    def write_source(self) -> None:
        """The operator's own source, if the stream is one."""
        if self.source != "finnhub":
            (self.state / "sources").mkdir(parents=True, exist_ok=True, mode=0o700)
            text = SOURCE.format(name=self.source, changes=self.changes)
            (self.state / "sources" / "constructed.py").write_text(text, encoding="utf-8")

    @asynccontextmanager
    async def begun(self, *, env: Mapping[str, str] | None = None, **sections: Any) -> AsyncIterator[Daemon]:
        async with process.start(self.settings(**sections), env=env) as daemon:
            yield daemon
            self.check_secrets(daemon)

    @asynccontextmanager
    async def ready(self, *, env: Mapping[str, str] | None = None, **sections: Any) -> AsyncIterator[Daemon]:
        async with self.begun(env=env, **sections) as daemon:
            yield await daemon.ready()

    def check_secrets(self, daemon: Daemon) -> None:
        """O6: while the daemon lives, its engine's secret is known; no line may hold it."""
        with contextlib.suppress(OSError):
            secret = endpoint(self.state).password
            assert not any(secret in str(line) for line in (*daemon.events, *daemon.other_lines))

    async def command(self, *words: str, seconds: float = 60.0) -> Done:
        return await process.command(
            words[0], "--config", str(self.folder / "spotlightd.toml"), *words[1:], seconds=seconds
        )

    def ledger(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(f"file:{self.state / 'ledger.sqlite'}?mode=ro", uri=True, timeout=10)) as db:
            return db.execute(sql, values).fetchall()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[ClickHouse]:
        async with warehouse(self.state) as opened:
            yield opened

    async def query(self, sql: str, **values: Any) -> list[tuple[Any, ...]]:
        async with self.reading() as opened:
            return list((await opened.rows(sql, values)).rows)

    async def trades(self, what: str) -> list[tuple[Any, ...]]:
        """A query over the visible trades of this source."""
        async with self.reading() as opened:
            seq = (await opened.rows("SELECT max(seq) FROM loads")).rows[0][0]
            sql = what.format(trades=f"trades WHERE source = '{self.source}' AND {visible_condition(trades)}")
            return list((await opened.rows(sql, {"seq": seq})).rows)

    def spooled(self) -> tuple[int, int]:
        """How many frames the log before the warehouse has taken, and how many of them are durable in the warehouse."""
        path = self.state / ("spool.sqlite" if self.broker else "bus.sqlite")
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as db:
            spooled, durable = db.execute(SPOOLED).fetchone()
            return spooled, durable

    def gaps(self) -> list[Hole]:
        rows = self.ledger("SELECT since, until, cause FROM gaps WHERE source = ? ORDER BY id", self.source)
        return [Hole(since * 1000, until * 1000, cause) for since, until, cause in rows]

    def causes(self) -> list[str]:
        return [gap.cause for gap in self.gaps()]

    def gap_causes(self) -> list[str]:
        """Without those of a busy machine."""
        return [cause for cause in self.causes() if cause not in CAUSES_OF_A_BUSY_MACHINE]

    def count_busy_gaps(self) -> int:
        """How many gaps come of a busy machine."""
        return sum(cause in CAUSES_OF_A_BUSY_MACHINE for cause in self.causes())

    def rejected(self) -> list[str]:
        """The texts of the frames that could not be decoded."""
        rows = self.ledger("SELECT text FROM lost_frames WHERE source = ? ORDER BY id", self.source)
        return [str(text) for (text,) in rows]

    async def count(self) -> Count:
        """O1 and O2 as of now, with the gaps recorded until now.

        A log that was lost excuses nothing here: the spool has what was in it.
        """
        rows = await self.trades(
            "SELECT toUInt64(volume) AS number, count(), min(toUnixTimestamp64Nano(received)) FROM {trades} GROUP BY number"
        )
        times, received = {row[0]: row[1] for row in rows}, {row[0]: row[2] for row in rows}
        ticks, gaps = self.venue.ticks, [gap for gap in self.gaps() if gap.cause != "log lost"]
        missing = [number for number in range(len(ticks)) if number not in times]
        lost = [number for number in missing if not _is_in_gap(ticks[number], gaps)]
        if lost:
            lost = [number for number in lost if not _is_around_gap(number, received, gaps, ticks)]
        doubled = [number for number, many in times.items() if many > 1]
        strange = [number for number in times if number >= len(ticks)]
        in_gaps = len(missing) - len(lost)
        return Count(len(ticks), sum(times.values()), in_gaps, tuple(lost), tuple(doubled), tuple(strange))

    async def wait_for_flow(self, more: int = 200, *, seconds: float = DRAINED_SECONDS) -> None:
        """Wait until ticks that are sent from now on are in the table."""
        wanted = len(self.venue.ticks) + more

        async def there() -> bool:
            with contextlib.suppress(StoreError, OSError, ValueError):
                return int((await self.trades("SELECT toUInt64(max(volume)) FROM {trades}"))[0][0]) >= wanted
            return False

        await until(there, f"tick {wanted} is in the table", seconds=seconds, every=0.1)

    @contextlib.contextmanager
    def quiet(self) -> Iterator[None]:
        """The venue sends no ticks while the block runs; its pings go on."""
        script = self.venue.script
        self.venue.script = replace(script, rate=0.0)
        try:
            yield
        finally:
            self.venue.script = script

    async def settle(self, *, seconds: float = DRAINED_SECONDS) -> Count:
        """The venue sends only pings. Wait until every tick is in the table or in a gap, and no intent is open (O3).

        And all that is in the spool some moments later has to be durable: what is still to come may lie within a gap.
        """
        last: list[Count] = []
        clock, taken = asyncio.get_running_loop().time, 0
        later = clock() + UNDER_WAY_SECONDS

        async def good() -> bool:
            nonlocal taken
            with contextlib.suppress(StoreError, OSError, sqlite3.OperationalError):
                now, freed = self.spooled()
                taken = taken or (now if clock() >= later else 0)
                if not taken or freed < taken:
                    return False
                last[:] = [await self.count()]
                return last[0].is_good and not self.ledger("SELECT 1 FROM intents")
            return False

        try:
            with self.quiet():
                await until(good, "all ticks are accounted for", seconds=seconds, every=0.2)
        except AssertionError as late:
            detail = f"{', '.join(map(str, last))}; {self.spooled()} spooled and durable; gaps {self.gaps()[-20:]}"
            raise AssertionError(f"{late}: {detail}") from None
        return last[0]


def _is_in_gap(sent: int, gaps: list[Hole]) -> bool:
    return any(gap.since - SLACK_NANOSECONDS <= sent <= gap.until + SLACK_NANOSECONDS for gap in gaps)


def _is_around_gap(number: int, received: Mapping[int, int], gaps: list[Hole], ticks: Sequence[int]) -> bool:
    """Whether gaps lie between the neighbours of a missing tick that were received, and are about as long as nothing was:
    what was under way may be older than the last that was received by more than the slack, on a machine that is busy.
    """
    before = next((other for other in range(number, -1, -1) if other in received), -1)
    after = next((other for other in range(number, len(ticks)) if other in received), len(ticks))
    below, above = received.get(before, 0), received.get(after, 1 << 63)
    between = [
        gap for gap in gaps if below <= gap.since + SLACK_NANOSECONDS and gap.until <= above + UNDER_WAY_NANOSECONDS
    ]
    lasted = ticks[min(after, len(ticks) - 1)] - ticks[max(before, 0)]
    return bool(between) and lasted <= sum(gap.until - gap.since for gap in between) + UNDER_WAY_NANOSECONDS
