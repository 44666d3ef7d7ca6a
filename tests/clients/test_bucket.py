"""What every Bucket does: the folder, a real MinIO and a real SeaweedFS alike."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from spotlightd.clients.bucket import folder as folder_bucket
from spotlightd.clients.bucket import s3_calls
from spotlightd.clients.bucket.folder import FolderBucket
from spotlightd.errors import StoreError
from spotlightd.model.bucket import Access
from spotlightd.ports.storage import Bucket, Object
from tests.clients.bucket_world import bucket_of, digest, kept, keys, least, whole
from tests.real.stores import Minio

LARGE = random.Random(7).randbytes(20_000_001)


@pytest.fixture(params=["folder", "minio", "seaweedfs"])
async def bucket(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bucket]:
    if request.param == "folder":
        async with FolderBucket(tmp_path / "bucket") as folder:
            yield folder
        return
    store = request.getfixturevalue(request.param)
    async with bucket_of(store) as other:
        yield other


async def test_bytes_are_kept_and_read_back(bucket: Bucket) -> None:
    content = bytes(range(256)) * 10_000
    assert await kept(bucket, "a/day=2024-01-02/x.parquet", content) == Object(
        "a/day=2024-01-02/x.parquet", len(content), digest(content)
    )
    pieces = [piece async for piece in bucket.read("a/day=2024-01-02/x.parquet")]
    assert b"".join(pieces) == content
    assert max(map(len, pieces)) == 1 << 20


async def test_a_file_is_kept_as_bytes_are(bucket: Bucket, tmp_path: Path) -> None:
    path = tmp_path / "export"
    path.write_bytes(LARGE)
    assert await bucket.put("large", path, digest(LARGE)) == Object("large", len(LARGE), digest(LARGE))
    assert digest(await whole(bucket, "large")) == digest(LARGE)
    assert await bucket.head("large") == Object("large", len(LARGE), digest(LARGE))


async def test_a_file_that_is_not_there_is_named(bucket: Bucket, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="No such file"):
        await bucket.put("a", tmp_path / "missing", digest(b""))
    assert await bucket.head("a") is None


@pytest.mark.parametrize(
    ("first", "length"), [(0, 0), (0, 1), (5, 10), (0, 5_000_000), (4_194_304, 4_194_304), (19_999_990, 11), (7, None)]
)
async def test_a_span_is_that_span(bucket: Bucket, first: int, length: int | None) -> None:
    await kept(bucket, "large", LARGE)
    end = len(LARGE) if length is None else first + length
    assert await whole(bucket, "large", first=first, length=length) == LARGE[first:end]


async def test_a_span_beyond_the_end_is_an_error_and_not_less(bucket: Bucket) -> None:
    await kept(bucket, "a", b"abc")
    for first, length in ((0, 4), (4, None), (-1, 1), (2, -1), (3, 1)):
        with pytest.raises(StoreError, match=r"has 3 bytes, and not those from"):
            await whole(bucket, "a", first=first, length=length)
    assert await whole(bucket, "a", first=3) == b""


async def test_no_bytes_are_an_object_too(bucket: Bucket) -> None:
    await kept(bucket, "empty", b"")
    assert await bucket.head("empty") == Object("empty", 0, digest(b""))
    assert await whole(bucket, "empty") == b""


async def test_what_is_not_there_is_none_and_an_error(bucket: Bucket) -> None:
    assert await bucket.head("a/b") is None
    with pytest.raises(StoreError, match=r"^there is no object a/b in bucket "):
        await whole(bucket, "a/b")


@pytest.mark.parametrize("content", [b"abc", LARGE[:6_000_000]], ids=["small", "in parts"])
async def test_the_same_again_is_left_and_other_bytes_are_refused(bucket: Bucket, content: bytes) -> None:
    first = await kept(bucket, "a", content)
    assert await kept(bucket, "a", content) == first
    for other in (content[:-1] + b"x", content + b"x", b""):
        with pytest.raises(StoreError, match=r"^bucket .* holds other|another .*: nothing is replaced"):
            await kept(bucket, "a", other)
    assert await whole(bucket, "a") == content


@pytest.mark.parametrize("content", [b"abc", LARGE], ids=["small", "in parts"])
async def test_two_at_once_leave_one(bucket: Bucket, content: bytes) -> None:
    done = await asyncio.gather(
        kept(bucket, "a", content), kept(bucket, "a", b"x" + content[1:]), return_exceptions=True
    )
    lost = [one for one in done if isinstance(one, BaseException)]
    assert len(lost) == 1
    assert isinstance(lost[0], StoreError)
    won = next(one for one in done if isinstance(one, Object))
    assert digest(await whole(bucket, "a")) == won.digest


@pytest.mark.parametrize("content", [b"abc", LARGE], ids=["small", "in parts"])
async def test_bytes_of_another_digest_are_refused_and_nothing_is_kept(bucket: Bucket, content: bytes) -> None:
    with pytest.raises(
        StoreError, match=f"^a was to have the SHA-256 {digest(b'')}, but its bytes have {digest(content)}"
    ):
        await bucket.put("a", content, digest(b""))
    assert await bucket.head("a") is None
    assert await keys(bucket) == []
    await kept(bucket, "a", content)


@pytest.mark.parametrize("no_digest", ["", "abc", "A" * 64, "0" * 63 + "\n"])
async def test_what_is_no_digest_is_refused(bucket: Bucket, no_digest: str) -> None:
    with pytest.raises(StoreError, match="is not a SHA-256"):
        await bucket.put("a", b"abc", no_digest)


@pytest.mark.parametrize(
    "key",
    ["", "/a", "a/", "a//b", ".", "..", "a/../b", "a/./b", "a/.b", "_probe/x", "a b", "a\n", "a?b", "ü", "a\\b", "a'b", "{a}", "a*",
     "x" * 201, "/".join(["x" * 100] * 9)],
)  # fmt: skip
async def test_what_is_no_key_is_refused(bucket: Bucket, key: str) -> None:
    for ask in (bucket.put(key, b"", digest(b"")), bucket.head(key), whole(bucket, key)):
        with pytest.raises(StoreError, match="is no key of the bucket"):
            await ask
    with pytest.raises(StoreError, match="is no key of the bucket"):
        bucket.table([key], "a UInt8")


async def test_the_longest_key_is_one(bucket: Bucket) -> None:
    key = "/".join(["x" * 199] * 4)
    await kept(bucket, key, b"abc")
    assert await keys(bucket) == [key]
    assert await whole(bucket, key) == b"abc"


async def test_objects_are_listed_in_the_order_of_their_keys(bucket: Bucket) -> None:
    names = ["a-b/c", "a.b/c", "a/b=1/x", "a/b=1/y", "a/b=10/x", "a/b-1", "a=b", "b/a", "aa/a", "A/a"]
    for name in names:
        await kept(bucket, name, name.encode())
    assert await keys(bucket) == sorted(names)
    assert [one async for one in bucket.list("a/b=1")] == [Object(key, len(key)) for key in sorted(names)[4:7]]
    assert await keys(bucket, "a/b=1/") == ["a/b=1/x", "a/b=1/y"]
    assert await keys(bucket, "a/b=1/x") == ["a/b=1/x"]
    assert await keys(bucket, "a") == sorted(names)[1:-1]
    assert await keys(bucket, "c") == []
    with pytest.raises(StoreError, match="is no beginning of a key"):
        await keys(bucket, "a*")


async def test_a_long_list_is_whole(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (folder_bucket, s3_calls):
        monkeypatch.setattr(module, "PAGE", 10)
    names = [f"day={number % 7}/part-{number:04}" for number in range(45)]
    await asyncio.gather(*(kept(bucket, name, b"x") for name in names))
    assert await keys(bucket) == sorted(names)
    assert await keys(bucket, "day=3/") == sorted(names[3::7])


async def test_a_put_that_is_cancelled_leaves_all_or_nothing(bucket: Bucket, tmp_path: Path) -> None:
    path = tmp_path / "export"
    path.write_bytes(LARGE)
    for pause in (0.0, 0.02, 0.1, 0.5):
        putting = asyncio.create_task(bucket.put("large", path, digest(LARGE)))
        await asyncio.wait([putting], timeout=pause)
        putting.cancel()
        await asyncio.wait([putting])
        if await bucket.head("large") is None:
            assert await keys(bucket) == []
    await bucket.put("large", path, digest(LARGE))
    assert digest(await whole(bucket, "large")) == digest(LARGE)


async def test_a_healthy_bucket_answers_its_ping_and_keeps_no_probe(bucket: Bucket) -> None:
    await bucket.ping()
    await asyncio.gather(bucket.ping(), bucket.ping())
    assert await keys(bucket) == []


async def test_sweeping_ends_nothing_that_is_under_way(bucket: Bucket) -> None:
    putting = asyncio.create_task(kept(bucket, "large", LARGE))
    while not putting.done():
        await bucket.sweep()  # it may count a file that has no owner yet: that one is made again
    assert digest(await whole(bucket, "large")) == digest(LARGE)


async def test_a_key_with_the_least_rights_is_enough(minio: Minio) -> None:
    access, secret = await asyncio.to_thread(minio.account, least("narrow/"))
    async with bucket_of(minio, access=Access(access, secret, "narrow/")) as bucket:
        await bucket.ping()
        await kept(bucket, "a/b", LARGE)
        assert await kept(bucket, "a/b", LARGE) == await bucket.head("a/b")
        assert digest(await whole(bucket, "a/b")) == digest(LARGE)
        assert await keys(bucket) == ["a/b"]
        await bucket.sweep()
