"""A table that cannot be loaded does not keep the engine from starting: it is detached, and named."""

from __future__ import annotations

from pathlib import Path

import pytest

from spotlightd.engine.process import Engine
from spotlightd.errors import StoreError

from .world import HttpClient, engine_on, http_client_of

pytestmark = pytest.mark.asyncio(loop_scope="session")

TABLE = "(n UInt64) ENGINE = MergeTree ORDER BY n"


def find_definition(folder: Path, table: str) -> Path:
    (file,) = folder.glob(f"engine/data/store/*/*/{table}.sql")
    return file


def name_engine(folder: Path, table: str, engine: str, *, instead: str = "MergeTree") -> None:
    file = find_definition(folder, table)
    file.write_text(file.read_text(encoding="utf-8").replace(instead, engine), encoding="utf-8")


async def fill(http: HttpClient) -> None:
    for sql in (
        "CREATE DATABASE guests",
        "CREATE DATABASE broken",
        "CREATE NAMED COLLECTION guest_keys AS a = '1'",
        *(f"CREATE TABLE guests.{name} {TABLE}" for name in ("unknown", "damaged", "misleading", "innocent")),
        f"CREATE TABLE spotlightd.kept {TABLE}",
        *(f"INSERT INTO {name} VALUES (1)" for name in ("guests.unknown", "guests.innocent", "spotlightd.kept")),
    ):
        assert (await http.post(sql))[0] == 200, sql


def harm(folder: Path) -> None:
    data = folder / "engine/data"
    name_engine(folder, "unknown", "NoSuchTree")
    find_definition(folder, "damaged").write_bytes(b"garbage \xff !!")
    innocent = find_definition(folder, "innocent").relative_to(data)
    name_engine(folder, "misleading", f"`Cannot load from metadata file {innocent}`")
    (data / "metadata/broken.sql").write_text("garbage", encoding="utf-8")
    (data / "named_collections/guest_keys.sql").write_text("garbage", encoding="utf-8")


def describe(engine: Engine) -> dict[str, str]:
    return {table.name: str(table) for table in engine.detached}


async def test_what_cannot_be_loaded_is_detached_and_named_and_all_else_is_served(tmp_path: Path) -> None:
    async with engine_on(tmp_path) as engine, http_client_of(engine) as http:
        assert engine.detached == ()
        await fill(http)
    harm(tmp_path)
    hostile = {"guests.unknown", "guests.damaged", "guests.misleading", "broken", "guest_keys"}
    async with engine_on(tmp_path) as engine, http_client_of(engine) as http:
        assert set(describe(engine)) == hostile
        assert "NoSuchTree" in describe(engine)["guests.unknown"]
        assert "damaged.sql.bak" in describe(engine)["guests.damaged"]
        assert await http.text("SELECT n FROM spotlightd.kept") == "1"
        assert await http.text("SELECT n FROM guests.innocent") == "1"
        assert (await http.post("SELECT n FROM guests.unknown"))[0] == 404
        status, headers, _ = await http.post(f"CREATE TABLE guests.unknown {TABLE}")
        assert (status, headers["X-ClickHouse-Exception-Code"]) == (500, "57")  # its name stays taken
    async with engine_on(tmp_path) as engine, http_client_of(engine) as http:
        assert set(describe(engine)) == hostile  # it is named at each start
        name_engine(tmp_path, "unknown", "MergeTree", instead="NoSuchTree")
        await http.post("DETACH TABLE guests.innocent PERMANENTLY")
    async with engine_on(tmp_path) as engine, http_client_of(engine) as http:
        assert set(describe(engine)) == hostile - {"guests.unknown"}
        assert await http.text("SELECT n FROM guests.unknown") == "1"  # it is back, with its rows
        assert (await http.post("SELECT n FROM guests.innocent"))[0] == 404  # what somebody detached stays so


async def test_a_damaged_definition_of_the_daemons_own_database_is_never_set_aside(tmp_path: Path) -> None:
    """The table would be made anew, without its rows."""
    async with engine_on(tmp_path) as engine, http_client_of(engine) as http:
        await fill(http)
    find_definition(tmp_path, "kept").write_bytes(b"garbage")
    with pytest.raises(StoreError, match=r"kept\.sql"):
        async with engine_on(tmp_path):
            pass
    assert find_definition(tmp_path, "kept").read_bytes() == b"garbage"
