"""A full disk under documents that have left it: what was brought back is given up, and they are read all the same."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.clients.publisher_server import ScriptedPublisher
from tests.daemon.place import Place, place
from tests.daemon.process import until
from tests.daemon.publisher import half_month
from tests.daemon.test_documents import LEAVING, aged, all_downloaded, local
from tests.faults.disk import Disk, small_disk
from tests.faults.test_disk_marks import MARKS, SIZE, leaving


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Place]:
    (tmp_path / "state").mkdir(mode=0o700)
    with small_disk(tmp_path / "state", SIZE):
        async with ScriptedPublisher() as server:
            yield place(tmp_path, server)


def cached(here: Place) -> list[Path]:
    return list((here.state / "cache").glob("?" * 64))


async def test_the_cache_is_given_up_and_documents_are_read_all_the_same(here: Place) -> None:
    here.show(half_month(0), half_month(1))
    disk, bucket = Disk(here.state), {"folder": str(here.folder / "bucket")}
    async with here.ready(documents=LEAVING, bucket=bucket, disk=MARKS) as daemon:
        await here.all_seen()
        aged(here)
        await until(lambda: not local(here), "they left")
        await all_downloaded(here, daemon)
        assert len(cached(here)) == 2
        disk.fill(leaving=leaving(2.0))
        await until(lambda: not cached(here), "the cache is given up")
        await all_downloaded(here, daemon)
        assert not cached(here)
        disk.clear()
        await daemon.ready()
        await all_downloaded(here, daemon)
        assert len(cached(here)) == 2
