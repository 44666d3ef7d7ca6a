"""Where a test of streams takes place: a venue on loopback, a daemon that listens to it, and oracles that count.

Every made tick has a number, told as its volume. A tick that was made must be in the table exactly once (O1), or have
been made inside of a recorded gap; nothing may be there that was not made (O2); no intent may stay open (O3).
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from spotlightd.clients.warehouse import ClickHouse
from spotlightd.demo.exchange import Exchange
from spotlightd.model.errors import StoreError
from spotlightd.model.market import trades
from spotlightd.model.pin import visible
from tests.daemon import process
from tests.daemon.process import Daemon, Done, until
from tests.daemon.publisher import warehouse

SYMBOLS = ("AAPL", "TSLA", "BINANCE:BTCUSDT")
DRAINED_SECONDS = 60.0
SLACK_NANOSECONDS = 50_000_000  # between the venue's making of a tick and our receiving it


@dataclass(frozen=True, slots=True)
class Count:
    """What became of the ticks: made by the venue, in the table, made outside of gaps and not there, there twice."""

    made: int
    rows: int
    lost: tuple[int, ...]
    doubled: tuple[int, ...]
    strange: tuple[int, ...]

    @property
    def good(self) -> bool:
        return not (self.lost or self.doubled or self.strange)


@dataclass
class Place:
    folder: Path
    venue: Exchange
    sections: dict[str, Any] = field(default_factory=dict)

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def settings(self, **sections: Any) -> Path:
        streams = {"symbols": {"finnhub": list(SYMBOLS)}, "addresses": {"finnhub": self.venue.address}}
        streams |= {"backoff_seconds": 0.1, "backoff_most_seconds": 1.0}
        told: dict[str, Any] = {"streams": streams, "schedule": {"enabled": False, "sources": ["sec_ftd"]}, "metrics": {"port": 0}}
        for name, values in (*self.sections.items(), *sections.items()):
            told[name] = {**told.get(name, {}), **values}
        return process.settings_file(self.folder, "http://127.0.0.1:9", **told)

    def begun(self, *, env: Mapping[str, str] | None = None, **sections: Any) -> AbstractAsyncContextManager[Daemon]:
        return process.begun(self.settings(**sections), env=env)

    def ready(self, *, env: Mapping[str, str] | None = None, **sections: Any) -> AbstractAsyncContextManager[Daemon]:
        return process.ready(self.settings(**sections), env=env)

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

    async def rows(self) -> Counter[int]:
        """How often each number is visible now."""
        async with self.reading() as opened:
            seq = (await opened.rows("SELECT max(seq) FROM loads")).rows[0][0]
            sql = f"SELECT toUInt64(volume) AS number, count() FROM trades WHERE {visible(trades)} GROUP BY number"
            return Counter(dict((await opened.rows(sql, {"seq": seq})).rows))

    def gaps(self) -> list[tuple[int, int, str]]:
        """(since, until, cause), in nanoseconds."""
        found = self.ledger("SELECT since, until, cause FROM gaps ORDER BY id")
        return [(since * 1000, until * 1000, cause) for since, until, cause in found]

    async def counted(self) -> Count:
        """O1 and O2 as of now, with the gaps that are written down until now."""
        rows, made, gaps = await self.rows(), self.venue.ticks, self.gaps()
        missing = [number for number in range(len(made)) if number not in rows]
        spans = [(since - SLACK_NANOSECONDS, until_ + SLACK_NANOSECONDS) for since, until_, _ in gaps]
        lost = [one for one in missing if not any(since <= made[one] <= until_ for since, until_ in spans)]
        doubled = [number for number, times in rows.items() if times > 1]
        strange = [number for number in rows if number >= len(made)]
        return Count(len(made), sum(rows.values()), tuple(lost[:20]), tuple(doubled[:20]), tuple(strange[:20]))

    async def flowing(self, more: int = 200, *, seconds: float = DRAINED_SECONDS) -> None:
        """Wait until ticks that are made from now on are in the table."""
        wanted = len(self.venue.ticks) + more

        async def there() -> bool:
            with contextlib.suppress(StoreError, OSError, ValueError, json.JSONDecodeError):
                return max((await self.rows()), default=-1) >= wanted
            return False

        await until(there, f"tick {wanted} is in the table", seconds=seconds, every=0.1)

    async def settled(self, *, seconds: float = DRAINED_SECONDS) -> Count:
        """The market stands still; wait until all that was made is there or in a gap, and nothing stays open (O3)."""
        self.venue.stall()
        last: list[Count] = []

        async def good() -> bool:
            with contextlib.suppress(StoreError, OSError):
                last[:] = [await self.counted()]
                return last[0].good and not self.ledger("SELECT 1 FROM intents")
            return False

        try:
            await until(good, "all ticks are accounted for", seconds=seconds, every=0.1)
        except AssertionError as late:
            raise AssertionError(f"{late}: {last}, gaps {self.gaps()}") from None
        finally:
            self.venue.resume()
        return last[0]


def moment(nanoseconds: int) -> datetime:
    return datetime.fromtimestamp(nanoseconds / 1e9).astimezone()
