"""The contract of the port `Warehouse`, on the engine of ours and, when SPOTLIGHTD_CLICKHOUSE_URL names one, on a server.

SPOTLIGHTD_CLICKHOUSE_USER and SPOTLIGHTD_CLICKHOUSE_PASSWORD go with it; the tests make and drop a database of their own.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
import pytest_asyncio

from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.clients.clickhouse.values import encode_block
from spotlightd.datasets.system import SYSTEM_DATASETS, loads
from spotlightd.engine.lock import state_lock
from spotlightd.engine.process import Engine
from spotlightd.errors import SettingsError, StoreError
from spotlightd.model.dataset import Column, Dataset, Rhythm
from spotlightd.ports.warehouse import Limits, Warehouse
from spotlightd.settings.stores import EngineSettings, WarehouseSettings
from spotlightd.sql.visibility import visible_condition

pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVER = os.environ.get("SPOTLIGHTD_CLICKHOUSE_URL", "")
NOON = datetime(2021, 1, 4, 12, 30, 15, 123456, tzinfo=UTC)
UID = uuid.UUID("12345678-1234-5678-1234-567812345678")

VALUES: dict[str, list[Any]] = {
    "Int8": [-128, 0, 127],
    "Int16": [-32768, 32767],
    "Int32": [-(2**31), 2**31 - 1],
    "Int64": [-(2**63), 2**63 - 1],
    "UInt8": [0, 255],
    "UInt16": [0, 65535],
    "UInt32": [0, 2**32 - 1],
    "UInt64": [0, 2**53 + 1, 2**64 - 1],
    "Float64": [0.0, -1.5, 1e300],
    "String": ["", 'it\'s \\ \t \n \r \0 `x` "y"', "日本 é 😀", "x" * 100_000],
    "FixedString(9)": ["00165R101", "A", ""],
    "Date": [date(1970, 1, 1), date(2021, 1, 4), date(2149, 6, 6)],
    "DateTime64(6, 'UTC')": [NOON, datetime(1970, 1, 1, tzinfo=UTC)],
    "DateTime64(3,'UTC')": [NOON.replace(microsecond=123000)],
    "DateTime64(0, 'UTC')": [NOON.replace(microsecond=0)],
    "UUID": [UID],
    "Bool": [True, False],
    "Decimal(9, 2)": [Decimal("-1234567.89"), Decimal("0.00")],
    "Decimal(18, 4)": [Decimal("12345678901234.5678")],
    "Decimal(38, 10)": [Decimal("1234567890123456789012345678.0123456789")],
    "Decimal(60, 2)": [Decimal("1" * 50 + ".25")],
    "Nullable(String)": [None, "", "x"],
    "Nullable(Decimal(18, 4))": [None, Decimal("1.5000")],
    "Nullable(DateTime64(6, 'UTC'))": [None, NOON],
    "Nullable(UInt64)": [None, 0],
    "Nullable(UUID)": [None, UID],
    "LowCardinality(String)": ["", "GME", "é"],
    "LowCardinality(Nullable(String))": [None, "GME"],
    "LowCardinality(FixedString(3))": ["USD"],
    "Array(UInt64)": [[], [1, 2**64 - 1]],
    "Array(String)": [[], ["it's", "a\tb", ""]],
    "Array(Date)": [[date(2021, 1, 4)]],
    "Array(DateTime64(6, 'UTC'))": [[NOON]],
    "Array(Decimal(18, 4))": [[Decimal("1.5000"), Decimal("-2.0000")]],
    "Array(FixedString(3))": [["USD", "EU"]],
    "Array(UUID)": [[UID]],
    "Map(LowCardinality(String), String)": [{}, {"a": "it's", "b c": "é"}],
}


def constructed(name: str, *columns: Column, by_load: bool = True) -> Dataset:
    """A constructed dataset."""
    return Dataset(
        name=name,
        title="Constructed",
        publisher="nobody",
        about="For tests.",
        columns=(Column("n", "UInt64", "a number"), *columns),
        key=("n",),
        order=("n",),
        time="n",
        rhythm=Rhythm("never", stale_days=0),
        by_load=by_load,
    )


def table_name(kind: str) -> str:
    return "t_" + "".join(letter.lower() if letter.isalnum() else "_" for letter in kind).strip("_")


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["engine", *(["server"] if SERVER else [])])
async def warehouse(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ClickHouse]:
    settings = WarehouseSettings(query_seconds=60.0)
    if request.param == "server":
        user, password = (os.environ.get(f"SPOTLIGHTD_CLICKHOUSE_{name}", "") for name in ("USER", "PASSWORD"))
        database = f"spotlightd_test_{uuid.uuid4().hex[:8]}"
        async with ClickHouse(SERVER, user or "default", password, database, settings) as client:
            yield client
            await client.execute(f"DROP DATABASE {database} SYNC")
        return
    with state_lock(tmp_path_factory.mktemp("state")) as state:
        ignore_events = lambda *_, **__: None  # noqa: E731
        async with (
            Engine(state, EngineSettings(memory_bytes=2 << 30), on_event=ignore_events) as engine,
            ClickHouse(engine.url, engine.user, engine.password, "spotlightd", settings) as client,
        ):
            yield client


async def count(warehouse: Warehouse, dataset: Dataset) -> int:
    return int((await warehouse.rows(f"SELECT count() FROM {dataset.name}")).rows[0][0])


async def test_the_client_is_a_warehouse(warehouse: ClickHouse) -> None:
    port: Warehouse = warehouse
    assert port is warehouse


@pytest.mark.parametrize("name", ["default", "", "Upper", "a-b", "a; DROP DATABASE b"])
async def test_the_default_database_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match=r"warehouse\.database"):
        ClickHouse("http://127.0.0.1:1", "", "", name, WarehouseSettings())


async def test_an_unreachable_warehouse_is_reported() -> None:
    with pytest.raises(StoreError, match=r"the warehouse at 127\.0\.0\.1:1 does not answer: "):
        async with ClickHouse("http://127.0.0.1:1", "u", "p", "spotlightd", WarehouseSettings(connect_seconds=1.0)):
            pass


async def test_ping_sends_a_query(warehouse: ClickHouse) -> None:
    await warehouse.ping()


@pytest.mark.parametrize("kind", VALUES)
async def test_every_kind_of_value_comes_back_as_it_was_inserted(warehouse: ClickHouse, kind: str) -> None:
    dataset = constructed(table_name(kind), Column("value", kind, "a value"))
    await warehouse.ensure(dataset)
    rows = [[index, value, 1, 0, index] for index, value in enumerate(VALUES[kind])]
    await warehouse.insert(dataset, rows)
    answer = await warehouse.rows(f"SELECT value FROM {dataset.name} ORDER BY n")
    assert [row[0] for row in answer.rows] == VALUES[kind]
    for (value,) in answer.rows:
        for item in value if isinstance(value, list) else [value]:
            assert not isinstance(item, datetime) or item.tzinfo is UTC


@pytest.mark.parametrize("kind", [kind for kind in VALUES if not kind.startswith("Map(")])
async def test_every_kind_of_value_can_be_bound(warehouse: ClickHouse, kind: str) -> None:
    plain = kind.removeprefix("LowCardinality(").removesuffix(")") if kind.startswith("LowC") else kind
    for value in VALUES[kind]:
        answer = await warehouse.rows(f"SELECT {{value:{plain}}} AS value", {"value": value})
        assert answer.rows == ((value,),)


async def test_a_time_of_another_zone_is_bound_as_the_same_instant(warehouse: ClickHouse) -> None:
    tokyo = NOON.astimezone(timezone(timedelta(hours=9)))
    assert (await warehouse.rows("SELECT {at:DateTime64(6, 'UTC')}", {"at": tokyo})).rows == ((NOON,),)
    with pytest.raises(ValueError, match="without a zone"):
        await warehouse.rows("SELECT {at:DateTime64(6, 'UTC')}", {"at": NOON.replace(tzinfo=None)})


@pytest.mark.parametrize(
    "text", ["'", "\\", "\\'", "\t", "\n", "`", "\\N", "{a:String}", "'; DROP TABLE t; --", "%s", "é\0x"]
)
async def test_a_hostile_text_is_only_a_value(warehouse: ClickHouse, text: str) -> None:
    answer = await warehouse.rows("SELECT {a:String} AS a, {b:Array(String)} AS b", {"a": text, "b": [text]})
    assert answer.dicts() == [{"a": text, "b": [text]}]


async def test_thousands_of_values_can_be_bound(warehouse: ClickHouse) -> None:
    many = list(range(100_000))
    sql = "SELECT count() FROM numbers(200000) WHERE number IN {many:Array(UInt64)}"
    assert (await warehouse.rows(sql, {"many": many})).rows == ((100_000,),)


async def test_an_answer_without_rows_has_its_names(warehouse: ClickHouse) -> None:
    answer = await warehouse.rows("SELECT 1 AS a, 'x' AS b WHERE 0")
    assert (answer.names, answer.rows) == (("a", "b"), ())


async def test_text_that_is_not_utf8_is_shown_and_not_refused(warehouse: ClickHouse) -> None:
    assert (await warehouse.rows(r"SELECT 'a\xff' AS a")).rows == (("a\\xff",),)


@pytest.mark.parametrize(
    ("sql", "limits", "code", "slow"),
    [
        ("SELECT sum(number) FROM numbers(1000000000000)", Limits(seconds=0.3), 159, True),
        ("SELECT number FROM numbers(1000)", Limits(result_rows=10), 396, True),
        ("SELECT groupArray(number) FROM numbers(100000000)", Limits(memory_bytes=50_000_000), 241, True),
        ("SELECT nothing", None, 47, False),
        ("SELEC", None, 62, False),
    ],
)
async def test_a_failure_has_clickhouses_code_and_distinguishes_limits_from_mistakes(
    warehouse: ClickHouse,
    sql: str,
    limits: Limits | None,
    code: int,
    slow: bool,
) -> None:
    with pytest.raises(StoreError) as raised:
        await warehouse.rows(sql, limits=limits)
    assert (raised.value.code, raised.value.slow) == (code, slow)
    assert "http://" not in str(raised.value)


@pytest.mark.parametrize("form", ["CSVWithNames", "JSONEachRow", "JSONCompact", "ArrowStream", "Parquet", "Native"])
async def test_a_stream_is_whole_in_every_format(warehouse: ClickHouse, form: str) -> None:
    async with warehouse.stream("SELECT number FROM numbers({n:UInt64})", form, {"n": 500_000}) as chunks:
        size = sum([len(chunk) async for chunk in chunks])
    async with warehouse.stream("SELECT number FROM numbers(10)", form) as chunks:
        small = sum([len(chunk) async for chunk in chunks])
    assert size > small > 0


async def test_a_stream_that_fails_late_raises_with_the_reason(warehouse: ClickHouse) -> None:
    sql = (
        "SELECT repeat('x', 50), throwIf(number = 300000, 'out of luck') FROM numbers(1000000) SETTINGS max_threads = 1"
    )
    with pytest.raises(StoreError, match="broke off: out of luck") as raised:  # noqa: PT012  it fails at its end
        async with warehouse.stream(sql, "CSVWithNames") as chunks:
            async for _ in chunks:
                pass
    assert raised.value.code == 395


async def test_what_the_reader_of_a_stream_raises_is_not_changed(warehouse: ClickHouse) -> None:
    with pytest.raises(KeyError):
        async with warehouse.stream("SELECT 1", "CSV"):
            raise KeyError


async def test_a_stream_inserted_is_counted(warehouse: ClickHouse) -> None:
    dataset = constructed("streamed", Column("text", "String", "a text"))
    await warehouse.ensure(dataset)
    stream = encode_block(dataset, [[number, f"row {number}", 1, 0, number] for number in range(200_000)])

    async def pieces() -> AsyncIterator[bytes]:
        for index in range(0, len(stream), 100_000):
            yield stream[index : index + 100_000]

    assert await warehouse.insert_stream(dataset, pieces()) == 200_000
    assert await count(warehouse, dataset) == 200_000


async def test_a_repeat_with_its_token_changes_nothing_and_without_one_doubles(warehouse: ClickHouse) -> None:
    dataset = constructed("repeated")
    await warehouse.ensure(dataset)
    rows = [[number, 1, 0, 1] for number in range(100)]
    for _ in range(3):
        await warehouse.insert(dataset, rows, token="the same")
    assert await count(warehouse, dataset) == 100
    await warehouse.insert(dataset, rows, token="another")
    assert await count(warehouse, dataset) == 200
    for _ in range(2):
        await warehouse.insert(dataset, rows)
    assert await count(warehouse, dataset) == 400


async def test_no_rows_are_no_insert(warehouse: ClickHouse) -> None:
    dataset = constructed("empty")
    await warehouse.ensure(dataset)
    await warehouse.insert(dataset, [])
    assert await count(warehouse, dataset) == 0


@pytest.mark.parametrize("value", [-1, "x", 1.5, 2**64, None, True, NOON])
async def test_a_value_that_does_not_fit_is_refused_and_nothing_is_written(warehouse: ClickHouse, value: Any) -> None:
    dataset = constructed("unfit")
    await warehouse.ensure(dataset)
    with pytest.raises(StoreError):
        await warehouse.insert(dataset, [[1, 1, 0, 1], [value, 1, 0, 1]])
    assert await count(warehouse, dataset) == 0


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("DateTime64(6, 'UTC')", NOON.replace(tzinfo=None)),
        ("Date", NOON),
        ("Decimal(9, 2)", 1.5),
        ("Decimal(9, 2)", Decimal("1.234")),
        ("Array(UInt8)", [1.5]),
    ],
)
async def test_a_value_that_would_be_changed_is_refused(warehouse: ClickHouse, kind: str, value: Any) -> None:
    dataset = constructed("changing", Column("value", kind, "a value"))
    with pytest.raises(StoreError, match="do not fit"):
        await warehouse.insert(dataset, [[1, value, 1, 0, 1]])


async def test_a_row_of_a_wrong_length_is_refused(warehouse: ClickHouse) -> None:
    with pytest.raises(StoreError, match="do not fit"):
        await warehouse.insert(constructed("short"), [[1, 1]])


async def test_a_stream_that_lacks_a_column_is_refused(warehouse: ClickHouse) -> None:
    dataset = constructed("lacking", Column("text", "String", "a text"))
    await warehouse.ensure(dataset)

    async def lacking() -> AsyncIterator[bytes]:
        yield encode_block(constructed("lacking"), [[1, 1, 0, 1]])

    with pytest.raises(StoreError):
        await warehouse.insert_stream(dataset, lacking())
    assert await count(warehouse, dataset) == 0


async def test_a_table_is_made_once_and_gains_new_columns(warehouse: ClickHouse) -> None:
    old = constructed("growing")
    new = constructed("growing", Column("text", "String", "a text"))
    await warehouse.ensure(old)
    await warehouse.insert(old, [[1, 1, 0, 1]])
    for _ in range(2):
        await warehouse.ensure(new)
    await warehouse.insert(new, [[2, "x", 1, 0, 2]])
    answer = await warehouse.rows("SELECT n, text FROM growing ORDER BY n")
    assert answer.rows == ((1, ""), (2, "x"))
    assert "text" in (await warehouse.rows("SELECT * FROM growing_current")).names


async def test_a_column_of_another_type_is_refused_in_a_sentence(warehouse: ClickHouse) -> None:
    await warehouse.ensure(constructed("changed", Column("price", "Decimal(18, 4)", "a price")))
    await warehouse.ensure(constructed("changed", Column("price", "Decimal(18,4)", "a price")))
    with pytest.raises(StoreError, match=r"column price is Decimal\(18, 4\), but the dataset declares String"):
        await warehouse.ensure(constructed("changed", Column("price", "String", "a price")))


async def test_tables_keep_tokens_and_are_written_through_to_the_disk(warehouse: ClickHouse) -> None:
    await warehouse.ensure(loads)
    answer = await warehouse.rows("SELECT create_table_query FROM system.tables WHERE name = 'loads'")
    text = answer.rows[0][0]
    for setting in ("non_replicated_deduplication_window = 1000", "fsync_after_insert = 1", "fsync_part_directory = 1"):
        assert setting in text


async def test_our_own_records_have_tables_and_no_view(warehouse: ClickHouse) -> None:
    for dataset in SYSTEM_DATASETS:
        await warehouse.ensure(dataset)
    answer = await warehouse.rows(
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine = 'View'"
    )
    assert not {f"{dataset.name}_current" for dataset in SYSTEM_DATASETS} & {name for (name,) in answer.rows}


async def test_a_reader_sees_what_was_published_and_not_superseded_by_its_pin(warehouse: ClickHouse) -> None:
    dataset = constructed("pinned")
    await warehouse.ensure(dataset)
    for load_id in (11, 12, 13, 14):
        await warehouse.insert(dataset, [[load_id, load_id, 0, 1]])
    published = [(1, "pinned", 11, []), (2, "other", 12, [11]), (3, "pinned", 12, []), (4, "pinned", 13, [11, 12])]
    rows = [
        [seq, name, load_id, "s", "c", "a" * 64, "1", 1, 0, superseded, NOON, 0]
        for seq, name, load_id, superseded in published
    ]
    await warehouse.insert(loads, rows)
    visible = []
    for seq in range(6):
        sql = f"SELECT n FROM pinned WHERE {visible_condition(dataset)} ORDER BY n"
        visible.append([n for (n,) in (await warehouse.rows(sql, {"seq": seq})).rows])
    assert visible == [[], [11], [11], [11, 12], [13], [13]]
    assert (await warehouse.rows("SELECT n FROM pinned_current")).rows == ((13,),)


async def test_a_statement_without_an_answer_takes_parameters(warehouse: ClickHouse) -> None:
    dataset = constructed("swept")
    await warehouse.ensure(dataset)
    await warehouse.insert(dataset, [[number, number % 3, 0, 1] for number in range(30)])
    await warehouse.execute(
        "DELETE FROM swept WHERE load_id IN {dead:Array(UInt64)}", {"dead": [0, 2, *range(10, 5000)]}
    )
    assert await count(warehouse, dataset) == 10
    with pytest.raises(StoreError) as raised:
        await warehouse.execute("DROP TABLE no_such_table")
    assert raised.value.code == 60


async def test_many_use_one_client_at_once(warehouse: ClickHouse) -> None:
    answers = await asyncio.gather(*(warehouse.rows("SELECT {n:UInt64}", {"n": n}) for n in range(200)))
    assert [answer.rows[0][0] for answer in answers] == list(range(200))
