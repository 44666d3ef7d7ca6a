"""Power cuts at random moments: six, or a hundred in `make soak`. SPOTLIGHTD_SEED repeats a run's choices; without it they are new each time."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass, field

import pytest

from spotlightd.errors import StoreError
from tests.daemon.place import Place
from tests.daemon.process import Daemon
from tests.daemon.publisher import half_month, read_visible, warehouse
from tests.polling import until
from tests.soak import choose_kills

KILLS = choose_kills(6)
SLICES = 40
SMALL, LARGE = (1_000, 2_000), (1_000, 60_000)
LONGEST_LIFE_SECONDS = 1.5
JOB = """
INSERT INTO jobs SELECT NULL, 'backfill', 'fast_ftd', '0001-01-01', '9999-12-31', '', '', 'waiting', 0, 0, ''
WHERE NOT EXISTS (SELECT * FROM jobs WHERE state IN ('waiting', 'running'))
"""
CUT_OFF = "SELECT count(*) > ? FROM loads WHERE state <> 'published'"
TOGETHER = """
SELECT count(*) FROM loads AS first JOIN loads AS second ON second.seq = first.seq + 1
WHERE second.published_at = first.published_at + 1
"""


@dataclass
class Storm:
    """Kills daemons and engines while the publisher shows ever new documents, and new editions of old ones."""

    place: Place
    chance: random.Random
    kills: dict[str, int] = field(default_factory=lambda: {"daemon": 0, "starting": 0, "engine": 0})
    ever: dict[str, set[tuple[int, int]]] = field(default_factory=dict)
    visible: set[str] = field(default_factory=set)
    looks: int = 0

    def is_over(self) -> bool:
        """Enough kills, of daemon and engine each some; some loads were cut off, and some were published as a group."""
        some = KILLS // 10
        enough = sum(self.kills.values()) >= KILLS and min(self.kills["daemon"], self.kills["engine"]) > some
        return enough and bool(self.place.ledger(CUT_OFF, some)[0][0] and self.place.ledger(TOGETHER)[0][0])

    def publish(self) -> None:
        """Mostly small documents, several at once, so that kills fall into groups."""
        for _ in range(self.chance.randint(2, 10)):
            number = min(len(self.place.documents), self.chance.randrange(SLICES * 2))
            number = number if number < SLICES else self.chance.randrange(SLICES)
            rows = self.chance.randint(*(SMALL if self.chance.random() < 0.75 else LARGE))
            document = half_month(number, rows, edition=self.chance.randrange(1 << 30))
            self.ever.setdefault(document.covers, set()).add((document.rows, document.shares))
            self.place.show(document)

    async def live(self, daemon: Daemon) -> None:
        """Kill it while it starts; or kill its engine some times, and then it."""
        if self.chance.random() < 0.15:
            await daemon.wait_for("daemon started")
            await self._some_moment()
            await self._end(daemon, "starting")
            return
        await daemon.wait_for("daemon ready")
        await self.look()
        watching = asyncio.create_task(self._watch(), name="a reader all the while")
        try:
            for _ in range(self.chance.choice((0, 1, 1, 2))):
                await self._some_moment()
                self._end_engine(daemon)
            await self._some_moment()
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
        await self._end(daemon, "daemon")

    async def _some_moment(self) -> None:
        """The moment of a kill is random; most kills fall into a load."""
        if self.chance.random() < 0.7:
            with suppress(AssertionError):  # none is begun in this life
                await until(self._loading, "a load is begun", seconds=LONGEST_LIFE_SECONDS, every=0.001)
            await asyncio.sleep(self.chance.uniform(0.0, 0.2))
        else:
            await asyncio.sleep(self.chance.uniform(0.0, LONGEST_LIFE_SECONDS))

    def _loading(self) -> bool:
        return bool(self.place.ledger("SELECT 1 FROM loads WHERE state = 'loading'"))

    def _end_engine(self, daemon: Daemon) -> None:
        if engine := daemon.engine_pid():
            os.kill(engine, signal.SIGKILL)
            self.kills["engine"] += 1

    async def _end(self, daemon: Daemon, what: str) -> None:
        await daemon.kill()
        self.kills[what] += 1

    async def _watch(self) -> None:
        while True:
            with suppress(StoreError):  # the engine has just been killed
                await self.look()

    async def look(self) -> None:
        """Whatever a reader sees is some edition of a document, whole; and what was visible once stays so."""
        async with warehouse(self.place.state) as reader:
            visible = await read_visible(reader)
        torn = {covers: counts for covers, counts in visible.items() if counts not in self.ever.get(covers, ())}
        assert not torn, f"torn or doubled: {torn}"
        assert self.visible <= set(visible), f"lost: {self.visible - set(visible)}"
        self.visible |= set(visible)
        self.looks += 1

    def queue_backfill(self) -> None:
        """Request all documents again, as a backfill does. Otherwise the daemon requests old ones once a day."""
        with closing(sqlite3.connect(self.place.state / "ledger.sqlite", timeout=30)) as ledger, ledger:
            ledger.execute(JOB)


@pytest.mark.slow
@pytest.mark.timeout(1500)
async def test_many_kills_lose_nothing_double_nothing_and_show_nothing_torn(place: Place) -> None:
    seed = int(os.environ.get("SPOTLIGHTD_SEED", "") or random.SystemRandom().randrange(1 << 32))
    print(f"SPOTLIGHTD_SEED={seed}")
    storm = Storm(place, random.Random(seed))
    while not storm.is_over():
        storm.publish()
        async with place.start() as daemon:
            if storm.visible:
                storm.queue_backfill()
            await storm.live(daemon)
    async with place.ready() as daemon:
        await storm.look()
        storm.queue_backfill()
        await daemon.wait_for("source checked", times=2, seconds=120)
        assert await place.visible() == place.expected
        assert await daemon.stop() == 0
    swept = place.ledger("SELECT count(*) FROM loads WHERE state = 'swept'")[0][0]
    together = place.ledger(TOGETHER)[0][0]
    print(f"{storm.kills}, {storm.looks} looks, {len(place.documents)} documents, {swept} loads were cut off")
    print(f"{together} loads were published in the group of the one before")
    assert isinstance(swept, int)
    assert swept > KILLS // 10
    assert not place.ledger("SELECT * FROM loads WHERE state NOT IN ('published', 'swept')")
    assert place.ledger("PRAGMA integrity_check") == [("ok",)]
    audited = await place.command("audit", "--json", seconds=300)
    assert audited.status == 0, audited.err
    assert audited.json()["same"] == sum(document.rows for document in place.documents)
