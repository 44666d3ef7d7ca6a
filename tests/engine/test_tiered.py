"""Files of `spotlightd server-config`, tried on the real engine and a real store: parts move to the cold disk and are read.

No ClickHouse server can be had here; the engine in its child reads the same files in the same way (docs/operate.md).
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from spotlightd.clients.clickhouse.server_config import KEYS_FILE, Keys, ServerStorage
from spotlightd.errors import StoreError
from tests.polling import until
from tests.real.stores import Minio

from .tiered_world import Tiered, names_in, put_archived, put_files, storage_in, tiered

TABLE = """
CREATE TABLE ticks (day Date, n UInt64, text String) ENGINE = MergeTree PARTITION BY day ORDER BY n
SETTINGS storage_policy = 'tiered'
"""
ROWS = "INSERT INTO ticks SELECT toDate('2024-05-06') + number % 3, number, concat('it is ', toString(number)) FROM numbers(30000)"
SAME = "SELECT toString(day), count(), sum(n), sum(cityHash64(day, n, text)) FROM ticks GROUP BY day ORDER BY day"
WHERE = "SELECT partition, disk_name FROM system.parts WHERE table = 'ticks' AND active ORDER BY partition"
MOVE = "ALTER TABLE ticks MOVE PARTITION '2024-05-06' TO DISK 'cold'"
MOVED = (("2024-05-06", "cold"), ("2024-05-07", "default"), ("2024-05-08", "default"))


@pytest.fixture
def settings(minio: Minio, tmp_path: Path) -> ServerStorage:
    settings = storage_in(minio)
    put_files(tmp_path / "engine" / "config.d", settings)
    return settings


@pytest.fixture
async def place(settings: ServerStorage, minio: Minio, tmp_path: Path) -> AsyncIterator[Tiered]:
    assert settings.policy in TABLE
    async with tiered(tmp_path / "engine", minio.port) as engine:
        await filled(engine)
        yield engine


async def filled(place: Tiered) -> None:
    """A table of three days, the first of them on the cold disk."""
    await place.warehouse.execute(TABLE)
    await place.warehouse.execute(ROWS)
    await place.warehouse.execute(MOVE)


async def test_a_part_that_was_moved_to_the_store_is_read_there_also_by_an_engine_that_was_killed(
    settings: ServerStorage, minio: Minio, tmp_path: Path
) -> None:
    async with tiered(tmp_path / "engine", minio.port) as place:
        await place.warehouse.execute(TABLE)
        await place.warehouse.execute(ROWS)
        before = (await place.warehouse.rows(SAME)).rows
        assert names_in(minio, settings) == set()
        await place.warehouse.execute(MOVE)
        objects = names_in(minio, settings)
        assert objects
        assert (await place.warehouse.rows(WHERE)).rows == MOVED
        assert (await place.warehouse.rows(SAME)).rows == before
        os.kill(place.process.pid, 9)
        await place.process.wait()
    async with tiered(tmp_path / "engine", minio.port) as place:
        assert (await place.warehouse.rows(WHERE)).rows == MOVED
        assert (await place.warehouse.rows(SAME)).rows == before
    assert names_in(minio, settings) == objects


async def test_a_part_that_comes_back_leaves_no_object_behind(
    place: Tiered, settings: ServerStorage, minio: Minio
) -> None:
    before = (await place.warehouse.rows(SAME)).rows
    await place.warehouse.execute("ALTER TABLE ticks MOVE PARTITION '2024-05-06' TO VOLUME 'default'")
    assert {disk for _, disk in (await place.warehouse.rows(WHERE)).rows} == {"default"}
    assert (await place.warehouse.rows(SAME)).rows == before

    async def is_empty() -> bool:
        return not await asyncio.to_thread(names_in, minio, settings)

    await until(is_empty, "the objects are deleted", seconds=60)


async def test_parts_move_by_themselves_when_the_hot_disk_has_too_little_room(minio: Minio, tmp_path: Path) -> None:
    put_files(tmp_path / "engine" / "config.d", storage_in(minio, free_percent=99.99))  # no disk is as empty as that
    async with tiered(tmp_path / "engine", minio.port) as place:
        await place.warehouse.execute(TABLE)
        await place.warehouse.execute(ROWS)

        async def moved() -> bool:
            return {disk for _, disk in (await place.warehouse.rows(WHERE)).rows} == {"cold"}

        await until(moved, "the parts are on the cold disk", seconds=60)
        assert (await place.warehouse.rows("SELECT count(), sum(n) FROM ticks")).rows == ((30_000, 449_985_000),)


async def test_a_table_that_is_there_can_be_given_the_cold_disk_but_not_be_freed_of_it(place: Tiered) -> None:
    await place.warehouse.execute("CREATE TABLE older (n UInt64) ENGINE = MergeTree ORDER BY n")
    await place.warehouse.execute("INSERT INTO older SELECT number FROM numbers(1000)")
    await place.warehouse.execute("ALTER TABLE older MODIFY SETTING storage_policy = 'tiered'")
    await place.warehouse.execute("ALTER TABLE older MOVE PARTITION tuple() TO DISK 'cold'")
    disks = "SELECT DISTINCT disk_name FROM system.parts WHERE table = 'older' AND active"
    assert (await place.warehouse.rows(disks)).rows == (("cold",),)
    assert (await place.warehouse.rows("SELECT sum(n) FROM older")).rows == ((499_500,),)
    with pytest.raises(StoreError, match="shall contain volumes"):
        await place.warehouse.execute("ALTER TABLE older MODIFY SETTING storage_policy = 'default'")


async def test_rows_on_the_cold_disk_are_changed_and_dropped_like_others(place: Tiered) -> None:
    await place.warehouse.execute("ALTER TABLE ticks UPDATE text = 'new' WHERE n < 300 SETTINGS mutations_sync = 2")
    await place.warehouse.execute("DELETE FROM ticks WHERE n = 3")
    changed = "SELECT count() FROM ticks WHERE day = '2024-05-06' AND text = 'new'"
    assert (await place.warehouse.rows(changed)).rows == ((99,),)
    assert (await place.warehouse.rows(WHERE)).rows == MOVED
    await place.warehouse.execute("ALTER TABLE ticks DROP PARTITION '2024-05-06'")
    assert (await place.warehouse.rows("SELECT count() FROM ticks")).rows == ((20_000,),)


async def test_the_keys_stand_in_their_own_file_and_nowhere_else(place: Tiered, settings: ServerStorage) -> None:
    with pytest.raises(StoreError) as caught:
        await place.warehouse.rows(
            "SELECT * FROM s3(archive, filename = 'none', format = 'CSV', structure = 'a String')"
        )
    statements = (
        "SHOW CREATE TABLE ticks",
        "SELECT create_table_query, engine_full FROM system.tables WHERE database = currentDatabase()",
        "SELECT * FROM system.disks",
        "SELECT * FROM system.storage_policies",
        "SELECT toString(collection) FROM system.named_collections",
        "SELECT name, value FROM system.server_settings",
        "SELECT * FROM system.macros",
        "SELECT name, value FROM system.settings",
        "SELECT * FROM system.filesystem_cache_settings",
        "SELECT path FROM system.parts WHERE table = 'ticks'",
        "EXPLAIN QUERY TREE SELECT * FROM s3(archive, filename = 'a', format = 'CSV', structure = 'a String')",
    )
    answers = [str((await place.warehouse.rows(sql)).rows) for sql in statements]
    assert "tiered" in answers[0]
    assert "archive" not in answers[2]
    texts = "".join([*answers, str(caught.value), place.process.error_output])
    paths = [path for path in place.folder.rglob("*") if path.is_file() and path.name != KEYS_FILE]
    process = Path(f"/proc/{place.process.pid}")
    contents = [path.read_bytes() for path in (*paths, process / "environ", process / "cmdline")]
    assert any("metadata" in path.parts for path in paths)
    for keys in (settings.archive_keys, settings.cold_keys):
        for key in (keys.access_key, keys.secret_key):
            assert key not in texts
            assert not any(key.encode() in content for content in contents)


async def test_the_archive_is_read_by_name_and_its_keys_go_nowhere_else(
    place: Tiered, settings: ServerStorage, minio: Minio, free_port: int
) -> None:
    put_archived(minio, settings, "a", b"7\n8\n")
    read = "SELECT sum(n) FROM s3(archive, filename = 'a', format = 'CSV', structure = 'n UInt64'{})"
    assert (await place.warehouse.rows(read.format(""))).rows == ((15,),)
    for other in (settings.archive_url + "other/", f"http://127.0.0.1:{free_port}/"):
        with pytest.raises(StoreError, match="url"):
            await place.warehouse.rows(read.format(f", url = '{other}'"))


async def test_it_connects_to_the_store_and_to_nothing_else(place: Tiered) -> None:
    if not place.sandbox.startswith("Landlock"):
        pytest.skip(f"the kernel here cannot confine: {place.sandbox}")
    connections = 0

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/bucket/a"
        for reads in (f"url('{address}', 'CSV', 'a String')", f"s3('{address}', 'abc', 'abc', 'CSV', 'a String')"):
            with pytest.raises(StoreError):
                await place.warehouse.rows(f"SELECT * FROM {reads} SETTINGS http_max_tries = 1, s3_retry_attempts = 0")
    finally:
        server.close()
    assert connections == 0


@pytest.mark.parametrize("failure", ["killed", "frozen"])
async def test_without_the_store_hot_days_are_read_and_the_others_fail_soon(tmp_path: Path, failure: str) -> None:
    async with Minio(tmp_path / "store") as store, asyncio.timeout(120):
        settings = storage_in(store, read_seconds=1.0)
        put_files(tmp_path / "engine" / "config.d", settings)
        async with tiered(tmp_path / "engine", store.port) as place:
            await filled(place)
            before = (await place.warehouse.rows(SAME.replace("GROUP", "WHERE day > '2024-05-06' GROUP"))).rows
            if failure == "killed":
                store.kill()
            else:
                store.freeze()
            for refused in (SAME, MOVE.replace("05-06", "05-07")):
                with pytest.raises(StoreError):
                    await place.warehouse.execute(refused)
            assert (await place.warehouse.rows(SAME.replace("GROUP", "WHERE day > '2024-05-06' GROUP"))).rows == before
            assert (await place.warehouse.rows(WHERE)).rows == MOVED


async def test_wrong_keys_show_at_the_first_move_and_the_rows_stay(minio: Minio, tmp_path: Path) -> None:
    wrong = Keys("constructed-wrong-access", "constructed-wrong-secret")
    put_files(tmp_path / "engine" / "config.d", storage_in(minio, cold_keys=wrong))
    async with tiered(tmp_path / "engine", minio.port) as place:
        await place.warehouse.execute(TABLE)
        await place.warehouse.execute(ROWS)
        with pytest.raises(StoreError, match="does not exist in our records") as caught:
            await place.warehouse.execute(MOVE)
        assert wrong.secret_key not in str(caught.value)
        assert {disk for _, disk in (await place.warehouse.rows(WHERE)).rows} == {"default"}
        assert (await place.warehouse.rows("SELECT count() FROM ticks")).rows == ((30_000,),)


async def test_a_start_without_store_and_cache_loses_nothing(tmp_path: Path) -> None:
    """The table cannot be loaded then: its parts' small files are in the store. None of them is taken for broken."""
    async with Minio(tmp_path / "store") as store:
        put_files(tmp_path / "engine" / "config.d", storage_in(store))
        async with tiered(tmp_path / "engine", store.port) as place:
            await filled(place)
            before = (await place.warehouse.rows(SAME)).rows
        store.kill()
        shutil.rmtree(tmp_path / "engine" / "data" / "cache")
        with pytest.raises(StoreError, match="S3_ERROR"):
            async with tiered(tmp_path / "engine", store.port):
                pass
        await store.start()
        async with tiered(tmp_path / "engine", store.port) as place:
            assert (await place.warehouse.rows(WHERE)).rows == MOVED
            assert (await place.warehouse.rows(SAME)).rows == before
            assert (await place.warehouse.rows("SELECT count() FROM system.detached_parts")).rows == ((0,),)
