"""The engine's process is confined to its own folders and its own program."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.engine.process import Engine

from .world import HttpClient

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture(autouse=True)
def confined(engine: Engine) -> None:
    if not engine.sandbox.startswith("Landlock"):
        pytest.skip(f"the kernel here cannot confine: {engine.sandbox}")


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret.csv"
    path.write_text("canary\n")
    return path


READS = (
    "SELECT * FROM file('{path}', 'CSV', 'a String')",
    "SELECT file('{path}')",
    "SELECT * APPLY(file) FROM (SELECT '{path}')",
    "SELECT * FROM `{path}`",
    "SELECT file('/etc/passwd')",
    "SELECT file('/proc/1/environ')",
    "SELECT file('/proc/{parent}/environ')",
    "SELECT * FROM url('http://127.0.0.1:{port}/ping', 'CSV', 'a String')",
)


@pytest.mark.parametrize("sql", READS)
async def test_nothing_outside_can_be_read_or_connected_to(
    engine: Engine, http: HttpClient, secret: Path, sql: str
) -> None:
    """At once: with the default of ten tries `url()` is refused after more than 100 s."""
    port = engine.url.rpartition(":")[2]
    async with asyncio.timeout(30):
        status, headers, body = await http.post(sql.format(path=secret, parent=os.getpid(), port=port))
    assert status >= 400
    assert headers["X-ClickHouse-Exception-Code"] != "0"
    assert b"canary" not in body
    assert b"root:" not in body
    assert b"Ok." not in body


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1 INTO OUTFILE '{path}'",
        "INSERT INTO FUNCTION file('{path}', 'CSV', 'a UInt8') VALUES (1)",
        "INSERT INTO FUNCTION file('{path}', 'CSV', 'a UInt8') SELECT 1",
    ],
)
async def test_nothing_outside_can_be_written(http: HttpClient, tmp_path: Path, sql: str) -> None:
    target = tmp_path / "written.csv"
    status, _, _ = await http.post(sql.format(path=target))
    assert status >= 400
    assert not target.exists()


async def test_the_password_is_in_no_argument_environment_or_readable_file(
    engine: Engine, warehouse: ClickHouse
) -> None:
    process = Path(f"/proc/{engine.pid}")
    assert engine.password.encode() not in (process / "cmdline").read_bytes()
    assert engine.password.encode() not in (process / "environ").read_bytes()
    assert set((process / "environ").read_bytes().decode().strip("\0").split("\0")) >= {"TZ=UTC"}
    for name in ("environ", "cmdline"):
        answer = await warehouse.rows(f"SELECT file('/proc/self/{name}')")
        assert engine.password not in answer.rows[0][0]


async def test_the_engine_listens_on_loopback_only(engine: Engine) -> None:
    port = int(engine.url.rpartition(":")[2])
    lines = Path("/proc/net/tcp").read_text().splitlines()
    listening = [
        line.split()[1] for line in lines if line.split()[3] == "0A" and line.split()[1].endswith(f":{port:04X}")
    ]
    assert listening == [f"0100007F:{port:04X}"]
