"""Columns that are maps and lists of amounts: on pages, in files, in filters and in citations. The messages are constructed."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator
from decimal import Decimal
from html import unescape

import pyarrow.ipc
import pyarrow.parquet
import pytest
import pytest_asyncio

from spotlightd.datasets.swaps import swaps
from spotlightd.datasets.system import SYSTEM_DATASETS
from spotlightd.ports.warehouse import Limits
from spotlightd.query import verify
from spotlightd.query.citation import Library
from tests.web.swaps_world import message
from tests.web.world import World, open_database, publish

pytestmark = pytest.mark.asyncio(loop_scope="session")
OTHER = {"Call amount": "132405004+", "Fixed rate day count convention-leg 1": "A004"}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def maps(world: World) -> AsyncIterator[World]:
    async with open_database(world, "maps", [swaps]) as opened:
        messages = [
            message(1, other=OTHER, payment_amounts=[Decimal("1.5"), Decimal(100)], flags=["points_to_itself"]),
            message(2, other={"Put amount": "it's"}),
            message(3),
        ]
        await publish(opened, swaps, messages)
        yield opened


async def read_raw(maps: World, path: str) -> bytes:
    assert maps.session
    async with maps.session.get(maps.address + path) as answer:
        raw = await answer.read()
        assert answer.status == 200, raw
        return raw


async def test_a_page_shows_names_and_texts(maps: World) -> None:
    page = unescape((await read_raw(maps, "/data/swaps?_cols=message_id,other,payment_amounts")).decode())
    assert "Call amount: 132405004+; Fixed rate day count convention-leg 1: A004" in page
    assert "1.5" in page


async def test_a_filter_finds_the_rows_that_have_a_name(maps: World) -> None:
    raw = await read_raw(maps, "/data/swaps.json?other__contains=Put%20amount&_cols=message_id,other")
    assert [row["other"] for row in json.loads(raw)["rows"]] == [{"Put amount": "it's"}]


@pytest.mark.parametrize("parameter", ["_sort=other", "_facet=other", "other=A004", "other__startswith=A"])
async def test_a_map_has_no_order_and_no_other_filter(maps: World, parameter: str) -> None:
    status, text, _ = await maps.get(f"/data/swaps?{parameter}")
    assert status == 400
    assert "other" in text


async def test_every_format_has_the_map(maps: World) -> None:
    address = "/data/swaps.{}?_cols=message_id,other,payment_amounts&_sort=message_id"
    raw = {
        suffix: await read_raw(maps, address.format(suffix)) for suffix in ("csv", "json", "ndjson", "arrow", "parquet")
    }
    assert json.loads(raw["json"])["rows"][0]["other"] == OTHER
    assert [json.loads(line)["other"] for line in raw["ndjson"].splitlines()] == [OTHER, {"Put amount": "it's"}, {}]
    first, second, third = csv.DictReader(io.StringIO(raw["csv"].decode()))
    assert first["other"] == "{'Call amount':'132405004+','Fixed rate day count convention-leg 1':'A004'}"
    assert (second["other"], third["other"]) == (r"{'Put amount':'it\'s'}", "{}")
    for table in (
        pyarrow.ipc.open_stream(raw["arrow"]).read_all(),
        pyarrow.parquet.read_table(io.BytesIO(raw["parquet"])),
    ):
        assert [dict(row) for row in table["other"].to_pylist()] == [OTHER, {"Put amount": "it's"}, {}]
        assert table["payment_amounts"].to_pylist()[0] == [Decimal("1.5"), Decimal(100)]


async def test_a_citation_of_rows_with_maps_is_the_same_each_time(maps: World) -> None:
    library = Library(maps.warehouse, (swaps, *SYSTEM_DATASETS), Limits(seconds=60))
    first = await verify.cite(library, "/data/swaps?action=NEW", None)
    again = await verify.cite(library, "/data/swaps?action=NEW", None)
    assert first.result == again.result
    assert first.result.rows == 3


async def test_the_page_of_a_row_and_its_schema_name_the_map(maps: World) -> None:
    schema = json.loads(await read_raw(maps, "/data/swaps/schema.json"))
    column = next(column for column in schema["columns"] if column["name"] == "other")
    assert (column["kind"], column["filters"]) == ("map", ["contains"])
    page = unescape((await read_raw(maps, "/data/swaps/DTCC,SEC,9000000000000000001")).decode())
    assert "Call amount" in page
