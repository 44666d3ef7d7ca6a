"""An S3 store that is broken, gone, full, foreign or lying: what is said, how soon, at what cost, and that it goes on after."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress

import pytest
from aiohttp import web

from spotlightd.clients.bucket.s3 import S3Bucket
from spotlightd.errors import StoreError
from spotlightd.model.bucket import Access
from tests.clients.bucket_world import IMPATIENT, bucket_of, digest, kept, keys, least, settings, whole
from tests.clients.constructed_s3 import KEY, ConstructedS3, constructed_s3
from tests.real.stores import Minio
from tests.streams.proxy import proxying

ACCESS = Access("constructed-access-key", "constructed-secret-key", KEY)
CALL_SECONDS = 2.5  # of an impatient bucket: two tries of 0.6 s, their pauses, and a slow machine
LARGE = bytes(range(256)) * 50_000


@pytest.fixture
async def store() -> AsyncIterator[ConstructedS3]:
    async with constructed_s3() as store:
        yield store


@pytest.fixture
async def bucket(store: ConstructedS3) -> AsyncIterator[S3Bucket]:
    async with S3Bucket(settings(store.url, **IMPATIENT), ACCESS) as bucket:
        yield bucket


async def refused(call: object) -> str:
    """What is said; never with a key in it."""
    with pytest.raises(StoreError) as caught:
        await call  # type: ignore[misc]
    said = str(caught.value)
    assert ACCESS.access_key not in said
    assert ACCESS.secret_key not in said
    return said


async def test_a_sound_store_passes(store: ConstructedS3, bucket: S3Bucket) -> None:
    await bucket.ping()
    assert store.objects == {}
    await kept(bucket, "a", LARGE)
    assert await whole(bucket, "a") == LARGE


@pytest.mark.parametrize(
    ("fault", "missing"),
    [
        ({"overwrites": True}, "create-only put"),
        ({"ranges": "whole"}, "create-only put|ranged get"),
        ({"ranges": "wrong"}, "ranged get"),
        ({"ranges": "short"}, "create-only put|ranged get"),
        ({"lists": False}, r"list \(.* refuses our key \(AccessDenied\)"),
        ({"deletes": False}, r"delete of its own probe \(.* refuses our key \(AccessDenied\)"),
    ],
)
async def test_the_probe_says_what_the_store_does_not_do(
    store: ConstructedS3, bucket: S3Bucket, fault: dict[str, object], missing: str
) -> None:
    for name, value in fault.items():
        setattr(store, name, value)
    said = await refused(bucket.ping())
    assert said.startswith("bucket spotlightd at 127.0.0.1:")
    assert "does not do what is needed of it: " in said
    with pytest.raises(StoreError, match=missing):
        await bucket.ping()


async def test_the_probe_says_all_that_is_missing_at_once(store: ConstructedS3, bucket: S3Bucket) -> None:
    store.overwrites, store.lists, store.deletes = True, False, False
    said = await refused(bucket.ping())
    for name in ("create-only put;", "list (", "delete of its own probe ("):
        assert name in said


@pytest.mark.parametrize(
    ("status", "code", "says"),
    [
        (403, "InvalidAccessKeyId", "refuses our key (InvalidAccessKeyId): see bucket.access_key_file"),
        (403, "SignatureDoesNotMatch", "refuses our key (SignatureDoesNotMatch): see bucket.access_key_file"),
        (404, "NoSuchBucket", "does not exist (NoSuchBucket): make it, or set bucket.name"),
        (507, "XMinioStorageFull", "is full (XMinioStorageFull): free space there"),
        (503, "SlowDown", "cannot answer now (SlowDown): it is asked again"),
        (500, "InternalError", "cannot answer now (InternalError): it is asked again"),
        (
            403,
            "RequestTimeTooSkewed",
            "has another time than this machine (RequestTimeTooSkewed): set both clocks right",
        ),
        (418, "Teapot", "refused (Teapot): look at its log"),
    ],
)
async def test_every_refusal_is_a_sentence_with_a_remedy(
    store: ConstructedS3, bucket: S3Bucket, status: int, code: str, says: str
) -> None:
    store.failing = (status, code)
    for call in (bucket.ping(), keys(bucket), bucket.sweep()):
        assert says in await refused(call)


async def test_what_is_no_s3_store_is_called_that(store: ConstructedS3, bucket: S3Bucket) -> None:
    def other(_: web.Request) -> None:
        raise web.HTTPNotFound(text="<html>there is a wiki here</html>")

    store.before = other
    for call in (bucket.ping(), keys(bucket)):
        assert "refused (404)" in await refused(call)


async def test_a_redirection_is_not_followed(store: ConstructedS3, bucket: S3Bucket) -> None:
    async with constructed_s3() as elsewhere:

        def away(request: web.Request) -> None:
            raise web.HTTPTemporaryRedirect(f"{elsewhere.url}{request.path}")

        store.before = away
        await refused(kept(bucket, "a", b"abc"))
        assert elsewhere.asked == 0


@pytest.mark.parametrize("content", [b"abcdef", LARGE], ids=["small", "in parts"])
async def test_half_an_upload_that_was_answered_with_200_is_noticed(
    store: ConstructedS3, bucket: S3Bucket, content: bytes
) -> None:
    store.truncates = True
    assert f"({len(content) // 2} bytes, ours has {len(content)})" in await refused(kept(bucket, "a", content))
    store.truncates = False
    assert "nothing is replaced" in await refused(kept(bucket, "a", content))
    await kept(bucket, "b", content)


async def test_an_upload_that_was_forgotten_is_noticed(store: ConstructedS3, bucket: S3Bucket) -> None:
    store.forgets = True
    assert "says that it keeps a, and has it not" in await refused(kept(bucket, "a", b"abc"))


async def test_a_byte_that_changed_is_noticed_when_the_whole_is_read(store: ConstructedS3, bucket: S3Bucket) -> None:
    await kept(bucket, "a", LARGE)
    body, told = store.objects[f"{KEY}a"]
    store.objects[f"{KEY}a"] = (b"x" + body[1:], told)
    assert "is damaged: its bytes no longer have its SHA-256" in await refused(whole(bucket, "a"))


@pytest.mark.parametrize("ranges", ["whole", "short"])
async def test_other_bytes_than_asked_for_are_not_passed_on(
    store: ConstructedS3, bucket: S3Bucket, ranges: str
) -> None:
    await kept(bucket, "a", LARGE)
    store.ranges = ranges
    await refused(whole(bucket, "a", first=10, length=20))


async def test_what_somebody_else_put_is_compared_by_its_bytes(store: ConstructedS3, bucket: S3Bucket) -> None:
    store.objects[f"{KEY}a"] = (b"abc", "")
    assert await kept(bucket, "a", b"abc") is not None
    assert "nothing is replaced" in await refused(kept(bucket, "a", b"abd"))


async def test_names_that_are_no_keys_are_not_listed(store: ConstructedS3, bucket: S3Bucket) -> None:
    store.objects = {f"{KEY}a b": (b"", ""), f"{KEY}a": (b"", ""), f"{KEY}_probe/x": (b"", ""), "other/a": (b"", "")}
    assert await keys(bucket) == ["a"]


async def test_keys_that_are_taken_away_in_the_middle_of_an_upload(store: ConstructedS3, bucket: S3Bucket) -> None:
    def revoke(request: web.Request) -> None:
        if request.query.get("partNumber") == "2":
            store.failing = (403, "InvalidAccessKeyId")

    store.before = revoke
    assert "refuses our key (InvalidAccessKeyId)" in await refused(kept(bucket, "a", LARGE))
    assert store.objects == {}
    store.before, store.failing = lambda _: None, None
    await kept(bucket, "a", LARGE)
    assert await whole(bucket, "a") == LARGE


async def test_a_user_of_minio_that_is_disabled_is_told(minio: Minio) -> None:
    access, secret = await asyncio.to_thread(minio.account, least("off/"))
    async with bucket_of(minio, access=Access(access, secret, "off/")) as bucket:
        await kept(bucket, "a", b"abc")
        await asyncio.to_thread(minio.admin().user_disable, access)
        for call in (kept(bucket, "b", b"abc"), bucket.ping(), keys(bucket)):
            said = await refused(call)
            assert "refuses our key (" in said
            assert secret not in said
        await asyncio.to_thread(minio.admin().user_enable, access)
        await kept(bucket, "b", b"abc")


async def test_a_bucket_that_is_not_there_is_no_absent_object(minio: Minio) -> None:
    told = settings(minio.url, **IMPATIENT)
    missing = type(told)(**{name: getattr(told, name) for name in told.__slots__} | {"name": "missing"})
    async with S3Bucket(missing, Access(minio.access_key, minio.secret_key)) as bucket:
        for call in (bucket.ping(), bucket.head("a"), kept(bucket, "a", b"abc"), keys(bucket), whole(bucket, "a")):
            said = await refused(call)
            assert said.startswith(f"bucket missing at 127.0.0.1:{minio.port} does not exist")


async def test_503_for_a_while_then_a_black_hole_then_fine(store: ConstructedS3) -> None:
    """Fault 36: every call ends soon, no thread piles up, and what failed is done after."""
    async with proxying(int(store.url.rpartition(":")[2])) as proxy:
        told = settings(f"http://{proxy.address}", **IMPATIENT, threads=4)
        async with S3Bucket(told, ACCESS) as bucket:
            threads = threading.active_count()
            store.failing = (503, "SlowDown")
            assert "cannot answer now (SlowDown)" in await soon(bucket)
            store.failing, proxy.stalled = None, True
            assert "does not answer" in await soon(bucket)
            await asyncio.gather(*(soon(bucket) for _ in range(12)))
            assert threading.active_count() <= threads + 4
            proxy.healthy()
            proxy.reset()
            await kept(bucket, "a", LARGE)
            assert await whole(bucket, "a") == LARGE
            proxy.refusing = True
            proxy.reset()
            assert "cannot be reached, or broke off" in await soon(bucket)


async def soon(bucket: S3Bucket) -> str:
    began = time.monotonic()
    said = await refused(keys(bucket))
    assert time.monotonic() - began < CALL_SECONDS
    return said


async def test_a_store_that_drips_does_not_hold_a_call_for_ever(free_port: int) -> None:
    """Each line comes before the socket's time-out, and the last one never."""
    async with (
        dripping(free_port),
        S3Bucket(settings(f"http://127.0.0.1:{free_port}", **IMPATIENT, threads=1), ACCESS) as bucket,
    ):
        for _ in range(3):
            assert "did not answer within" in await soon(bucket)


@asynccontextmanager
async def dripping(port: int) -> AsyncIterator[None]:
    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError), closing(writer):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.05)

    async with await asyncio.start_server(drip, "127.0.0.1", port):
        yield


async def test_a_frozen_minio_is_noticed_and_used_again(minio: Minio) -> None:
    async with bucket_of(minio, **IMPATIENT) as bucket:
        await kept(bucket, "a", b"abc")
        minio.freeze()
        try:
            began = time.monotonic()
            said = await refused(bucket.ping())
            assert time.monotonic() - began < CALL_SECONDS
        finally:
            minio.thaw()
        assert "does not answer: see that it runs" in said
        async with asyncio.timeout(20):
            while True:
                try:
                    await bucket.ping()
                    break
                except StoreError:
                    await asyncio.sleep(0.05)
        assert await whole(bucket, "a") == b"abc"


async def test_the_digest_is_the_one_of_the_bytes(store: ConstructedS3, bucket: S3Bucket) -> None:
    await kept(bucket, "a", LARGE)
    assert store.objects[f"{KEY}a"] == (LARGE, digest(LARGE))
    assert store.uploads == {}
