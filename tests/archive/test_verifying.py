"""The child that reads archived files: it answers or its failure is reported. It lives as long as its caller has files, and
never longer; each file is read by a copy of it.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spotlightd.errors import StoreError
from spotlightd.model.dataset import Column
from spotlightd.ports.parser import Verifier
from spotlightd.settings.sources import VerifierSettings as Limits
from spotlightd.workers.verifier import ChildVerifier
from spotlightd.workers.verifying.parquet import fingerprint_file
from tests.polling import until

COLUMNS = (Column("at", "Date", "when"), Column("n", "UInt64", "a number"), Column("text", "String", "a text"))
SCHEMA = pa.schema(
    [
        pa.field("at", pa.date32(), nullable=False),
        pa.field("n", pa.uint64(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
    ]
)
LIMITS = Limits()
STAND_IN = """'spotlightd.workers.verifying.verifier_child'
import json
def answer(text):
    print(json.dumps({"status": 0, "output": '{"confinement": "x"}\\n' + text}), flush=True)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_parquet(tmp_path / "constructed.parquet", 10_000)


def write_parquet(path: Path, rows: int, text: str = "a text") -> Path:
    columns = [pa.array(range(rows), pa.int32()).cast(pa.date32()), pa.array(range(rows), pa.uint64())]
    table = pa.table([*columns, pa.array([f"{text} {row % 7}" for row in range(rows)])], schema=SCHEMA)
    pq.write_table(table, path, compression="zstd", store_schema=False)
    return path


@pytest.fixture
def verifier() -> Iterator[ChildVerifier]:
    yield ChildVerifier(LIMITS)
    assert children() == []


def children() -> list[psutil.Process]:
    processes = []
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):
            if any("workers.verifying.verifier_child" in argument for argument in child.cmdline()):
                processes.append(child)
    return processes


def copies_that_read() -> list[psutil.Process]:
    return [copy for process in children() for copy in process.children()]


async def child() -> psutil.Process:
    """The child that runs now."""
    process: psutil.Process = (await until(children, "a child"))[0]
    return process


def replace_child(monkeypatch: pytest.MonkeyPatch, code: str = "import time; time.sleep(100)") -> None:
    """Make the child run other code, in which `answer` sends what a copy would have printed after its confinement."""
    real = asyncio.create_subprocess_exec

    async def spawn(program: str, *_: str, **options: Any) -> asyncio.subprocess.Process:
        return await real(program, "-c", STAND_IN + code, **options)

    monkeypatch.setattr("spotlightd.workers.child_process.asyncio.create_subprocess_exec", spawn)


async def test_the_child_finds_the_same_fingerprint_as_this_process(verifier: Verifier, file: Path) -> None:
    fingerprint = await verifier.fingerprint(file, COLUMNS, "at")
    assert fingerprint == fingerprint_file(file, COLUMNS, "at")
    assert (fingerprint.rows, fingerprint.low, fingerprint.high) == (10_000, 0, 9_999)


async def test_a_file_that_is_not_parquet_is_an_error(verifier: Verifier, tmp_path: Path) -> None:
    path = tmp_path / "noise.parquet"
    for noise in (b"", b"PAR1", b"PAR1" * 1_000, b"\0" * 100_000, b"PAR1" + b"\xff" * 1_000 + b"PAR1"):
        path.write_bytes(noise)
        with pytest.raises(StoreError, match=r"verifying noise\.parquet"):
            await verifier.fingerprint(path, COLUMNS, "at")


async def test_a_missing_file_and_a_strange_column_are_named(verifier: Verifier, file: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"nowhere\.parquet cannot be read"):
        await verifier.fingerprint(tmp_path / "nowhere.parquet", COLUMNS, "at")
    with pytest.raises(StoreError, match="column n is uint64 in the file, declared as Int64"):
        await verifier.fingerprint(file, (COLUMNS[0], replace(COLUMNS[1], type="Int64"), COLUMNS[2]), "at")
    with pytest.raises(StoreError, match="column text: String is no time"):
        await verifier.fingerprint(file, COLUMNS, "text")


async def test_a_killed_child_is_an_error(verifier: Verifier, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace_child(monkeypatch)
    request = asyncio.create_task(verifier.fingerprint(file, COLUMNS, "at"))
    (await child()).send_signal(signal.SIGKILL)
    with pytest.raises(StoreError, match=r"verifying constructed\.parquet: the child process was killed"):
        await request


async def test_a_child_that_takes_too_long_is_ended(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace_child(monkeypatch)
    events: list[str] = []
    verifier = ChildVerifier(replace(LIMITS, wall_seconds=0.2), lambda event, **_: events.append(event))
    with pytest.raises(StoreError, match=r"took more than 0\.2 seconds \(verifier\.wall_seconds\)"):
        await verifier.fingerprint(file, COLUMNS, "at")
    assert children() == []
    assert events == ["verifier child ended"]


async def test_a_cancelled_request_ends_the_child(
    verifier: Verifier, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_child(monkeypatch)
    request = asyncio.create_task(verifier.fingerprint(file, COLUMNS, "at"))
    await child()
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    assert children() == []


@pytest.mark.parametrize(
    "code",
    [
        "answer('hello')", "answer('[1, 2]')", "answer('{}')", "answer('{\"fingerprint\": [1, 2]}')", "pass",
        "answer('{\"fingerprint\": [1, 2, 3, 4, true]}')", "answer('{\"fingerprint\": 5}')", "answer('{\"fingerprint\": null}')",
        "answer('[' * 30_000)", "answer('{\"error\": [[1]]}')", "answer('{\"setting\": 7}')", "answer('{\"fingerprint\": [1, 2, 3, 4, 1e999]}')",
        "print('[' * 200_000)", "print('{\"status\": 1e999, \"output\": \"\"}')", "print('{\"status\": 0, \"output\": [7]}')",
        "print('hello')", "print('[1, 2]')", "print('{}')", "while True: print('x' * 1000, end='')",
    ],
)  # fmt: skip
async def test_an_invalid_answer_is_an_error(
    verifier: Verifier, file: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    replace_child(monkeypatch, code)
    with pytest.raises(StoreError, match="sent no valid answer"):
        await verifier.fingerprint(file, COLUMNS, "at")


async def test_a_file_that_takes_too_much_memory_is_an_error(verifier: ChildVerifier, tmp_path: Path) -> None:
    """One text of 600 MB, which is 60 kB in the file."""
    path = tmp_path / "bomb.parquet"
    big = pa.array(["x" * (600 << 20)], pa.string())
    table = pa.table([pa.array([0], pa.int32()).cast(pa.date32()), pa.array([0], pa.uint64()), big], schema=SCHEMA)
    pq.write_table(table, path, compression="zstd", store_schema=False, use_dictionary=False, write_statistics=False)
    assert path.stat().st_size < 1 << 20
    with pytest.raises(StoreError, match=r"takes more than 256 MiB of memory \(verifier\.memory_bytes\)"):
        await verifier.fingerprint(path, COLUMNS, "at")


async def test_a_child_that_cannot_start_is_an_error(file: Path) -> None:
    with pytest.raises(StoreError, match=r"verifier\.memory_bytes|killed"):
        await ChildVerifier(replace(LIMITS, memory_bytes=1 << 20)).fingerprint(file, COLUMNS, "at")


async def test_too_much_processor_time_is_an_error(file: Path) -> None:
    with pytest.raises(StoreError, match=r"processor time \(verifier\.cpu_seconds\)|killed"):
        await ChildVerifier(replace(LIMITS, cpu_seconds=0)).fingerprint(file, COLUMNS, "at")


async def test_files_are_read_one_at_a_time(verifier: ChildVerifier, file: Path) -> None:
    requests = [asyncio.create_task(verifier.fingerprint(file, COLUMNS, "at")) for _ in range(3)]
    most = 0
    while not all(request.done() for request in requests):
        most = max(most, len(children()))
        await asyncio.sleep(0.01)
    assert most == 1
    assert len({request.result() for request in requests}) == 1


async def test_memory_stays_flat_however_long_the_file(verifier: ChildVerifier, tmp_path: Path) -> None:
    """A million distinct texts of 100 bytes: the limit of its memory would end it."""
    path = tmp_path / "frames.parquet"
    with pq.ParquetWriter(path, SCHEMA, compression="zstd", use_dictionary=False, store_schema=False) as writer:
        for start in range(0, 1_000_000, 50_000):
            rows = range(start, start + 50_000)
            texts = pa.array([f"{row:0100}" for row in rows])
            days = pa.array([0] * 50_000, pa.int32()).cast(pa.date32())
            writer.write_table(pa.table([days, pa.array(rows, pa.uint64()), texts], schema=SCHEMA))
    fingerprint = await verifier.fingerprint(path, COLUMNS, "at")
    assert fingerprint.rows == 1_000_000


async def test_a_child_is_kept_for_several_files_and_not_longer(verifier: ChildVerifier, file: Path) -> None:
    pids = []
    async with verifier.keep():
        assert children() == []  # it starts with the first file
        for _ in range(3):
            assert (await verifier.fingerprint(file, COLUMNS, "at")).rows == 10_000
            pids += [process.pid for process in children()]
    assert len(pids) == 3
    assert len(set(pids)) == 1
    assert children() == []


async def test_a_kept_child_is_replaced_after_anything_but_a_fingerprint(
    verifier: ChildVerifier, file: Path, tmp_path: Path
) -> None:
    (tmp_path / "noise.parquet").write_bytes(b"PAR1" * 1_000)
    async with verifier.keep():
        whole = await verifier.fingerprint(file, COLUMNS, "at")
        (first,) = children()
        with pytest.raises(StoreError, match=r"noise\.parquet"):
            await verifier.fingerprint(tmp_path / "noise.parquet", COLUMNS, "at")
        assert children() == []
        assert await verifier.fingerprint(file, COLUMNS, "at") == whole
        (second,) = children()
    assert first.pid != second.pid


async def test_a_kept_child_that_was_killed_between_two_files_is_replaced(verifier: ChildVerifier, file: Path) -> None:
    async with verifier.keep():
        whole = await verifier.fingerprint(file, COLUMNS, "at")
        (first,) = children()
        first.kill()
        await asyncio.to_thread(first.wait, 10)
        with suppress(StoreError):  # unless its end was noticed before
            await verifier.fingerprint(file, COLUMNS, "at")
        assert await verifier.fingerprint(file, COLUMNS, "at") == whole


async def test_the_copy_that_reads_is_ended_with_the_child(verifier: ChildVerifier, tmp_path: Path) -> None:
    path = tmp_path / "nobody writes here"
    os.mkfifo(path)  # to open it takes for ever
    request = asyncio.create_task(verifier.fingerprint(path, COLUMNS, "at"))
    copies = await until(copies_that_read, "a copy that reads")
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    await until(lambda: not any(copy.is_running() for copy in copies), "the end of the copy")
