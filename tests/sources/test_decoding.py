"""The statements around a stream's decode, on the engine, with the real table of trades."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.errors import StoreError
from spotlightd.model.stream import frames_of
from spotlightd.sources.finnhub import finnhub
from spotlightd.sql import decode
from tests.sources.stream_engine import RECEIVED, insert_frames, warehouse_in

pytestmark = pytest.mark.asyncio(loop_scope="module")

GOLDEN = Path(__file__).parent.parent / "golden" / "finnhub"
TSLA = (GOLDEN / "tsla_2023" / "frames.jsonl").read_bytes().splitlines()
AAPL = (GOLDEN / "aapl_2020" / "frames.jsonl").read_bytes().splitlines()
PING = b'{"type":"ping"}'
BROKEN = b'{"data":[{"p":1,"s":"A","t":1,"v":"2"}],"type":"trade"}'


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def warehouse(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ClickHouse]:
    async with warehouse_in(tmp_path_factory.mktemp("state")) as client:
        yield client


async def test_strict_fails_on_a_reject_and_writes_nothing(warehouse: ClickHouse) -> None:
    frames = await insert_frames(finnhub, warehouse, [*AAPL, BROKEN, *TSLA])
    with pytest.raises(StoreError, match=decode.REJECTED) as refused:
        await frames.decode(strict=True)
    assert refused.value.code == 395
    assert await frames.rows() == []


async def test_strict_looks_at_no_frame_but_those_asked_for(warehouse: ClickHouse) -> None:
    good = await insert_frames(finnhub, warehouse, AAPL)
    await insert_frames(finnhub, warehouse, [BROKEN, *TSLA])
    await warehouse.execute(f"OPTIMIZE TABLE {frames_of(finnhub).name} FINAL")
    await good.decode(strict=True)
    assert len(await good.rows()) == len(AAPL)


async def test_lenient_leaves_rejects_out_and_they_are_named(warehouse: ClickHouse) -> None:
    frames = await insert_frames(finnhub, warehouse, [*AAPL, BROKEN, PING, *TSLA, BROKEN[:-3]])
    await frames.decode()
    trades = json.loads(TSLA[0])["data"]
    assert len(await frames.rows()) == len(AAPL) + len(trades) == await frames.wanted()
    epoch = frames.span["epoch"]
    assert [row[:4] for row in await frames.rejected()] == [
        (epoch, 0, 9, BROKEN.decode()),
        (epoch, 0, 12, BROKEN[:-3].decode()),
    ]


async def test_repeats_are_neither_decoded_nor_counted_nor_rejected(warehouse: ClickHouse) -> None:
    frames = await insert_frames(finnhub, warehouse, [*AAPL, BROKEN], repeats=[0, 9])
    await frames.decode(strict=True)
    assert [row["offset"] for row in await frames.rows()] == list(range(1, 9))
    assert await frames.wanted() == 8
    assert await frames.rejected() == []


async def test_only_the_offsets_asked_for_are_decoded(warehouse: ClickHouse) -> None:
    frames = await insert_frames(finnhub, warehouse, AAPL)
    frames.span.update(lo=2, hi=5)
    await frames.decode(strict=True)
    assert [row["offset"] for row in await frames.rows()] == [2, 3, 4]
    frames.span.update(partition=1)
    assert await frames.wanted() == 0


async def test_a_load_is_the_frames_of_a_part_of_a_day(warehouse: ClickHouse) -> None:
    first = await insert_frames(finnhub, warehouse, AAPL, part=51)
    second = await insert_frames(finnhub, warehouse, TSLA, part=52)
    day = datetime.fromtimestamp(RECEIVED // 10**9, UTC).date()
    insert = decode.insert_decoded(finnhub, decode.PART, strict=True)
    await warehouse.execute(insert, {"day": day, "part": 52, "load_id": 9})
    assert await first.rows() == []
    assert len(await second.rows()) == len(json.loads(TSLA[0])["data"])
    wanted = decode.count_decoded(finnhub, decode.PART)
    before = day.replace(day=day.day - 1)
    assert (await warehouse.rows(wanted, {"day": day, "part": 51})).rows == ((len(AAPL),),)
    assert (await warehouse.rows(wanted, {"day": before, "part": 51})).rows == ((0,),)


async def test_a_row_carries_its_source_load_pointer_and_times(warehouse: ClickHouse) -> None:
    frames = await insert_frames(finnhub, warehouse, [PING, *TSLA])
    before = datetime.now(UTC)
    await frames.decode(strict=True, load_id=2**64 - 1)
    names = ("source", "load_id", "epoch", "partition", "offset", "frame_index", "received", "ingested", "type", "side")
    first, second, *_ = await frames.rows(names)
    received = datetime.fromtimestamp(RECEIVED // 10**9, UTC).replace(microsecond=RECEIVED // 1_000 % 10**6 + 1)
    assert before <= first.pop("ingested") <= datetime.now(UTC)
    assert first == {
        "source": "finnhub", "load_id": 2**64 - 1, "epoch": frames.span["epoch"], "partition": 0, "offset": 1,
        "frame_index": 0, "received": received, "type": "trade", "side": "",
    }  # fmt: skip
    assert second["frame_index"] == 1


async def test_the_uuid_is_the_rows_own_and_the_same_when_decoded_again(warehouse: ClickHouse) -> None:
    frames = await insert_frames(finnhub, warehouse, [*TSLA, *AAPL])
    uuids: list[list[Any]] = []
    for load_id in (1, 2):
        await frames.decode(strict=True, load_id=load_id)
        rows = await frames.rows(("load_id", "uuid"))
        uuids.append([row["uuid"] for row in rows if row["load_id"] == load_id])
    assert uuids[0] == uuids[1]
    assert len(set(uuids[0])) == len(uuids[0]) == len(json.loads(TSLA[0])["data"]) + len(AAPL)
