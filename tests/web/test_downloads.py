"""Downloads: the same rows in every format, exact types, and never a file that is silently short."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet
import pytest

from spotlightd.errors import StoreError
from spotlightd.settings.serving import WebSettings
from tests.web.world import FAILS as DATASET
from tests.web.world import HOSTILE, World, sha256

pytestmark = pytest.mark.asyncio(loop_scope="session")
NAMES = [column.name for column in DATASET.columns]


async def body(world: World, path: str) -> tuple[aiohttp.ClientResponse, bytes]:
    assert world.session
    async with world.session.get(world.address + path) as answer:
        return answer, await answer.read()


def parse_rows(suffix: str, raw: bytes) -> list[dict[str, Any]]:
    if suffix == "csv":
        return list(csv.DictReader(io.StringIO(raw.decode(), newline="")))
    if suffix == "json":
        rows: list[dict[str, Any]] = json.loads(raw)["rows"]
        return rows
    if suffix == "ndjson":
        return [json.loads(line) for line in raw.splitlines()]
    if suffix == "arrow":
        return list(pyarrow.ipc.open_stream(raw).read_all().to_pylist())
    return list(pyarrow.parquet.read_table(io.BytesIO(raw)).to_pylist())


@pytest.mark.parametrize(
    "filters", ["", "?symbol=EVIL", "?_size=7", "?symbol=NOBODY", "?as_of=2021-03-20T09:01:30Z", "?_receipt=1"]
)
async def test_every_format_has_the_same_rows(world: World, filters: str) -> None:
    parsed = {suffix: parse_rows(suffix, (await body(world, f"/data/sec_ftd.{suffix}{filters}"))[1])
             for suffix in ("csv", "json", "ndjson", "arrow", "parquet")}  # fmt: skip
    plain = {suffix: [[str(row[name]) for name in ("settlement_date", "cusip", "symbol", "quantity", "description")] for row in rows]
             for suffix, rows in parsed.items()}  # fmt: skip
    for suffix, rows in plain.items():
        assert rows == plain["csv"], suffix


@pytest.mark.parametrize("more", ["", "&_receipt=1", "&_sort=quantity", "&_size=3"])
async def test_a_file_begins_at_the_cursor_of_a_page(world: World, more: str) -> None:
    query = "symbol=GME" + more.replace("&_size=3", "")
    _, text, _ = await world.get(f"/data/sec_ftd.json?{query}&_size=5")
    following = json.loads(text)["next"]
    mark = following.partition("_next=")[2].partition("&")[0]
    _, rest, _ = await world.get(f"/data/sec_ftd.json?{query}&_size=1000&_next={mark}")
    wanted = [row["settlement_date"] for row in json.loads(rest)["rows"]]
    for suffix in ("csv", "ndjson", "parquet", "arrow"):
        answer, raw = await body(world, f"/data/sec_ftd.{suffix}?symbol=GME{more}&_next={mark}")
        assert answer.status == 200, raw
        assert [str(row["settlement_date"]) for row in parse_rows(suffix, raw)] == wanted[
            : 3 if "_size" in more else None
        ]


async def test_a_system_dataset_is_a_file_from_a_cursor_on(world: World) -> None:
    _, text, _ = await world.get("/data/loads.json?_size=1")
    mark = json.loads(text)["next"].partition("_next=")[2]
    answer, raw = await body(world, f"/data/loads.csv?_next={mark}")
    assert (answer.status, len(parse_rows("csv", raw))) == (200, 2)


async def test_arrow_and_parquet_keep_types_that_programs_understand(world: World) -> None:
    _, raw = await body(world, "/data/sec_ftd.parquet")
    parquet = pyarrow.parquet.read_table(io.BytesIO(raw)).schema
    _, raw = await body(world, "/data/sec_ftd.arrow")
    arrow = pyarrow.ipc.open_stream(raw).schema
    for schema in (parquet, arrow):
        assert schema.names == NAMES
        assert schema.field("settlement_date").type == pa.date32()
        assert schema.field("cusip").type == pa.string()
        assert schema.field("symbol").type == pa.string()
        assert schema.field("quantity").type == pa.uint64()
        assert schema.field("price").type == pa.decimal128(18, 4)


async def test_texts_survive_every_format_byte_for_byte(world: World) -> None:
    for suffix in ("csv", "json", "ndjson", "arrow", "parquet"):
        _, raw = await body(world, f"/data/sec_ftd.{suffix}?symbol__in=EVIL,ZERO&settlement_date=2021-01-04")
        names = {row["symbol"]: row["description"] for row in parse_rows(suffix, raw)}
        assert names == {"EVIL": HOSTILE, "ZERO": "ZERO\0NUL HOLDINGS"}


async def test_a_receipt_leads_every_row_back_to_its_line(world: World) -> None:
    _, raw = await body(world, "/data/sec_ftd.ndjson?_receipt=1")
    for row in parse_rows("ndjson", raw):
        _, document = await body(world, f"/source/{row['_document']}/raw")
        line = document.decode("latin-1").split("\n")[row["_line"] - 1]
        assert line.startswith(
            f"{row['settlement_date'].replace('-', '')}|{row['cusip']}|{row['symbol']}|{row['quantity']}|"
        )


async def test_a_download_is_named_and_typed(world: World) -> None:
    answer, _ = await body(world, "/data/sec_ftd.csv?symbol=GME")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="sec_ftd-GME.csv"'
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    answer, _ = await body(world, "/data/sec_ftd.csv?description__contains=%22%0d%0aX: y")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="sec_ftd-_X_y.csv"'


async def test_head_answers_without_reading(world: World) -> None:
    assert world.session
    for suffix in (".csv", ".parquet", ""):
        async with world.session.head(f"{world.address}/data/sec_ftd{suffix}") as answer:
            assert answer.status == 200
            assert answer.headers["ETag"]
            assert await answer.read() == b""


async def test_the_raw_bytes_match_the_digest(world: World) -> None:
    digest = world.digests["again"]
    answer, raw = await body(world, f"/source/{digest}/raw")
    assert sha256(raw) == digest
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="cnsfails202101b.zip"'
    status, _, _ = await world.get(f"/source/{digest}/raw", headers={"If-None-Match": f'"{digest}"'})
    assert status == 304


class Failing:
    """A warehouse whose downloads fail after the given chunks."""

    def __init__(self, inner: Any, chunks: list[bytes], problem: StoreError) -> None:
        self.rows, self.ping = inner.rows, inner.ping
        self._chunks, self._problem = chunks, problem

    @asynccontextmanager
    async def stream(self, *_: Any, **__: Any) -> AsyncIterator[AsyncIterator[bytes]]:
        async def chunks() -> AsyncIterator[bytes]:
            for chunk in self._chunks:
                yield chunk
            raise self._problem

        yield chunks()


@pytest.mark.parametrize("suffix", ["csv", "json", "ndjson", "arrow", "parquet"])
async def test_a_late_failure_resets_the_connection(world: World, suffix: str) -> None:
    late = Failing(world.warehouse, [b"x" * 100_000] * 3, StoreError("the answer broke off"))
    async with world.served(warehouse=late) as broken:
        with pytest.raises(aiohttp.ClientError):
            await body(broken, f"/data/sec_ftd.{suffix}")


async def test_an_early_failure_has_its_status(world: World) -> None:
    early = Failing(world.warehouse, [], StoreError("memory limit", code=241, slow=True))
    async with world.served(warehouse=early) as broken:
        status, text, _ = await broken.get("/data/sec_ftd.csv")
    assert status == 400
    assert "memory limit" in json.loads(text)["error"]["detail"]


async def test_when_all_slots_are_taken_the_client_may_retry_later(world: World) -> None:
    busy = Failing(world.warehouse, [], StoreError("too many", code=202))
    async with world.served(warehouse=busy) as full:
        status, text, answer = await full.get("/data/sec_ftd.csv")
    assert status == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert json.loads(text)["error"]["detail"] == "Too many downloads are running."


async def test_a_download_beyond_its_limit_is_an_error_and_no_shorter_file(world: World) -> None:
    async with world.served(settings=WebSettings(download_rows=50)) as limited:
        for suffix in ("csv", "json", "ndjson", "arrow", "parquet"):
            try:
                answer, raw = await body(limited, f"/data/sec_ftd.{suffix}")
            except aiohttp.ClientError:
                continue
            assert answer.status == 400, raw[:300]


async def test_a_client_that_leaves_frees_the_slot(world: World) -> None:
    left = asyncio.Event()

    class Endless(Failing):
        @asynccontextmanager
        async def stream(self, *_: Any, **__: Any) -> AsyncIterator[AsyncIterator[bytes]]:
            async def chunks() -> AsyncIterator[bytes]:
                while True:
                    yield b"x" * 65_536
                    await asyncio.sleep(0)

            try:
                yield chunks()
            finally:
                left.set()

    async with world.served(warehouse=Endless(world.warehouse, [], StoreError(""))) as endless:
        assert endless.session
        async with endless.session.get(f"{endless.address}/data/sec_ftd.csv") as answer:
            await answer.content.readany()
            answer.close()
        async with asyncio.timeout(20):
            await left.wait()
