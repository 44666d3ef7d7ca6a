"""The real engine reads what lies in the bucket, and still nothing else."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from spotlightd.clients.bucket.folder import FolderBucket
from spotlightd.clients.bucket.s3 import S3Bucket
from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.engine.process import Engine
from spotlightd.errors import StoreError
from spotlightd.model.bucket import BucketAccess, EngineReach
from spotlightd.ports.storage import Bucket
from tests.clients.bucket_world import SHORT_TIMEOUTS, make_settings, put_object
from tests.polling import until
from tests.real.store import BUCKET
from tests.real.stores import Minio

from .world import client_of, engine_on

STRUCTURE = "n UInt64, text String, day Date"
ROWS = (
    "SELECT number AS n, concat('it''s ', toString(number)) AS text, toDate('2024-05-06') AS day FROM numbers({0}, {1})"
)
AS_TEXT = "SELECT n, text, toString(day) FROM {0} ORDER BY n"


@dataclass(frozen=True, slots=True)
class Place:
    """An engine that may reach a bucket. `keys` are the secrets that nobody may see."""

    bucket: Bucket
    engine: Engine
    warehouse: ClickHouse
    folder: Path
    keys: tuple[str, ...] = ()


@pytest.fixture(params=["folder", "minio"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    async with AsyncExitStack() as stack:
        if request.param == "folder":
            bucket: Bucket = await stack.enter_async_context(FolderBucket(tmp_path / "bucket"))
            reach = EngineReach(folder=str(tmp_path / "bucket"))
        else:
            store: Minio = request.getfixturevalue("minio")
            access = BucketAccess(store.access_key, store.secret_key, f"tests/{secrets.token_hex(6)}/")
            bucket = await stack.enter_async_context(S3Bucket(make_settings(store.url), access))
            reach = EngineReach(
                "", store.port, f"{store.url}/{BUCKET}/{access.prefix}", access.access_key, access.secret_key
            )
        engine = await stack.enter_async_context(engine_on(tmp_path / "state", bucket=reach))
        warehouse = await stack.enter_async_context(client_of(engine))
        yield Place(
            bucket, engine, warehouse, tmp_path / "state", tuple(filter(None, (reach.access_key, reach.secret_key)))
        )


async def exported(warehouse: ClickHouse, sql: str) -> bytes:
    async with warehouse.stream(sql, "Parquet") as chunks:
        return b"".join([chunk async for chunk in chunks])


async def test_rows_come_back_as_they_went_in(place: Place) -> None:
    names = []
    for number, (first, rows) in enumerate([(0, 1000), (1000, 500), (1500, 1)]):
        names.append(f"cold/archive_day=2024-05-06/n=77/part-{number}.parquet")
        await put_object(place.bucket, names[-1], await exported(place.warehouse, ROWS.format(first, rows)))
    hot = ROWS.format(0, 1501)
    for some, rows in ((names[:1], 1000), (names[:2], 1500), (names, 1501)):
        cold = await place.warehouse.rows(AS_TEXT.format(place.bucket.table(some, STRUCTURE)))
        assert cold == await place.warehouse.rows(AS_TEXT.format(f"({hot}) WHERE n < {rows}"))
    answer = await place.warehouse.rows(
        f"SELECT count(), sum(n) FROM {place.bucket.table(names, STRUCTURE)} WHERE n >= 1400"
    )
    assert answer.rows == ((101, sum(range(1400, 1501))),)


async def test_a_column_that_a_file_lacks_is_an_error_and_not_filled_in(place: Place) -> None:
    await put_object(place.bucket, "a", await exported(place.warehouse, "SELECT toUInt64(1) AS n"))
    table = place.bucket.table(["a"], "n UInt64, text String")
    assert (await place.warehouse.rows(f"SELECT n FROM {table}")).rows == ((1,),)
    with pytest.raises(StoreError, match="Column text was not found"):
        await place.warehouse.rows(f"SELECT n, text FROM {table}")


async def test_a_view_over_it_can_be_made_and_read(place: Place) -> None:
    await put_object(place.bucket, "a", await exported(place.warehouse, ROWS.format(0, 10)))
    await place.warehouse.execute(f"CREATE VIEW colder AS SELECT n FROM {place.bucket.table(['a'], STRUCTURE)}")
    assert (await place.warehouse.rows("SELECT sum(n) FROM colder")).rows == ((45,),)


async def test_the_keys_stand_in_no_statement_table_or_file(place: Place) -> None:
    await put_object(place.bucket, "a", await exported(place.warehouse, ROWS.format(0, 10)))
    table = place.bucket.table(["a"], STRUCTURE)
    await place.warehouse.execute(f"CREATE VIEW shown AS SELECT n FROM {table}")
    statements = (
        "SHOW CREATE TABLE shown",
        f"EXPLAIN QUERY TREE SELECT n FROM {table}",
        "SELECT toString(collection) FROM system.named_collections",
        "SELECT concat(query, toString(Settings)) FROM system.processes",
        "SELECT create_table_query FROM system.tables WHERE database = currentDatabase()",
        "SELECT toString(value) FROM system.server_settings",
        f"SELECT file('{place.folder}/engine/config.xml')",
    )
    texts = [table, *[str((await place.warehouse.rows(sql)).rows) for sql in statements]]
    files = [path.read_bytes() for path in place.folder.rglob("*") if path.is_file()]
    process = Path(f"/proc/{place.engine.pid}")
    contents = b"\0".join([*files, (process / "environ").read_bytes(), (process / "cmdline").read_bytes()])
    for key in place.keys:
        assert key not in "".join(texts)
        assert key.encode() not in contents
    assert (place.folder / "engine" / "config.xml").stat().st_mode & 0o777 == 0o600


async def test_an_engine_that_was_started_again_reads_on(place: Place) -> None:
    await put_object(place.bucket, "a", await exported(place.warehouse, ROWS.format(0, 10)))
    os.kill(place.engine.pid, 9)

    async def again() -> bool:
        return place.engine.restarts > 0

    await until(again, "the engine is started again")
    answer = await place.warehouse.rows(f"SELECT sum(n) FROM {place.bucket.table(['a'], STRUCTURE)}")
    assert answer.rows == ((45,),)


ELSEWHERE = (
    "SELECT * FROM file('{outside}', 'CSV', 'a String')",
    "SELECT file('{outside}')",
    "SELECT file('/etc/passwd')",
    "SELECT * FROM url('http://127.0.0.1:{port}/', 'CSV', 'a String')",
    "SELECT * FROM s3('http://127.0.0.1:{port}/bucket/a', 'abc', 'abc', 'CSV', 'a String') SETTINGS s3_retry_attempts = 0",
    "SELECT * FROM s3(archive, url = 'http://127.0.0.1:{port}/bucket/', filename = 'a', format = 'CSV', structure = 'a String')",
    "INSERT INTO FUNCTION file('{outside}.new', 'CSV', 'a UInt8') SELECT 1",
    "INSERT INTO FUNCTION file('{inside}.new', 'CSV', 'a UInt8') SELECT 1",
)
MISTAKES = {46, 62, 115}  # unknown function, syntax, unknown setting: a test that tests nothing


async def test_nothing_else_can_be_read_written_or_connected_to(place: Place, tmp_path: Path) -> None:
    if not place.engine.sandbox.startswith("Landlock"):
        pytest.skip(f"the kernel here cannot confine: {place.engine.sandbox}")
    outside = tmp_path / "secret.csv"
    outside.write_text("canary\n")
    await put_object(place.bucket, "a", b"1\n")
    connections = 0

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        for sql in ELSEWHERE:
            with pytest.raises(StoreError) as caught:
                await place.warehouse.execute(sql.format(outside=outside, inside=tmp_path / "bucket" / "a", port=port))
            assert caught.value.code not in MISTAKES
            assert "canary" not in str(caught.value)
    finally:
        server.close()
    assert connections == 0
    assert {path.name for path in tmp_path.iterdir()} <= {"secret.csv", "bucket", "state"}
    assert not (tmp_path / "bucket" / "a.new").exists()


async def test_a_store_that_is_gone_is_noticed_soon(tmp_path: Path, free_port: int) -> None:
    url = f"http://127.0.0.1:{free_port}"
    access = BucketAccess("constructed-access", "constructed-secret", "p/")
    reach = EngineReach("", free_port, f"{url}/{BUCKET}/p/", access.access_key, access.secret_key)
    async with engine_on(tmp_path, bucket=reach) as engine, client_of(engine) as warehouse:
        async with S3Bucket(make_settings(url, **SHORT_TIMEOUTS), access) as bucket, asyncio.timeout(15):
            with pytest.raises(StoreError) as caught:
                await warehouse.rows(f"SELECT * FROM {bucket.table(['a'], STRUCTURE)}")
        assert "constructed-secret" not in str(caught.value)
