"""What only the embedded bus has: trimming, space returned to the disk, kills, full disks, and the id of the log."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from itertools import accumulate
from pathlib import Path
from time import time_ns

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spotlightd import StoreError
from spotlightd.clients.locallog.bus import LocalLog
from spotlightd.clients.locallog.reader import LogReader, PartitionState
from spotlightd.errors import OffsetError
from spotlightd.model.bus import Ends, Frame, Records, Topic, pack_key, source_mark
from tests.clients import bus_crash
from tests.clients.bus_crash import make_value
from tests.faults.disk import MIB, Disk, small_disk

HOUR = 3_600 * 10**9
KILLS = 5
WAIT_SECONDS = 20.0
TICKS = Topic("ticks", retention_bytes=0)


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[LocalLog]:
    async with LocalLog(tmp_path / "bus.sqlite", spare_bytes=0) as opened:
        await opened.ensure(TICKS)
        yield opened


async def append(log: LocalLog, values: list[bytes], *, first: int = 0, received: int = 0, connection: int = 7) -> None:
    moment = received or time_ns()
    keys = [pack_key(source_mark("ticks"), Frame(connection, first + n, moment, b"")) for n in range(len(values))]
    await log.append("ticks", 0, keys, values)


async def start_and_end(log: LocalLog) -> tuple[int, int]:
    ends = (await log.ends("ticks"))[0]
    return ends.start, ends.end


async def read_from(log: LocalLog, topic: str, partition: int, offset: int) -> Records:
    end = (await log.ends(topic))[partition].end
    async with log.open_reader(topic, partition, offset) as reader:
        records = await reader.next(frames=end - offset, size=1 << 40, seconds=WAIT_SECONDS)
    assert list(records.offsets) == list(range(offset, end))
    return records


# -- the id of the log ---------------------------------------------------------------------------------------------------


async def test_it_is_the_same_log_after_a_stop_and_another_after_its_file_was_deleted(tmp_path: Path) -> None:
    path = tmp_path / "bus.sqlite"
    ids = []
    for _ in range(2):
        async with LocalLog(path) as log:
            await log.ensure(TICKS)
            ids.append(await log.log_id("ticks"))
    for file in tmp_path.iterdir():
        file.unlink()
    async with LocalLog(path) as log:
        assert await log.log_id("ticks") == ""
        await log.ensure(TICKS)
        ids.append(await log.log_id("ticks"))
    assert ids[0] == ids[1] != ids[2]


async def test_a_reader_of_a_topic_that_was_created_again_gets_an_error(log: LocalLog) -> None:
    before = await log.log_id("ticks")
    await append(log, [b"a", b"b"])
    async with log.open_reader("ticks", 0, 0) as reader:
        await reader.next(frames=2, size=1 << 20, seconds=WAIT_SECONDS)
        waiting = asyncio.create_task(
            reader.next(frames=1, size=1 << 20, seconds=0.1, idle_seconds=WAIT_SECONDS), name="waiting"
        )
        await log.delete("ticks")
        await log.ensure(TICKS)
        await append(log, [b"c", b"d", b"e"])
        with pytest.raises(OffsetError, match="created again"):
            await waiting
    assert await log.log_id("ticks") not in {"", before}
    assert (await log.peek("ticks", 0, 0, most=9)).values == [b"c", b"d", b"e"]


async def test_a_file_that_was_deleted_under_the_daemon_is_noticed(log: LocalLog) -> None:
    await log.ping()
    log.path.unlink()
    with pytest.raises(StoreError, match="was deleted"):
        await log.ping()


async def test_a_quiet_partition_is_read_once_for_a_group(log: LocalLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not once for each record that arrives meanwhile: ten a second cost more than the batch that they become."""
    reads, read_groups = list[int](), LogReader.read_groups

    def count_read(reader: LogReader, state: PartitionState, start: int, frames: int, size: int) -> list[Records]:
        reads.append(start)
        return read_groups(reader, state, start, frames, size)

    monkeypatch.setattr(LogReader, "read_groups", count_read)
    async with log.open_reader("ticks", 0, 0) as reader:
        waiting = asyncio.create_task(reader.next(frames=1_000, size=1 << 20, seconds=1.0, idle_seconds=WAIT_SECONDS))
        for number in range(5):
            await append(log, [b"value"], first=number)
        records = await waiting
    assert reads == [0]
    assert len(records) >= 1


async def test_a_damaged_block_is_an_error_and_no_record(log: LocalLog) -> None:
    await append(log, [random.Random(3).randbytes(2_000)])
    with sqlite3.connect(log.path) as other:
        (block,) = other.execute("SELECT block FROM blocks").fetchone()
        other.execute("UPDATE blocks SET block = ?", (block[:-3] + b"xyz",))
    other.close()
    with pytest.raises(StoreError, match="damaged"):
        await log.peek("ticks", 0, 0, most=1)


# -- trimming and retention --------------------------------------------------------------------------------------------


async def test_trimming_deletes_whole_groups_below_an_offset(log: LocalLog) -> None:
    for first in range(0, 50, 10):
        await append(log, [b"%d" % (first + n) for n in range(10)], first=first)
    await log.trim("ticks", 0, 25)
    assert await start_and_end(log) == (20, 50)
    assert (await log.peek("ticks", 0, 0, most=2)).values == [b"20", b"21"]
    async with log.open_reader("ticks", 0, 19) as reader:
        with pytest.raises(OffsetError, match="20 to 50"):
            await reader.next(frames=1, size=1 << 20, seconds=0.1)


async def test_offsets_go_on_after_all_was_trimmed_also_after_a_stop(tmp_path: Path) -> None:
    path = tmp_path / "bus.sqlite"
    async with LocalLog(path) as log:
        await log.ensure(TICKS)
        await append(log, [b"a", b"b"])
        await log.trim("ticks", 0, 2)
        assert await start_and_end(log) == (2, 2)
    async with LocalLog(path) as log:
        await append(log, [b"c"])
        assert await start_and_end(log) == (2, 3)
        assert (await read_from(log, "ticks", 0, 2)).values == [b"c"]


async def test_the_space_of_trimmed_groups_is_returned_to_the_disk(log: LocalLog) -> None:
    noise = random.Random(4)
    for first in range(8):
        await append(log, [noise.randbytes(500_000)], first=first)
    before = await log.size()
    await log.trim("ticks", 0, 7)
    await log.run("PRAGMA wal_checkpoint(TRUNCATE)")
    assert await log.size() < before / 3


async def test_an_append_does_not_wait_until_all_is_trimmed(log: LocalLog) -> None:
    for first in range(600):
        await append(log, [b"x"], first=first)
    trimming = asyncio.create_task(log.trim("ticks", 0, 600), name="trimming")
    async with log.open_reader("ticks", 0, 600) as reader:
        waiting = asyncio.create_task(
            reader.next(frames=1, size=1 << 20, seconds=0.1, idle_seconds=WAIT_SECONDS), name="waiting"
        )
        await asyncio.sleep(0)  # the first piece is deleted before the append
        await append(log, [b"new"], first=600)
        assert not trimming.done()
        assert (await waiting).values == [b"new"]
    await trimming
    assert await start_and_end(log) == (600, 601)


async def test_retention_deletes_by_age_but_nothing_that_was_not_drained(log: LocalLog) -> None:
    now = time_ns()
    for first, age in ((0, 30), (1, 20), (2, 10), (3, 0)):
        await append(log, [b"%d" % first], first=first, received=now - age * HOUR)
    topic = Topic("ticks", retention_hours=15, retention_bytes=0)
    await log.retain(topic, {})
    assert await start_and_end(log) == (0, 4)
    await log.retain(topic, {0: 1})
    assert await start_and_end(log) == (1, 4)
    await log.retain(topic, {0: 4})
    assert await start_and_end(log) == (2, 4)


async def test_retention_deletes_by_size_but_nothing_that_was_not_drained(log: LocalLog) -> None:
    noise = random.Random(5)
    for first in range(20):
        await append(log, [noise.randbytes(10_000)], first=first)
    await log.retain(Topic("ticks", retention_bytes=55_000), {0: 3})
    assert await start_and_end(log) == (3, 20)
    await log.retain(Topic("ticks", retention_bytes=55_000), {0: 20})
    start, _ = await start_and_end(log)
    assert 13 <= start <= 15


# -- kills and full disks ----------------------------------------------------------------------------------------------


def test_after_any_kill_all_acknowledged_records_are_there_in_order(tmp_path: Path) -> None:
    path = tmp_path / "bus.sqlite"
    pauses = random.Random(6)
    acknowledged = {0: 0, 1: 0}
    for _ in range(KILLS):
        lines = _read_lines_and_kill(path, groups=pauses.randrange(1, 120))
        acknowledged |= {int(partition): int(end) for partition, end in map(str.split, lines)}
        asyncio.run(_check_log(path, acknowledged))
    assert min(acknowledged.values()) > bus_crash.KEEP, "nothing was trimmed"


def _read_lines_and_kill(path: Path, groups: int) -> list[str]:
    """The lines that the child printed after `ready`. It is killed after that many groups, whatever it is doing."""
    arguments = [sys.executable, "-m", "tests.clients.bus_crash", str(path)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        lines = [child.stdout.readline() for _ in range(groups)]
        child.kill()
        rest = child.stdout.read()
    return [*lines, *rest.splitlines()]


async def _check_log(path: Path, acknowledged: dict[int, int]) -> None:
    async with LocalLog(path) as log:
        for partition, ends in (await log.ends("constructed")).items():
            assert ends.end >= acknowledged[partition]
            records = await read_from(log, "constructed", partition, ends.start)
            assert records.values == [make_value(partition, number) for number in records.offsets]


async def _append_all(log: LocalLog, values: list[bytes]) -> None:
    for first, value in enumerate(values):
        await append(log, [value], first=first)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    with small_disk(folder, 24 * MIB) as mounted:
        yield mounted


async def test_a_full_disk_refuses_and_the_log_goes_on_when_there_is_space(disk: Disk) -> None:
    noise = random.Random(7)
    values = [noise.randbytes(300_000) for _ in range(60)]
    async with LocalLog(disk.root / "bus.sqlite", spare_bytes=0) as log:
        await log.ensure(TICKS)
        disk.fill(leaving=4 * MIB)
        with pytest.raises(StoreError, match="disk"):
            await _append_all(log, values)
        _, count = await start_and_end(log)
        assert count > 2
        for _ in range(3):
            with pytest.raises(StoreError):
                await append(log, [values[count]], first=count)
        assert (await read_from(log, "ticks", 0, 0)).values == values[:count]
        disk.clear()
        await append(log, values[count : count + 2], first=count)
        assert (await read_from(log, "ticks", 0, 0)).values == values[: count + 2]
    async with LocalLog(disk.root / "bus.sqlite") as log:
        assert (await read_from(log, "ticks", 0, 0)).values == values[: count + 2]


# -- calls in any order -----------------------------------------------------------------------------------------------

ACTS = st.one_of(
    st.tuples(st.just("append"), st.integers(1, 30)),
    st.tuples(st.just("trim"), st.integers(0, 60)),
    st.tuples(st.just("read"), st.integers(1, 17)),
    st.tuples(st.just("peek"), st.integers(0, 60)),
    st.tuples(st.just("reopen"), st.just(0)),
)


@settings(max_examples=25, deadline=None)
@given(acts=st.lists(ACTS, max_size=25), cuts=st.lists(st.integers(0, 80), max_size=5))
def test_it_behaves_compare_with_list(
    tmp_path_factory: pytest.TempPathFactory, acts: list[tuple[str, int]], cuts: list[int]
) -> None:
    asyncio.run(_compare_with_list(tmp_path_factory.mktemp("list") / "bus.sqlite", acts, cuts))


async def _compare_with_list(path: Path, acts: list[tuple[str, int]], cuts: list[int]) -> None:
    model: list[bytes] = []
    ends = [0]  # of the groups
    start = offset = 0
    log = await LocalLog(path, spare_bytes=0).__aenter__()
    await log.ensure(TICKS)
    for act, number in acts:
        if act == "append":
            values = [b"%d" % (len(model) + n) * (n + 1) for n in range(number)]
            await append(log, values, first=len(model))
            model += values
            ends.append(len(model))
        elif act == "trim":
            await log.trim("ticks", 0, number)
            start = max(start, *(end for end in ends if end <= number), 0)
        elif act == "read":
            async with log.open_reader("ticks", 0, offset := max(offset, start)) as reader:
                records = await reader.next(frames=number, size=1 << 20, seconds=0, idle_seconds=0)
            assert records.values == model[offset : offset + number]
            assert list(records.offsets) == list(range(offset, offset + len(records)))
            offset += len(records)
        elif act == "peek":
            assert (await log.peek("ticks", 0, number, most=7)).values == model[max(number, start) :][:7]
        else:
            await log.__aexit__(None, None, None)
            log = await LocalLog(path, spare_bytes=0).__aenter__()
        assert await log.ends("ticks") == {0: Ends(start, len(model))}
    async with log.open_reader("ticks", 0, start) as reader:
        for lo, hi in zip([start, *accumulate(cuts, initial=start)], accumulate(cuts, initial=start), strict=False):
            if hi > lo:
                records = await reader.next(frames=hi - lo, size=1 << 20, seconds=0, idle_seconds=0)
                assert records.values == model[lo:hi]
    await log.__aexit__(None, None, None)
