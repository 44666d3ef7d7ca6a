"""`/data/{dataset}`: filters, order, pages, counts, as_of, and hostile input, on a real engine."""

from __future__ import annotations

import json
import re
from datetime import date
from typing import Any
from urllib.parse import parse_qs, quote, urlencode

import pytest

from tests.web.world import COMPANIES, FAILS, HOSTILE, World, corrected, half_month

pytestmark = pytest.mark.asyncio(loop_scope="session")
VISIBLE = 6 * 9 + 6 * 11 - 1
SORTABLE = [*(column.name for column in FAILS.columns), "line"]
INJECTIONS = (
    "' OR 1=1 --", "'; DROP TABLE loads; --", "\\", "\\'", "x') UNION ALL SELECT * FROM documents --", "{seq:UInt64}", "%00", "\x00",
    "\t\n\r", "日本", "GME\x00", "a" * 500,
)  # fmt: skip


async def rows(world: World, **filters: Any) -> list[dict[str, Any]]:
    status, text, _ = await world.get(f"/data/sec_ftd.json?{urlencode(filters)}")
    assert status == 200, text
    parsed: list[dict[str, Any]] = json.loads(text)["rows"]
    return parsed


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ({}, VISIBLE),
        ({"symbol": "GME"}, 20),
        ({"symbol": ""}, 20),
        ({"symbol__in": "GME,AMC"}, 39),
        ({"symbol__ne": "GME"}, VISIBLE - 20),
        ({"cusip": "36467W109"}, 20),
        ({"cusip__startswith": "36467W"}, 20),
        ({"description__contains": "gamestop"}, 20),
        ({"description__contains": "%"}, 0),
        ({"description": HOSTILE}, 20),
        ({"price__isnull": "1"}, 40),
        ({"price__isnull": "0"}, VISIBLE - 40),
        ({"price__ne": "19.95"}, VISIBLE - 20),
        ({"price__lte": "0.01"}, 20),
        ({"settlement_date": "2021-01-04"}, 6),
        ({"settlement_date__between": "2021-01-04,2021-01-05"}, 12),
        ({"settlement_date__lt": "2021-01-05"}, 6),
        ({"line": "2"}, 2),
        ({"quantity__gte": "0", "symbol": "GME"}, 20),
    ],
)
async def test_filters_select_the_right_rows(world: World, filters: dict[str, str], count: int) -> None:
    assert len(await rows(world, **filters)) == count


@pytest.mark.parametrize("text", INJECTIONS)
@pytest.mark.parametrize(
    "name", ["symbol", "description__contains", "cusip__in", "quantity", "price__gte", "settlement_date__between"]
)
async def test_hostile_values_are_only_ever_values(world: World, name: str, text: str) -> None:
    status, answer, _ = await world.get(f"/data/sec_ftd.json?{name}={quote(text)}")
    assert status in (200, 400), answer
    if status == 200:
        column = name.partition("__")[0]
        assert all(text.lower() in str(row[column]).lower() for row in json.loads(answer)["rows"])
    assert len(await rows(world)) == VISIBLE


@pytest.mark.parametrize(
    "name", ["1", "quantity)--", "quantity`", "sleep(3)", "__class__", "symbol__", "a" * 300, "_next", "%F0%9F%A6%8A"]
)
async def test_hostile_column_names_are_refused(world: World, name: str) -> None:
    status, answer, _ = await world.get(f"/data/sec_ftd.json?{quote(name)}=x")
    assert status == 400, answer
    assert json.loads(answer)["error"]["detail"]


@pytest.mark.parametrize("way", ["_sort", "_sort_desc"])
@pytest.mark.parametrize("column", SORTABLE)
async def test_pages_follow_one_another_through_every_row_once(world: World, column: str, way: str) -> None:
    read_rows: list[tuple[Any, ...]] = []
    address: str | None = f"/data/sec_ftd.json?{way}={column}&_size=37"
    while address:
        status, text, answer = await world.get(address)
        assert status == 200, text
        page = json.loads(text)
        read_rows += [tuple(row.values()) for row in page["rows"]]
        address = page["next"]
        assert ("next" in answer.links) == bool(address)
    assert len(read_rows) == VISIBLE
    assert len(set(read_rows)) == VISIBLE
    if column != "line":
        values = [row[SORTABLE.index(column)] for row in read_rows]
        known = [value for value in values if value is not None]
        assert known == sorted(known, reverse=way == "_sort_desc")
        assert values[len(known) :] == [None] * (len(values) - len(known))


async def test_a_cursor_of_another_order_is_refused(world: World) -> None:
    _, text, _ = await world.get("/data/sec_ftd.json?_sort=quantity&_size=5")
    mark = parse_qs(json.loads(text)["next"])["_next"][0]
    status, text, _ = await world.get(f"/data/sec_ftd.json?_sort=symbol&_size=5&_next={mark}")
    assert status == 400
    assert "_next" in json.loads(text)["error"]["detail"]


async def test_as_of_shows_what_was_known_then(world: World) -> None:
    first = half_month_b()[0][3]
    then = await rows(world, symbol="GME", settlement_date="2021-01-15", as_of="2021-03-20T09:02:30Z")
    now = await rows(world, symbol="GME", settlement_date="2021-01-15")
    assert (then[0]["quantity"], now[0]["quantity"]) == (first, first + 555)
    assert len(await rows(world, as_of="2021-03-20T09:01:30Z")) == 54
    assert await rows(world, as_of="2021-03-19") == []


def half_month_b() -> Any:
    return half_month(date(2021, 1, 15), 11, 2)


async def test_a_page_names_the_publication_that_it_shows(world: World) -> None:
    _, text, _ = await world.get("/data/sec_ftd?as_of=2021-03-20T09:01:30Z")
    assert "As of publication 1," in text
    assert "the state requested with as_of=2021-03-20T09:01:30Z" in text
    _, text, _ = await world.get("/data/sec_ftd")
    assert "As of publication 3," in text


async def test_records_of_this_instance_have_no_earlier_states(world: World) -> None:
    status, text, _ = await world.get("/data/runs.json?as_of=2021-03-20")
    assert status == 400
    assert "has no earlier states" in json.loads(text)["error"]["detail"]


async def test_facets_count_the_filtered_rows(world: World) -> None:
    _, text, _ = await world.get("/data/sec_ftd?_facet=symbol&symbol__ne=AMC")
    assert "By symbol" in text
    for symbol, *_ in COMPANIES:
        assert (f"symbol={quote(symbol, safe='')}" in text) == (symbol != "AMC")


async def test_a_filter_form_leads_to_a_permalink(world: World) -> None:
    sent = "/data/sec_ftd?symbol=GME&_filter_column=quantity&_filter_op=gte&_filter_value=10&as_of="
    status, _, answer = await world.get(sent)
    assert (status, answer.headers["Location"]) == (303, "/data/sec_ftd?symbol=GME&quantity__gte=10")


async def test_texts_of_publishers_are_escaped(world: World) -> None:
    _, text, _ = await world.get("/data/sec_ftd?symbol=EVIL")
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)" in text
    _, text, _ = await world.get("/data/sec_ftd?symbol=ZERO")
    assert "\0" not in text
    assert "ZERO␀NUL" in text


async def test_the_same_state_is_not_sent_twice(world: World) -> None:
    for path in (
        "/data/sec_ftd?symbol=GME",
        "/data/sec_ftd.csv?symbol=GME",
        "/s/GME",
        "/data/sec_ftd/2021-01-15,36467W109,GME",
    ):
        _, _, first = await world.get(path)
        status, text, _ = await world.get(path, headers={"If-None-Match": f'"other", {first.headers["ETag"]}'})
        assert (status, text) == (304, "")
        status, _, other = await world.get(f"{path}{'&' if '?' in path else '?'}as_of=2021-03-20T09:02:30Z")
        assert status == 200
        assert other.headers["ETag"] != first.headers["ETag"]


async def test_schema_json_names_every_column(world: World) -> None:
    _, text, _ = await world.get("/data/sec_ftd/schema.json")
    schema = json.loads(text)
    assert [column["name"] for column in schema["columns"]] == [column.name for column in FAILS.columns]
    assert schema["notes"] == list(FAILS.notes)


async def test_an_unknown_dataset_or_format_names_those_that_exist(world: World) -> None:
    status, text, _ = await world.get("/data/sec_fdt")
    assert status == 404
    assert "sec_ftd" in text
    status, text, _ = await world.get("/data/sec_ftd.xlsx")
    assert status == 404
    assert ".parquet" in text


async def test_the_constructed_correction_lacks_one_row() -> None:
    rows = half_month_b()
    assert len(corrected(rows)) == len(rows) - 1


async def test_the_next_page_is_of_the_same_state(world: World) -> None:
    _, text, _ = await world.get("/data/sec_ftd.json?_size=5")
    assert "as_of=2021-03-20T09:03:00Z" in json.loads(text)["next"]
    _, text, _ = await world.get("/data/sec_ftd.json?_size=5&as_of=2021-03-20T09:02:30Z")
    assert "as_of=2021-03-20T09:02:30Z" in json.loads(text)["next"]


async def test_a_decimal_is_a_number_with_all_its_digits(world: World) -> None:
    for path in (
        "/data/sec_ftd.json?symbol=GME&_size=1",
        "/data/sec_ftd.json?symbol=GME",
        "/data/sec_ftd/2021-01-04,36467W109,GME.json",
    ):
        _, text, _ = await world.get(path)
        assert re.search(r'"(price|value)": ?19\.95[,}\n]', text)
