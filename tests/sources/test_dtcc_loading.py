"""A day of DTCC through the whole daemon's path: slices, the file of the day, the next day, and an audit. Constructed messages,
and the real files of 2023 and 2026.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from spotlightd import Batch, Link, Pages, swaps
from spotlightd.cli import main
from spotlightd.flows.batch.ingest import IngestRange, ingest
from spotlightd.runtime.instance import Instance, open_instance
from spotlightd.settings.settings import Settings
from spotlightd.sources.dtcc import cftc_credits, cftc_forex, cftc_rates, repository
from spotlightd.sql.visibility import visible_condition
from spotlightd.testing import MemoryPublishers, Reply

from .test_dtcc import BUCKET, GOLDEN, HEADER, message, pack

SLICES = f"{BUCKET}/cftc/slices/CFTC_SLICE_RATES_2026_11_27_"
DAYS = f"{BUCKET}/cftc/eod/CFTC_CUMULATIVE_RATES_2026_11_"
REAL = {
    "day_2026_07_15": cftc_credits.source, "day_2023_08_19": cftc_forex.source, "slice_2023_08_19_51": cftc_forex.source,
    "slice_2023_08_20_1": cftc_forex.source, "slice_2023_08_20_2": cftc_forex.source,
}  # fmt: skip


def document(*numbers: int) -> Reply:
    return Reply(pack("\n".join([HEADER, *map(message, numbers), ""])), "application/zip")


def listing(source: Batch, addresses: list[str]) -> Batch:
    """The source, of which these documents exist."""

    async def discover(pages: Pages) -> AsyncIterator[Link]:
        for address in addresses:
            match = repository.NAME.search(address)
            assert match, pages
            day = date(*(int(match[part]) for part in ("year", "month", "day")))
            yield Link(address, repository.cover(day, int(match["number"] or 0)), day, day)

    return replace(source, discover=discover)


async def load(instance: Instance, source: Batch, replies: dict[str, Reply]) -> dict[str, str]:
    publishers = MemoryPublishers(replies=replies)
    batch = listing(source, list(replies))
    results = await ingest(batch, publishers.for_source(batch), instance.ingest_context(), span=IngestRange(again=True))
    return {result.link.covers: result.outcome for result in results}


async def read(instance: Instance, what: str = "message_id, toString(report_date)") -> list[tuple[Any, ...]]:
    sql = f"SELECT {what} FROM swaps WHERE {visible_condition(swaps)} ORDER BY 1"
    return [tuple(row) for row in (await instance.warehouse.rows(sql, {"seq": 2**63})).rows]


async def test_slices_the_day_and_the_next_day_have_each_message_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = replace(Settings(), state_dir=tmp_path)
    slices = {f"{SLICES}1.zip": document(1, 2), f"{SLICES}2.zip": document(3)}
    async with open_instance(settings) as instance:
        assert set((await load(instance, cftc_rates.source, slices)).values()) == {"published"}
        assert await read(instance) == [(str(number), "2026-11-27") for number in (1, 2, 3)]
        day = {f"{DAYS}27.zip": document(1, 2, 3, 4)}
        assert await load(instance, cftc_rates.source, day | {f"{SLICES}3.zip": document(4)}) == {
            "2026/11/27": "published", "2026/11/27/s00003": "covered",
        }  # fmt: skip
        assert await read(instance) == [(str(number), "2026-11-27") for number in (1, 2, 3, 4)]
        await load(instance, cftc_rates.source, {f"{DAYS}28.zip": document(4, 5)})
        assert await read(instance) == [
            ("1", "2026-11-27"), ("2", "2026-11-27"), ("3", "2026-11-27"), ("4", "2026-11-28"), ("5", "2026-11-28"),
        ]  # fmt: skip
        for case, source in REAL.items():
            (file,) = (GOLDEN / source.name / case).glob("*.zip")
            folder = "slices" if "SLICE" in file.name else "eod"
            loaded = await load(instance, source, {f"{BUCKET}/cftc/{folder}/{file.name}": Reply(file.read_bytes())})
            assert set(loaded.values()) <= {"published", "covered"}
        kinds = await read(instance, "asset_class, message_id")
    assert {kind for kind, _ in kinds} == {"CR", "FX", "IR"}
    assert len(kinds) == 5 + 1361 + 403 + 8
    capsys.readouterr()
    assert await asyncio.to_thread(main, ["audit", "swaps", "--json", "--state", str(tmp_path)]) == 0
    audited = json.loads(capsys.readouterr().out)
    assert (audited["rows"], audited["same"], audited["faults"]) == (1778, 1778, [])


async def test_a_start_and_a_rebuild_hide_repeated_messages_again_when_their_table_is_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = replace(Settings(), state_dir=tmp_path)
    once = [("1", "2026-11-27"), ("2", "2026-11-28"), ("3", "2026-11-28")]
    async with open_instance(settings) as instance:
        await load(instance, cftc_rates.source, {f"{DAYS}27.zip": document(1, 2)})
        await load(instance, cftc_rates.source, {f"{DAYS}28.zip": document(2, 3)})
        assert await read(instance) == once
        await instance.tables.check()
        await instance.warehouse.execute("DROP TABLE hidden_rows SYNC")
    async with open_instance(settings) as instance:
        assert await read(instance) == once
        assert not instance.tables.defects
        await instance.warehouse.execute("TRUNCATE TABLE hidden_rows SYNC")
        assert len(await read(instance)) == 4
    assert await asyncio.to_thread(main, ["rebuild", "hidden_rows", "--state", str(tmp_path)]) == 0
    assert "1 row is hidden" in capsys.readouterr().out
