"""What every Bucket promises: the same tests for the folder, a real MinIO and a real SeaweedFS."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from spotlightd.clients.bucket import folder as folder_bucket
from spotlightd.clients.bucket import s3_requests
from spotlightd.clients.bucket.folder import FolderBucket
from spotlightd.errors import StoreError
from spotlightd.model.bucket import BucketAccess
from spotlightd.ports.storage import Bucket, Object
from tests.clients.bucket_world import digest, least_rights, list_keys, open_bucket, put_object, read_object
from tests.real.stores import Minio

LARGE = random.Random(7).randbytes(20_000_001)


@pytest.fixture(params=["folder", "minio", "seaweedfs"])
async def bucket(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bucket]:
    if request.param == "folder":
        async with FolderBucket(tmp_path / "bucket") as folder:
            yield folder
        return
    store = request.getfixturevalue(request.param)
    async with open_bucket(store) as other:
        yield other


async def test_bytes_are_stored_and_read_back(bucket: Bucket) -> None:
    content = bytes(range(256)) * 10_000
    assert await put_object(bucket, "a/day=2024-01-02/x.parquet", content) == Object(
        "a/day=2024-01-02/x.parquet", len(content), digest(content)
    )
    pieces = [piece async for piece in bucket.read("a/day=2024-01-02/x.parquet")]
    assert b"".join(pieces) == content
    assert max(map(len, pieces)) == 1 << 20


async def test_a_file_is_stored_like_bytes(bucket: Bucket, tmp_path: Path) -> None:
    path = tmp_path / "export"
    path.write_bytes(LARGE)
    assert await bucket.put("large", path, digest(LARGE)) == Object("large", len(LARGE), digest(LARGE))
    assert digest(await read_object(bucket, "large")) == digest(LARGE)
    assert await bucket.head("large") == Object("large", len(LARGE), digest(LARGE))


async def test_the_error_names_a_missing_file(bucket: Bucket, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="No such file"):
        await bucket.put("a", tmp_path / "missing", digest(b""))
    assert await bucket.head("a") is None


@pytest.mark.parametrize(
    ("first", "length"), [(0, 0), (0, 1), (5, 10), (0, 5_000_000), (4_194_304, 4_194_304), (19_999_990, 11), (7, None)]
)
async def test_a_range_is_read_exactly(bucket: Bucket, first: int, length: int | None) -> None:
    await put_object(bucket, "large", LARGE)
    end = len(LARGE) if length is None else first + length
    assert await read_object(bucket, "large", first=first, length=length) == LARGE[first:end]


async def test_a_range_beyond_the_end_is_an_error(bucket: Bucket) -> None:
    await put_object(bucket, "a", b"abc")
    for first, length in ((0, 4), (4, None), (-1, 1), (2, -1), (3, 1)):
        with pytest.raises(StoreError, match=r"has 3 bytes: there are no bytes"):
            await read_object(bucket, "a", first=first, length=length)
    assert await read_object(bucket, "a", first=3) == b""


async def test_an_object_may_be_empty(bucket: Bucket) -> None:
    await put_object(bucket, "empty", b"")
    assert await bucket.head("empty") == Object("empty", 0, digest(b""))
    assert await read_object(bucket, "empty") == b""


async def test_a_missing_object_is_none_for_head_and_an_error_for_read(bucket: Bucket) -> None:
    assert await bucket.head("a/b") is None
    with pytest.raises(StoreError, match=r"^there is no object a/b in bucket "):
        await read_object(bucket, "a/b")


@pytest.mark.parametrize("content", [b"abc", LARGE[:6_000_000]], ids=["small", "in parts"])
async def test_the_same_bytes_again_change_nothing_and_other_bytes_are_refused(bucket: Bucket, content: bytes) -> None:
    first = await put_object(bucket, "a", content)
    assert await put_object(bucket, "a", content) == first
    for other in (content[:-1] + b"x", content + b"x", b""):
        with pytest.raises(StoreError, match=r"^bucket .* holds other|another .*: nothing is replaced"):
            await put_object(bucket, "a", other)
    assert await read_object(bucket, "a") == content


@pytest.mark.parametrize("content", [b"abc", LARGE], ids=["small", "in parts"])
async def test_of_two_concurrent_puts_one_wins(bucket: Bucket, content: bytes) -> None:
    results = await asyncio.gather(
        put_object(bucket, "a", content), put_object(bucket, "a", b"x" + content[1:]), return_exceptions=True
    )
    errors = [result for result in results if isinstance(result, BaseException)]
    assert len(errors) == 1
    assert isinstance(errors[0], StoreError)
    winner = next(result for result in results if isinstance(result, Object))
    assert digest(await read_object(bucket, "a")) == winner.digest


@pytest.mark.parametrize("content", [b"abc", LARGE], ids=["small", "in parts"])
async def test_bytes_with_another_digest_are_refused_and_not_stored(bucket: Bucket, content: bytes) -> None:
    with pytest.raises(
        StoreError, match=f"^a should have the SHA-256 {digest(b'')}, but its bytes have {digest(content)}"
    ):
        await bucket.put("a", content, digest(b""))
    assert await bucket.head("a") is None
    assert await list_keys(bucket) == []
    await put_object(bucket, "a", content)


@pytest.mark.parametrize("invalid", ["", "abc", "A" * 64, "0" * 63 + "\n"])
async def test_an_invalid_digest_is_refused(bucket: Bucket, invalid: str) -> None:
    with pytest.raises(StoreError, match="is not a SHA-256"):
        await bucket.put("a", b"abc", invalid)


@pytest.mark.parametrize(
    "key",
    ["", "/a", "a/", "a//b", ".", "..", "a/../b", "a/./b", "a/.b", "_probe/x", "a b", "a\n", "a?b", "ü", "a\\b", "a'b", "{a}", "a*",
     "x" * 201, "/".join(["x" * 100] * 9)],
)  # fmt: skip
async def test_an_invalid_key_is_refused(bucket: Bucket, key: str) -> None:
    for call in (bucket.put(key, b"", digest(b"")), bucket.head(key), read_object(bucket, key)):
        with pytest.raises(StoreError, match="is not a key of the bucket"):
            await call
    with pytest.raises(StoreError, match="is not a key of the bucket"):
        bucket.table([key], "a UInt8")


async def test_the_longest_key_is_accepted(bucket: Bucket) -> None:
    key = "/".join(["x" * 199] * 4)
    await put_object(bucket, key, b"abc")
    assert await list_keys(bucket) == [key]
    assert await read_object(bucket, key) == b"abc"


async def test_objects_are_listed_in_the_order_of_their_keys(bucket: Bucket) -> None:
    names = ["a-b/c", "a.b/c", "a/b=1/x", "a/b=1/y", "a/b=10/x", "a/b-1", "a=b", "b/a", "aa/a", "A/a"]
    for name in names:
        await put_object(bucket, name, name.encode())
    assert await list_keys(bucket) == sorted(names)
    assert [item async for item in bucket.list("a/b=1")] == [Object(key, len(key)) for key in sorted(names)[4:7]]
    assert await list_keys(bucket, "a/b=1/") == ["a/b=1/x", "a/b=1/y"]
    assert await list_keys(bucket, "a/b=1/x") == ["a/b=1/x"]
    assert await list_keys(bucket, "a") == sorted(names)[1:-1]
    assert await list_keys(bucket, "c") == []
    with pytest.raises(StoreError, match="is not the start of a key"):
        await list_keys(bucket, "a*")


async def test_a_long_list_is_complete(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (folder_bucket, s3_requests):
        monkeypatch.setattr(module, "PAGE", 10)
    names = [f"day={number % 7}/part-{number:04}" for number in range(45)]
    await asyncio.gather(*(put_object(bucket, name, b"x") for name in names))
    assert await list_keys(bucket) == sorted(names)
    assert await list_keys(bucket, "day=3/") == sorted(names[3::7])


async def test_a_cancelled_put_stores_all_or_nothing(bucket: Bucket, tmp_path: Path) -> None:
    path = tmp_path / "export"
    path.write_bytes(LARGE)
    for pause in (0.0, 0.02, 0.1, 0.5):
        putting = asyncio.create_task(bucket.put("large", path, digest(LARGE)))
        await asyncio.wait([putting], timeout=pause)
        putting.cancel()
        await asyncio.wait([putting])
        if await bucket.head("large") is None:
            assert await list_keys(bucket) == []
    await bucket.put("large", path, digest(LARGE))
    assert digest(await read_object(bucket, "large")) == digest(LARGE)


async def test_the_ping_of_a_healthy_bucket_leaves_no_probe(bucket: Bucket) -> None:
    await bucket.ping()
    await asyncio.gather(bucket.ping(), bucket.ping())
    assert await list_keys(bucket) == []


async def test_a_sweep_ends_no_upload_that_is_under_way(bucket: Bucket) -> None:
    putting = asyncio.create_task(put_object(bucket, "large", LARGE))
    while not putting.done():
        await bucket.sweep()  # it may remove a file that is not locked yet; that file is created again
    assert digest(await read_object(bucket, "large")) == digest(LARGE)


async def test_a_key_with_the_least_rights_is_enough(minio: Minio) -> None:
    access, secret = await asyncio.to_thread(minio.create_user, least_rights("narrow/"))
    async with open_bucket(minio, access=BucketAccess(access, secret, "narrow/")) as bucket:
        await bucket.ping()
        await put_object(bucket, "a/b", LARGE)
        assert await put_object(bucket, "a/b", LARGE) == await bucket.head("a/b")
        assert digest(await read_object(bucket, "a/b")) == digest(LARGE)
        assert await list_keys(bucket) == ["a/b"]
        await bucket.sweep()
