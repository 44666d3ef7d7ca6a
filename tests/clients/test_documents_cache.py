"""Documents that are only in the bucket: downloaded once, bounded, never evicted while they are read, never damaged."""

from __future__ import annotations

import asyncio
import fcntl
import random
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from spotlightd.clients.bucket.folder import FolderBucket
from spotlightd.clients.documents import cache as module
from spotlightd.clients.documents.cache import DocumentCache
from spotlightd.clients.documents.folder import FolderDocuments, document_path
from spotlightd.clients.documents.leases import lease_file, remove_unless_leased
from spotlightd.clients.documents.tiered import TieredDocuments
from spotlightd.errors import StoreError
from spotlightd.model.bucket import document_key
from tests.clients.documents_world import (
    WatchedBucket,
    cached,
    chunks,
    content,
    digest,
    incoming,
    put_in_bucket,
    read,
    tiered,
)
from tests.polling import until

ROOT = Path(__file__).parent.parent.parent


@dataclass
class World:
    folder: Path
    bucket: WatchedBucket
    documents: TieredDocuments

    async def put_in_bucket(self, *numbers: int, size: int = 1000) -> list[str]:
        return [await put_in_bucket(self.documents, self.bucket, content(number, size)) for number in numbers]

    def copy(self, name: str) -> Path:
        return self.folder / "bucket" / document_key(name)

    def spoil(self, name: str, whole: bytes) -> None:
        self.copy(name).chmod(0o600)
        self.copy(name).write_bytes(whole)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A cache with room for four documents of 1,000 bytes."""
    async with FolderBucket(tmp_path / "bucket") as folder:
        bucket = WatchedBucket(folder)
        async with tiered(tmp_path, bucket, most_bytes=4000) as documents:
            yield World(tmp_path, bucket, documents)


async def test_a_dropped_document_is_downloaded_once_and_then_read_from_the_cache(world: World) -> None:
    (name,) = await world.put_in_bucket(1)
    assert not document_path(world.folder / "documents", name).exists()
    for _ in range(2):
        assert await read(world.documents, name) == content(1)
        async with world.documents.file(name) as path:
            assert path.read_bytes() == content(1)
    assert world.bucket.reads == [document_key(name)]


async def test_what_the_folder_has_is_read_there(world: World) -> None:
    name = (await world.documents.put(chunks(b"abc"))).digest
    world.bucket.is_away = True
    assert await read(world.documents, name) == b"abc"
    async with world.documents.file(name) as path:
        assert path == document_path(world.folder / "documents", name)


async def test_a_document_that_comes_again_is_in_the_folder_again(world: World) -> None:
    (name,) = await world.put_in_bucket(1)
    assert (await world.documents.put(chunks(content(1)))).new
    assert await read(world.documents, name) == content(1)
    assert world.bucket.reads == []


async def test_many_readers_at_once_download_it_once(world: World) -> None:
    (name,) = await world.put_in_bucket(1)
    contents = await asyncio.gather(*(read(world.documents, name) for _ in range(30)))
    assert set(contents) == {content(1)}
    assert world.bucket.reads == [document_key(name)]


async def test_a_reader_that_leaves_does_not_stop_it(world: World) -> None:
    (name,) = await world.put_in_bucket(1)
    started, go_on = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        started.set()
        await go_on.wait()

    world.bucket.before_piece = wait
    reader = asyncio.create_task(read(world.documents, name))
    await started.wait()
    reader.cancel()
    await asyncio.wait([reader])
    go_on.set()
    await until(lambda: name in cached(world.folder), "it came all the same")
    world.bucket.is_away = True
    assert await read(world.documents, name) == content(1)


async def test_a_failure_reaches_all_who_wait_and_the_next_reader_tries_again(world: World) -> None:
    (name,) = await world.put_in_bucket(1)
    world.bucket.is_away = True
    answers = await asyncio.gather(*(read(world.documents, name) for _ in range(5)), return_exceptions=True)
    why = "bucket spotlightd at constructed cannot be reached"
    expected = f"document {name} is not in the folder, and cannot be read from the bucket now: {why}"
    assert {str(answer) for answer in answers} == {expected}
    world.bucket.is_away = False
    assert await read(world.documents, name) == content(1)


async def test_while_the_bucket_is_away_local_documents_are_served(world: World) -> None:
    local = (await world.documents.put(chunks(b"abc"))).digest
    cached_name, missing = await world.put_in_bucket(1, 2)
    await read(world.documents, cached_name)
    world.bucket.is_away = True
    assert await read(world.documents, local) == b"abc"
    assert await read(world.documents, cached_name) == content(1)
    with pytest.raises(StoreError, match="cannot be read from the bucket now"):
        await read(world.documents, missing)
    with pytest.raises(StoreError, match="cannot be read from the bucket now"):
        async with world.documents.file(missing):
            pass
    await world.documents.ping()


async def test_a_bucket_that_breaks_off_in_the_middle_leaves_nothing(world: World) -> None:
    (name,) = await world.put_in_bucket(1)

    async def breaks() -> None:
        world.bucket.is_away = True

    world.bucket.before_piece = breaks
    with pytest.raises(StoreError, match="cannot be read from the bucket now"):
        await read(world.documents, name)
    assert (cached(world.folder), incoming(world.folder)) == ({}, [])


# ---- damage


@pytest.mark.parametrize("damage", ["flipped byte", "cut off", "longer"])
async def test_a_damaged_copy_is_reported_and_not_cached(world: World, damage: str) -> None:
    (name,) = await world.put_in_bucket(1)
    whole = content(1)
    spoilt = {"flipped byte": b"D" + whole[1:], "cut off": whole[:-1], "longer": whole + b"!"}
    world.spoil(name, spoilt[damage])
    for _ in range(2):
        with pytest.raises(StoreError, match=f"^the copy of document {name} in the bucket is damaged"):
            await read(world.documents, name)
        with pytest.raises(StoreError, match="is damaged"):
            async with world.documents.file(name):
                pass
    assert (cached(world.folder), incoming(world.folder)) == ({}, [])
    world.spoil(name, whole)
    assert await read(world.documents, name) == whole


async def test_a_damaged_copy_that_is_streamed_fails_at_its_end(world: World) -> None:
    (name,) = await world.put_in_bucket(1, size=5000)
    world.spoil(name, b"D" + content(1, 5000)[1:])
    with pytest.raises(StoreError, match="is damaged"):
        await read(world.documents, name)


# ---- room


async def test_the_least_recently_read_goes_first(world: World) -> None:
    names = await world.put_in_bucket(1, 2, 3, 4, 5)
    for name in (*names[:4], names[0], names[4]):
        await read(world.documents, name)
    assert set(cached(world.folder)) == {names[0], names[2], names[3], names[4]}


async def test_a_file_in_use_is_not_evicted_and_others_are_streamed_meanwhile(world: World) -> None:
    large, other = await world.put_in_bucket(1, 2, size=3000)
    async with world.documents.file(large) as path:
        assert await read(world.documents, other) == content(2, 3000)
        with pytest.raises(
            StoreError, match=r"may hold 4,000 bytes, and has no room for 3,000 .*documents\.cache_bytes"
        ):
            async with world.documents.file(other):
                pass
        assert path.read_bytes() == content(1, 3000)
        assert set(cached(world.folder)) == {large}
    async with world.documents.file(other) as path:
        assert path.read_bytes() == content(2, 3000)
    assert set(cached(world.folder)) == {other}


async def test_a_file_in_use_by_another_process_is_not_evicted(world: World) -> None:
    large, other = await world.put_in_bucket(1, 2, size=3000)
    async with world.documents.file(large) as path:
        pass
    other_lease = lease_file(path)  # a lock of its own, as another process has it
    assert other_lease
    with other_lease, pytest.raises(StoreError, match="has no room"):
        async with world.documents.file(other):
            pass
    async with world.documents.file(other):
        assert set(cached(world.folder)) == {other}


async def test_a_document_larger_than_the_cache_is_read_but_has_no_file(world: World) -> None:
    (small,), (large,) = await world.put_in_bucket(1), await world.put_in_bucket(2, size=5000)
    await read(world.documents, small)
    assert await read(world.documents, large) == content(2, 5000)
    with pytest.raises(StoreError, match=r"raise documents\.cache_bytes"):
        async with world.documents.file(large):
            pass
    world.bucket.is_away = True
    with pytest.raises(StoreError, match="cannot be read from the bucket now"):
        await read(world.documents, large)


async def test_under_load_all_is_right_and_the_bound_holds(world: World) -> None:
    names = await world.put_in_bucket(*range(12))
    most = 0

    async def reader(seed: int) -> None:
        nonlocal most
        draw = random.Random(seed)
        for _ in range(25):
            number = draw.randrange(12)
            if draw.random() < 0.3:
                assert await read(world.documents, names[number]) == content(number)
                continue
            try:
                async with world.documents.file(names[number]) as path:
                    most = max(most, sum(cached(world.folder).values()))
                    await asyncio.sleep(0)
                    assert path.read_bytes() == content(number)
            except StoreError as problem:
                assert "raise documents.cache_bytes" in str(problem)  # noqa: PT017  (all four may be in use)

    await asyncio.gather(*(reader(seed) for seed in range(6)))
    assert 0 < most <= 4000
    assert incoming(world.folder) == []


async def test_beyond_the_limit_of_downloads_documents_are_streamed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_PENDING", 1)
    names = await world.put_in_bucket(1, 2, 3)
    assert await asyncio.gather(*(read(world.documents, name) for name in names)) == [
        content(number) for number in (1, 2, 3)
    ]
    assert len(cached(world.folder)) == 1


async def test_on_a_full_disk_the_cache_is_emptied_and_not_filled(tmp_path: Path) -> None:
    async with FolderBucket(tmp_path / "bucket") as bucket:
        async with tiered(tmp_path, bucket) as documents:
            names = [await put_in_bucket(documents, bucket, content(number)) for number in (1, 2)]
            await read(documents, names[0])
        async with tiered(tmp_path, bucket, most_percent=0.0) as documents:
            assert await read(documents, names[0]) == content(1)
            assert await read(documents, names[1]) == content(2)
            assert cached(tmp_path) == {}
            with pytest.raises(StoreError, match=r"^the disk of .* is too full for 1,000 more bytes"):
                async with documents.file(names[1]):
                    pass


async def test_files_that_nobody_reads_are_evicted(world: World) -> None:
    used, idle = await world.put_in_bucket(1, 2)
    await read(world.documents, idle)
    async with world.documents.file(used):
        assert await world.documents.cache.evict_all() == 1000
        assert set(cached(world.folder)) == {used}


async def test_without_a_download_no_folder_is_created(world: World) -> None:
    await world.documents.put(chunks(b"abc"))
    assert not (world.folder / "cache").exists()


# ---- crashes, pins


async def test_a_kill_in_the_middle_leaves_nothing_that_is_read_and_is_swept(tmp_path: Path) -> None:
    whole = content(1, 3_000_000)
    async with FolderBucket(tmp_path / "bucket") as bucket:
        async with tiered(tmp_path, bucket) as documents:
            name = await put_in_bucket(documents, bucket, whole)
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.clients.cache_crash", str(tmp_path), name, stdout=PIPE, cwd=ROOT
        )
        assert child.stdout
        assert await child.stdout.readline() == b"in the middle\n"
        (partial,) = incoming(tmp_path)
        assert partial.stat().st_size == len(whole)  # its space is reserved
        async with tiered(tmp_path, bucket):
            assert incoming(tmp_path) == [partial]  # the other process still writes it
        child.send_signal(signal.SIGKILL)
        await child.wait()
        assert cached(tmp_path) == {}
        async with tiered(tmp_path, bucket) as documents:
            assert incoming(tmp_path) == []
            assert await read(documents, name) == whole


async def test_the_leftover_of_a_killed_command_is_removed_before_the_next_download(world: World) -> None:
    names = await world.put_in_bucket(1, 2)
    await read(world.documents, names[0])
    (world.folder / "cache" / "incoming" / "left").write_bytes(bytes(4000))
    async with world.documents.file(names[1]):
        assert set(cached(world.folder)) == set(names)
    assert incoming(world.folder) == []


async def test_a_document_in_use_is_not_dropped_from_the_folder(tmp_path: Path) -> None:
    async with FolderDocuments(tmp_path) as documents:
        name = (await documents.put(chunks(b"abc"))).digest
        async with documents.file(name) as path:
            assert not await documents.drop(name)
            assert path.exists()
        assert await documents.drop(name)
        assert await documents.drop(name)
        assert not path.exists()


async def test_a_cancelled_wait_for_a_file_leases_nothing(tmp_path: Path) -> None:
    async with FolderDocuments(tmp_path) as documents:
        name = (await documents.put(chunks(b"abc"))).digest
        for _ in range(50):
            waiting = asyncio.create_task(documents.lease(name))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])
            assert waiting.cancelled()

        async def drop() -> bool:
            return await documents.drop(name)

        await until(drop, "nobody holds it")


async def test_a_new_file_under_the_same_name_is_not_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes evict: the second one opened the old file, and locks it when the name already is a new file's."""
    path, flock = tmp_path / "file", fcntl.flock
    path.write_bytes(b"old")

    def lock_late(handle: Any, how: int) -> None:
        path.unlink()
        path.write_bytes(b"new")
        flock(handle, how)

    monkeypatch.setattr(fcntl, "flock", lock_late)
    assert remove_unless_leased(path)
    assert path.read_bytes() == b"new"
    assert lease_file(path) is None


async def test_a_reader_beside_the_daemon_shares_its_cache(world: World) -> None:
    (name,) = await world.put_in_bucket(1)
    cache = DocumentCache(world.folder / "cache", world.bucket, most_bytes=4000)
    async with cache:
        beside = TieredDocuments(FolderDocuments(world.folder / "documents"), cache)
        assert await read(beside, name) == content(1)
    world.bucket.is_away = True
    assert await read(world.documents, name) == content(1)


async def test_a_digest_names_its_key() -> None:
    name = digest(b"abc")
    assert document_key(name) == f"documents/{name[:2]}/{name[2:4]}/{name}"
