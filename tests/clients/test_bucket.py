"""What every Bucket does, the twin in memory and the folder alike."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from spotlightd.clients.bucket import FolderBucket, pieces
from spotlightd.model.errors import PublisherError, StoreError
from spotlightd.model.ports import Bucket, Stored
from spotlightd.testing import MemoryBucket


@pytest.fixture(params=["memory", "folder"])
async def bucket(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bucket]:
    if request.param == "memory":
        yield MemoryBucket(tmp_path)
        return
    async with FolderBucket(tmp_path / "documents") as folder:
        yield folder


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def broken(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
    raise PublisherError("broke off")


async def stalled() -> AsyncIterator[bytes]:
    yield b"x" * 2_000_000
    await asyncio.Event().wait()


async def whole(bucket: Bucket, digest: str) -> list[bytes]:
    return [piece async for piece in bucket.read(digest)]


async def test_bytes_are_kept_under_their_sha256_and_read_back(bucket: Bucket) -> None:
    content = bytes(range(256)) * 10_000
    stored = await bucket.put(chunks(content[:100], b"", content[100:1_500_000], content[1_500_000:]))
    assert stored == Stored(hashlib.sha256(content).hexdigest(), len(content), new=True)
    assert bucket.path(stored.digest).read_bytes() == content
    read = await whole(bucket, stored.digest)
    assert b"".join(read) == content
    assert max(map(len, read)) == 1 << 20


async def test_the_same_bytes_are_one_object_however_they_are_cut(bucket: Bucket) -> None:
    first = await bucket.put(chunks(b"abc", b"def"))
    again = await bucket.put(chunks(b"abcdef"))
    assert (first.digest, first.new, again.digest, again.new) == (again.digest, True, first.digest, False)


async def test_no_bytes_are_an_object_too(bucket: Bucket) -> None:
    stored = await bucket.put(chunks())
    assert (stored.size, await whole(bucket, stored.digest)) == (0, [])


async def test_a_broken_fetch_keeps_nothing_and_its_error_comes_through(bucket: Bucket) -> None:
    with pytest.raises(PublisherError, match="broke off"):
        await bucket.put(broken(b"x" * 2_000_000))
    with pytest.raises(StoreError):
        bucket.path(hashlib.sha256(b"x" * 2_000_000).hexdigest())


async def test_a_cancelled_put_keeps_nothing_and_the_next_one_works(bucket: Bucket) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(bucket.put(stalled()), 0.1)
    assert (await bucket.put(chunks(b"x" * 2_000_000))).new


async def test_many_puts_at_once_are_kept_apart(bucket: Bucket) -> None:
    contents = [bytes([number % 7]) * 300_000 for number in range(20)]
    kept = await asyncio.gather(*(bucket.put(chunks(*(one[:1000], one[1000:]))) for one in contents))
    assert [stored.digest for stored in kept] == [hashlib.sha256(one).hexdigest() for one in contents]
    assert sum(stored.new for stored in kept) == 7


async def test_an_object_is_not_to_be_written(bucket: Bucket) -> None:
    stored = await bucket.put(chunks(b"abc"))
    assert bucket.path(stored.digest).stat().st_mode & 0o777 == 0o444


async def test_a_document_that_is_not_there_is_named(bucket: Bucket) -> None:
    digest = "0" * 64
    with pytest.raises(StoreError, match=f"^there is no document {digest} in /"):
        bucket.path(digest)
    with pytest.raises(StoreError, match=f"^there is no document {digest} in /"):
        await whole(bucket, digest)


@pytest.mark.parametrize(
    "digest",
    ["", "abc", "../" * 20 + "etc/passwd", "A" * 64, "g" * 64, "0" * 63 + "/", "0" * 64 + "\n", "٣" * 64, "0" * 65],
)
async def test_what_is_no_digest_is_no_path(bucket: Bucket, digest: str) -> None:
    for ask in (lambda: asyncio.to_thread(bucket.path, digest), lambda: whole(bucket, digest)):
        with pytest.raises(StoreError) as caught:
            await ask()
        assert str(caught.value) == f"{digest[:80]!r} is not a SHA-256 (64 digits of 0-9 and a-f)"


async def test_a_healthy_bucket_answers_its_ping(bucket: Bucket) -> None:
    await bucket.ping()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(some.lists(some.binary(max_size=50), max_size=20), some.integers(1, 60))
async def test_regrouping_changes_no_byte(parts: list[bytes], size: int) -> None:
    grouped = [piece async for piece in pieces(chunks(*parts), size)]
    assert b"".join(grouped) == b"".join(parts)
    assert all(len(piece) >= size for piece in grouped[:-1])
    assert all(grouped)
