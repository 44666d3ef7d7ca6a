"""Constructed threshold lists of July 2026, parsed by the real parsers and published in a database of their own.

Nasdaq: no list on the 9th, none from the 14th to the 20th, an empty one on the 22nd, one that was refused on the 23rd; the list
of the 8th was amended. NYSE: from the 21st on, "empty or absent" on the 23rd. The OCC repeats the 21st, not quite.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from spotlightd.datasets import system
from spotlightd.datasets.threshold.agreement import threshold_agreement
from spotlightd.datasets.threshold.days import threshold_days
from spotlightd.datasets.threshold.lists import threshold, threshold_lists, threshold_occ
from spotlightd.datasets.threshold.streaks import threshold_streaks
from spotlightd.model.source import Batch, Rows
from spotlightd.sources.threshold import chx, nasdaq, nyse, occ
from spotlightd.workers.inline import parse_inline
from tests.web.world import STARTED, World, open_database, sha256

DATASETS = (threshold, threshold_lists, threshold_occ, threshold_agreement, threshold_days, threshold_streaks)
HEADER = "Symbol|Security Name|Market Category|Reg SHO Threshold Flag"
NASDAQ = {6: "AAA BBB", 7: "AAA BBB CCC", 8: "AAA CCC", 10: "AAA CCC", 13: "CCC", 21: "AAA CCC", 22: ""}
AMENDED_DAY, AMENDED = 8, "AAA CCC DDD"


def july(day: int) -> date:
    return date(2026, 7, day)


def nasdaq_list(day: int, symbols: str, time: str = "230005") -> str:
    lines = [f"{symbol}|{symbol} INC|G|Y|N|" for symbol in symbols.split()]
    return "\n".join([f"{HEADER}|Rule 3210|Filler", *lines, f"{july(day):%Y%m%d}{time}", ""])


def nyse_list(day: int, markets: Mapping[str, str], time: str = "220211") -> str:
    lines = [f"{symbol}|{symbol} CORP|{market}|Y||" for symbol, market in markets.items()]
    return "\n".join([f"{HEADER}|Filler|Filler", *lines, f"{july(day):%Y%m%d}{time}", ""])


class Publishing:
    """Publishes documents and attempts in the world's database, each under the next number."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world, self.folder, self.seq, self.runs = world, folder, 0, 0

    async def publish(self, source: Batch, day: int, name: str, text: str, supersedes: Sequence[int] = ()) -> None:
        self.seq += 1
        load_id, path = 1_000 + self.seq, self.folder / f"{self.seq}.txt"
        path.write_text(text)
        rows = dict[str, int]()
        for block in parse_inline(source, path, name):
            assert isinstance(block, Rows)
            values = [
                block.columns[column.name].to_pylist() for column in (*block.dataset.columns, *block.dataset.pointer)
            ]
            width = len(block.dataset.columns)
            records = [(*row[:width], load_id, *row[width:]) for row in zip(*values, strict=True)]
            await self.world.warehouse.insert(block.dataset, records)
            rows[block.dataset.name] = len(records)
        at = STARTED + timedelta(minutes=self.seq)
        covers, digest = f"{july(day):%Y/%m/%d}", sha256(f"{name} {text}".encode())
        await self.world.warehouse.insert(
            system.loads,
            [
                (self.seq, dataset.name, load_id, source.name, covers, digest, "1", rows.get(dataset.name, 0), 0, list(supersedes), at, 0)
                for dataset in source.datasets
            ],
        )  # fmt: skip

    async def attempt(self, source: Batch, day: int, outcome: str, error: str, digest: str = "") -> None:
        self.runs += 1
        covers, at = f"{july(day):%Y/%m/%d}", STARTED + timedelta(minutes=self.seq, seconds=1)
        row: tuple[Any, ...] = (self.runs, at, source.name, "https://x", covers, outcome, digest, 0, 0, 0, 0.5, error)
        await self.world.warehouse.insert(system.runs, [row])


@asynccontextmanager
async def open_lists(world: World, folder: Path) -> AsyncIterator[World]:
    async with (
        open_database(world, "threshold", DATASETS) as opened,
        opened.served(sources=(nasdaq.source, nyse.source, occ.source, chx.source)) as served,
    ):
        publishing = Publishing(served, folder)
        for day, symbols in sorted(NASDAQ.items(), reverse=True):
            await publishing.publish(nasdaq.source, day, f"nasdaqth202607{day:02}.txt", nasdaq_list(day, symbols))
        await publishing.attempt(nasdaq.source, 9, "absent", "nasdaqth20260709.txt is not there (404)")
        await publishing.attempt(nasdaq.source, 23, "refused", "the list is cut off", digest="d" * 64)
        await publishing.attempt(nasdaq.source, 22, "failed", "no answer")  # before the list was there
        for day, markets in {21: {"GME": "NYSE", "AIM": "NYSE American"}, 22: {"GME": "NYSE"}}.items():
            await publishing.publish(nyse.source, day, f"download?selectedDate={july(day)}", nyse_list(day, markets))
        await publishing.publish(nyse.source, 23, f"download?selectedDate={july(23)}", nyse_list(23, {}, "210500"))
        repeated = {"AAA": "G", "CCC": "G", "XXX": "G", "GME": "NYSE"}
        await publishing.publish(occ.source, 21, "threshold-securities?reportDate=20260721", nyse_list(21, repeated))
        amended = nasdaq_list(AMENDED_DAY, AMENDED, "230959")
        before = 1_001 + sorted(NASDAQ, reverse=True).index(AMENDED_DAY)
        await publishing.publish(nasdaq.source, AMENDED_DAY, "nasdaqth20260708.txt", amended, [before])
        yield served
