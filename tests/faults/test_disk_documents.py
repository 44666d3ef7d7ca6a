"""A full disk under documents that have left it: what was brought back is given up, and they are read all the same."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.clients.publisher_server import ScriptedPublisher
from tests.daemon.place import Place, make_place
from tests.daemon.publisher import half_month
from tests.daemon.test_documents import LEAVING, aged, all_downloaded, local
from tests.faults.disk import Disk, small_disk
from tests.faults.test_disk_marks import MARKS, SIZE, leaving
from tests.polling import until


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    (tmp_path / "state").mkdir(mode=0o700)
    with small_disk(tmp_path / "state", SIZE):
        async with ScriptedPublisher() as server:
            yield make_place(tmp_path, server)


def cached(place: Place) -> list[Path]:
    return list((place.state / "cache").glob("?" * 64))


async def test_the_cache_is_evicted_and_documents_are_still_readable(place: Place) -> None:
    place.show(half_month(0), half_month(1))
    disk, bucket = Disk(place.state), {"folder": str(place.folder / "bucket")}
    async with place.ready(documents=LEAVING, bucket=bucket, disk=MARKS) as daemon:
        await place.wait_until_visible()
        aged(place)
        await until(lambda: not local(place), "they left")
        await all_downloaded(place, daemon)
        assert len(cached(place)) == 2
        disk.fill(leaving=leaving(2.0))
        await until(lambda: not cached(place), "the cache is given up")
        await all_downloaded(place, daemon)
        assert not cached(place)
        disk.clear()
        await daemon.ready()
        await all_downloaded(place, daemon)
        assert len(cached(place)) == 2
