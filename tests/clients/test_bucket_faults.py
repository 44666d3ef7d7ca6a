"""An S3 store that is broken, missing, full, not S3 or lying: the error, its delay and cost, and the recovery after it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import replace

import pytest
from aiohttp import web

from spotlightd.clients.bucket.s3 import S3Bucket
from spotlightd.errors import StoreError
from spotlightd.model.bucket import BucketAccess
from tests.clients.bucket_world import (
    SHORT_TIMEOUTS,
    digest,
    least_rights,
    list_keys,
    make_settings,
    open_bucket,
    put_object,
    read_object,
)
from tests.clients.constructed_s3 import KEY, ConstructedS3, constructed_s3
from tests.real.stores import Minio
from tests.streams.proxy import proxying

ACCESS = BucketAccess("constructed-access-key", "constructed-secret-key", KEY)
CALL_SECONDS = 2.5  # with SHORT_TIMEOUTS: two tries of 0.6 s, their pauses, and a slow machine
LARGE = bytes(range(256)) * 50_000


@pytest.fixture
async def store() -> AsyncIterator[ConstructedS3]:
    async with constructed_s3() as store:
        yield store


@pytest.fixture
async def bucket(store: ConstructedS3) -> AsyncIterator[S3Bucket]:
    async with S3Bucket(make_settings(store.url, **SHORT_TIMEOUTS), ACCESS) as bucket:
        yield bucket


async def get_error(call: object) -> str:
    """The text of the call's StoreError, which must not contain an access key."""
    with pytest.raises(StoreError) as caught:
        await call  # type: ignore[misc]
    message = str(caught.value)
    assert ACCESS.access_key not in message
    assert ACCESS.secret_key not in message
    return message


async def test_a_sound_store_passes(store: ConstructedS3, bucket: S3Bucket) -> None:
    await bucket.ping()
    assert store.objects == {}
    await put_object(bucket, "a", LARGE)
    assert await read_object(bucket, "a") == LARGE


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
async def test_the_probe_names_what_the_store_does_not_support(
    store: ConstructedS3, bucket: S3Bucket, fault: dict[str, object], missing: str
) -> None:
    for name, value in fault.items():
        setattr(store, name, value)
    message = await get_error(bucket.ping())
    assert message.startswith("bucket spotlightd at 127.0.0.1:")
    assert "does not support what is needed: " in message
    with pytest.raises(StoreError, match=missing):
        await bucket.ping()


async def test_the_probe_names_all_that_is_missing_at_once(store: ConstructedS3, bucket: S3Bucket) -> None:
    store.overwrites, store.lists, store.deletes = True, False, False
    message = await get_error(bucket.ping())
    for name in ("create-only put;", "list (", "delete of its own probe ("):
        assert name in message


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (403, "InvalidAccessKeyId", "refuses our key (InvalidAccessKeyId): check bucket.access_key_file"),
        (403, "SignatureDoesNotMatch", "refuses our key (SignatureDoesNotMatch): check bucket.access_key_file"),
        (404, "NoSuchBucket", "does not exist (NoSuchBucket): create it, or set bucket.name"),
        (507, "XMinioStorageFull", "is full (XMinioStorageFull): free space there"),
        (503, "SlowDown", "cannot answer now (SlowDown): the request is repeated"),
        (500, "InternalError", "cannot answer now (InternalError): the request is repeated"),
        (
            403,
            "RequestTimeTooSkewed",
            "has a clock that differs from this machine's (RequestTimeTooSkewed): set both clocks right",
        ),
        (418, "Teapot", "refused (Teapot): look at its log"),
    ],
)
async def test_every_refusal_is_a_sentence_with_a_remedy(
    store: ConstructedS3, bucket: S3Bucket, status: int, code: str, expected: str
) -> None:
    store.failing = (status, code)
    for call in (bucket.ping(), list_keys(bucket), bucket.sweep()):
        assert expected in await get_error(call)


async def test_an_address_that_is_no_s3_store_is_an_error(store: ConstructedS3, bucket: S3Bucket) -> None:
    def answer_wiki(_: web.Request) -> None:
        raise web.HTTPNotFound(text="<html>there is a wiki here</html>")

    store.before = answer_wiki
    for call in (bucket.ping(), list_keys(bucket)):
        assert "refused (404)" in await get_error(call)


async def test_a_redirection_is_not_followed(store: ConstructedS3, bucket: S3Bucket) -> None:
    async with constructed_s3() as elsewhere:

        def redirect(request: web.Request) -> None:
            raise web.HTTPTemporaryRedirect(f"{elsewhere.url}{request.path}")

        store.before = redirect
        await get_error(put_object(bucket, "a", b"abc"))
        assert elsewhere.requests == 0


@pytest.mark.parametrize("content", [b"abcdef", LARGE], ids=["small", "in parts"])
async def test_half_an_upload_that_was_answered_with_200_is_noticed(
    store: ConstructedS3, bucket: S3Bucket, content: bytes
) -> None:
    store.truncates = True
    assert f"({len(content) // 2} bytes, ours has {len(content)})" in await get_error(put_object(bucket, "a", content))
    store.truncates = False
    assert "nothing is replaced" in await get_error(put_object(bucket, "a", content))
    await put_object(bucket, "b", content)


async def test_an_upload_that_the_store_lost_is_noticed(store: ConstructedS3, bucket: S3Bucket) -> None:
    store.forgets = True
    assert "acknowledged a and does not have it" in await get_error(put_object(bucket, "a", b"abc"))


async def test_a_changed_byte_is_noticed_when_the_whole_object_is_read(store: ConstructedS3, bucket: S3Bucket) -> None:
    await put_object(bucket, "a", LARGE)
    body, sha256 = store.objects[f"{KEY}a"]
    store.objects[f"{KEY}a"] = (b"x" + body[1:], sha256)
    assert "is damaged: its bytes no longer have its SHA-256" in await get_error(read_object(bucket, "a"))


@pytest.mark.parametrize("ranges", ["whole", "short"])
async def test_other_bytes_than_requested_are_not_returned(store: ConstructedS3, bucket: S3Bucket, ranges: str) -> None:
    await put_object(bucket, "a", LARGE)
    store.ranges = ranges
    await get_error(read_object(bucket, "a", first=10, length=20))


async def test_an_object_of_another_program_is_compared_by_its_bytes(store: ConstructedS3, bucket: S3Bucket) -> None:
    store.objects[f"{KEY}a"] = (b"abc", "")
    assert await put_object(bucket, "a", b"abc") is not None
    assert "nothing is replaced" in await get_error(put_object(bucket, "a", b"abd"))


async def test_names_that_are_not_keys_are_not_listed(store: ConstructedS3, bucket: S3Bucket) -> None:
    store.objects = {f"{KEY}a b": (b"", ""), f"{KEY}a": (b"", ""), f"{KEY}_probe/x": (b"", ""), "other/a": (b"", "")}
    assert await list_keys(bucket) == ["a"]


async def test_access_keys_that_are_revoked_during_an_upload(store: ConstructedS3, bucket: S3Bucket) -> None:
    def revoke(request: web.Request) -> None:
        if request.query.get("partNumber") == "2":
            store.failing = (403, "InvalidAccessKeyId")

    store.before = revoke
    assert "refuses our key (InvalidAccessKeyId)" in await get_error(put_object(bucket, "a", LARGE))
    assert store.objects == {}
    store.before, store.failing = lambda _: None, None
    await put_object(bucket, "a", LARGE)
    assert await read_object(bucket, "a") == LARGE


async def test_a_disabled_user_of_minio_is_an_error(minio: Minio) -> None:
    access, secret = await asyncio.to_thread(minio.create_user, least_rights("off/"))
    async with open_bucket(minio, access=BucketAccess(access, secret, "off/")) as bucket:
        await put_object(bucket, "a", b"abc")
        await asyncio.to_thread(minio.admin().user_disable, access)
        for call in (put_object(bucket, "b", b"abc"), bucket.ping(), list_keys(bucket)):
            message = await get_error(call)
            assert "refuses our key (" in message
            assert secret not in message
        await asyncio.to_thread(minio.admin().user_enable, access)
        await put_object(bucket, "b", b"abc")


async def test_a_missing_bucket_is_not_taken_for_a_missing_object(minio: Minio) -> None:
    missing = replace(make_settings(minio.url, **SHORT_TIMEOUTS), name="missing")
    async with S3Bucket(missing, BucketAccess(minio.access_key, minio.secret_key)) as bucket:
        for call in (
            bucket.ping(),
            bucket.head("a"),
            put_object(bucket, "a", b"abc"),
            list_keys(bucket),
            read_object(bucket, "a"),
        ):
            message = await get_error(call)
            assert message.startswith(f"bucket missing at 127.0.0.1:{minio.port} does not exist")


async def test_503_for_a_while_then_a_black_hole_then_fine(store: ConstructedS3) -> None:
    """Fault 36: every call ends soon, threads do not pile up, and what failed succeeds afterwards."""
    async with proxying(int(store.url.rpartition(":")[2])) as proxy:
        settings = make_settings(f"http://{proxy.address}", **SHORT_TIMEOUTS, threads=4)
        async with S3Bucket(settings, ACCESS) as bucket:
            threads = threading.active_count()
            store.failing = (503, "SlowDown")
            assert "cannot answer now (SlowDown)" in await get_error_soon(bucket)
            store.failing, proxy.stalled = None, True
            assert "does not answer" in await get_error_soon(bucket)
            await asyncio.gather(*(get_error_soon(bucket) for _ in range(12)))
            assert threading.active_count() <= threads + 4
            proxy.healthy()
            proxy.reset()
            await put_object(bucket, "a", LARGE)
            assert await read_object(bucket, "a") == LARGE
            proxy.refusing = True
            proxy.reset()
            assert "cannot be reached, or broke off" in await get_error_soon(bucket)


async def get_error_soon(bucket: S3Bucket) -> str:
    began = time.monotonic()
    message = await get_error(list_keys(bucket))
    assert time.monotonic() - began < CALL_SECONDS
    return message


async def test_a_store_that_sends_byte_by_byte_does_not_block_a_call_for_ever(free_port: int) -> None:
    """Each byte comes before the time-out of the socket, and the last byte never comes."""
    async with (
        dripping(free_port),
        S3Bucket(make_settings(f"http://127.0.0.1:{free_port}", **SHORT_TIMEOUTS, threads=1), ACCESS) as bucket,
    ):
        for _ in range(3):
            assert "did not answer within" in await get_error_soon(bucket)


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
    async with open_bucket(minio, **SHORT_TIMEOUTS) as bucket:
        await put_object(bucket, "a", b"abc")
        minio.freeze()
        try:
            began = time.monotonic()
            message = await get_error(bucket.ping())
            assert time.monotonic() - began < CALL_SECONDS
        finally:
            minio.thaw()
        assert "does not answer: check that it runs" in message
        async with asyncio.timeout(20):
            while True:
                try:
                    await bucket.ping()
                    break
                except StoreError:
                    await asyncio.sleep(0.05)
        assert await read_object(bucket, "a") == b"abc"


async def test_the_digest_is_the_one_of_the_bytes(store: ConstructedS3, bucket: S3Bucket) -> None:
    await put_object(bucket, "a", LARGE)
    assert store.objects[f"{KEY}a"] == (LARGE, digest(LARGE))
    assert store.uploads == {}
