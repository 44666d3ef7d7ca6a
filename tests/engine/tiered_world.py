"""What the tests of the cold disk share: an engine that stands in for a server, with the files that a server is given."""

from __future__ import annotations

import asyncio
import io
import os
import secrets
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.clients.clickhouse.server_config import (
    KEYS_FILE,
    STORAGE_FILE,
    Keys,
    ServerStorage,
    keys_xml,
    storage_xml,
)
from spotlightd.engine.configuration import GIB, Configuration
from spotlightd.engine.host.child_process import EngineProcess, _environment
from spotlightd.model.bucket import EngineReach
from spotlightd.settings.stores import WarehouseSettings
from tests.clients.bucket_world import least_rights
from tests.real.store import BUCKET
from tests.real.stores import Minio

from .world import DATABASE

START_SECONDS = 60.0
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Tiered:
    """An engine with a cold disk, its client, and what it may not let out."""

    process: EngineProcess
    warehouse: ClickHouse
    folder: Path
    sandbox: str


def cold_rights(prefix: str) -> dict[str, object]:
    """The rights of docs/operate.md for the key of the cold disk: all below its prefix, nothing elsewhere."""
    actions = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]
    return {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": actions, "Resource": [f"arn:aws:s3:::{BUCKET}/{prefix}*"]}],
    }


def storage_in(store: Minio, **changes: Any) -> ServerStorage:
    """In that store, below a prefix of its own: the archive's and the cold disk's."""
    place = f"tests/{secrets.token_hex(6)}/"
    settings: dict[str, Any] = {
        "archive_url": f"{store.url}/{BUCKET}/{place}archive/",
        "archive_keys": Keys(*store.create_user(least_rights(f"{place}archive/"))),
        "cold_url": f"{store.url}/{BUCKET}/{place}clickhouse-parts/",
        "cold_keys": Keys(*store.create_user(cold_rights(f"{place}clickhouse-parts/"))),
        "policy": "tiered",
        "region": "us-east-1",
        "cache_bytes": 64 << 20,
        "free_percent": 0,
        "connect_seconds": 1.0,
        "read_seconds": 5.0,
        "retries": 1,
    }
    return ServerStorage(**settings | changes)


def names_in(store: Minio, settings: ServerStorage) -> set[str]:
    """Objects of the cold disk."""
    prefix = settings.cold_url.partition(f"/{BUCKET}/")[2]
    return {str(stored.object_name) for stored in store.client().list_objects(BUCKET, prefix, recursive=True)}


def put_archived(store: Minio, settings: ServerStorage, name: str, content: bytes) -> None:
    """An object where the archive has its own."""
    prefix = settings.archive_url.partition(f"/{BUCKET}/")[2]
    store.client().put_object(BUCKET, prefix + name, io.BytesIO(content), len(content))


def put_files(folder: Path, settings: ServerStorage) -> None:
    """Where a server looks for them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in ((STORAGE_FILE, storage_xml(settings)), (KEYS_FILE, keys_xml(settings))):
        (folder / name).write_text(text, encoding="utf-8")
        (folder / name).chmod(0o600)


@asynccontextmanager
async def tiered(folder: Path, port: int) -> AsyncIterator[Tiered]:
    """The engine on that folder. It may connect to that port of the store and to nothing else."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        settings = _configuration(folder, listening, port)
        process = EngineProcess(await _process(settings))
        try:
            sandbox = (await process.wait_ready(START_SECONDS)).sandbox
            url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            async with ClickHouse(url, settings.user, settings.password, DATABASE, WarehouseSettings()) as warehouse:
                yield Tiered(process, warehouse, folder, sandbox)
        finally:
            await process.stop(6.0)


async def _process(settings: Configuration) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.engine.tiered_child",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        pass_fds=[settings.socket_number],
        env=_environment(str(settings.temporary)),
        cwd=ROOT,
        start_new_session=True,
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write(settings.to_json().encode() + b"\n")
    return process


def _configuration(folder: Path, listening: socket.socket, port: int) -> Configuration:
    return Configuration(
        folder=str(folder), database=DATABASE, user="spotlightd", password=secrets.token_urlsafe(32),
        socket_number=listening.fileno(), parent_pid=os.getpid(), memory_bytes=2 * GIB, query_memory_bytes=GIB, threads=2,
        readers=4, writers=2, download_slots=2, send_seconds=60.0, start_seconds=START_SECONDS, bucket=EngineReach(port=port),
    )  # fmt: skip
