"""The contract of `Disks`, on the twin and on a real file system; and what only a real one can do: be small, or hang."""

from __future__ import annotations

import asyncio
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from spotlightd.clients.disk import LocalDisks
from spotlightd.errors import StoreError
from spotlightd.ports.storage import Disks
from spotlightd.testing import MemoryDisks
from tests.faults.disk import MIB, small_disk


@pytest.fixture(params=["twin", "local"])
def disks(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disks]:
    """A file system of 32 MiB at the test's folder."""
    with ExitStack() as stack:
        if request.param == "twin":
            yield MemoryDisks({tmp_path: (32 * MIB, 0)})
        else:
            stack.enter_context(small_disk(tmp_path, 32 * MIB))
            yield LocalDisks(10.0)


async def test_a_disk_reports_how_full_it_is(disks: Disks, tmp_path: Path) -> None:
    before = await disks.measure(tmp_path)
    assert (before.mount, before.size) == (str(tmp_path), 32 * MIB)
    await disks.reserve(tmp_path / "file", 4 * MIB)
    after = await disks.measure(tmp_path)
    assert after.used - before.used == 4 * MIB
    assert after.free + after.used == after.size


async def test_a_folder_that_is_not_there_is_on_the_disk_of_the_one_above(disks: Disks, tmp_path: Path) -> None:
    assert (await disks.measure(tmp_path / "not" / "yet")).mount == str(tmp_path)


async def test_a_file_takes_what_was_reserved_until_it_is_removed(disks: Disks, tmp_path: Path) -> None:
    file = tmp_path / "file"
    assert await disks.allocated_bytes(file) == 0
    await disks.reserve(file, 4 * MIB)
    assert await disks.allocated_bytes(file) == 4 * MIB
    await disks.reserve(file, 2 * MIB)
    assert await disks.allocated_bytes(file) == 2 * MIB
    await disks.remove(file)
    await disks.remove(file)
    assert await disks.allocated_bytes(file) == 0


async def test_a_reservation_without_room_leaves_nothing_behind(disks: Disks, tmp_path: Path) -> None:
    before = await disks.measure(tmp_path)
    with pytest.raises(StoreError, match="No space left"):
        await disks.reserve(tmp_path / "file", 64 * MIB)
    assert await disks.allocated_bytes(tmp_path / "file") == 0
    assert await disks.measure(tmp_path) == before


async def test_only_this_user_can_read_a_reserved_file(tmp_path: Path) -> None:
    await LocalDisks(10.0).reserve(tmp_path / "file", 1 * MIB)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


async def test_a_file_system_that_only_promises_space_is_detected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "posix_fallocate", lambda number, _, size: os.ftruncate(number, size))
    with pytest.raises(StoreError, match="does not reserve space"):
        await LocalDisks(10.0).reserve(tmp_path / "file", 1 * MIB)
    assert list(tmp_path.iterdir()) == []


async def test_a_disk_that_hangs_holds_up_neither_the_loop_nor_other_disks(tmp_path: Path) -> None:
    (tmp_path / "hangs").mkdir()
    go_on, calls = threading.Event(), list[Path]()

    def statvfs(path: Path) -> os.statvfs_result:
        calls.append(path)
        if path.name == "hangs":
            go_on.wait(60)
        return os.statvfs(path)

    disks = LocalDisks(0.2, statvfs=statvfs)
    try:
        with pytest.raises(StoreError, match=r"did not answer within 0\.2 s: does it hang\?"):
            await disks.measure(tmp_path / "hangs")
        with pytest.raises(StoreError, match="has not answered yet"):  # and no second thread is spent on it
            await disks.measure(tmp_path / "hangs")
        assert (await disks.measure(tmp_path)).size > 0
        assert calls.count(tmp_path / "hangs") == 1
    finally:
        go_on.set()

    async def answers() -> None:
        while True:
            try:
                await disks.measure(tmp_path / "hangs")
            except StoreError:
                await asyncio.sleep(0.01)
            else:
                return

    await asyncio.wait_for(answers(), 20)
