"""What every Documents does: the twin in memory, the folder, and folder and bucket together, dropped documents included."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from spotlightd.clients.documents.folder import FolderDocuments, join_chunks
from spotlightd.errors import PublisherError, StoreError
from spotlightd.ports.storage import Documents, StoredFile
from spotlightd.testing import MemoryDocuments
from tests.clients.documents_world import DroppedDocuments, bucket_for, tiered


@pytest.fixture(
    params=["memory", "folder", *(f"{how}, {where}" for how in ("local", "dropped") for where in ("bucket", "minio"))]
)
async def documents(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Documents]:
    """`dropped`: what is read was copied to the bucket and dropped from the folder before."""
    if request.param == "memory":
        yield MemoryDocuments(tmp_path)
        return
    if request.param == "folder":
        async with FolderDocuments(tmp_path / "documents") as folder:
            yield folder
        return
    how, where = request.param.split(", ")
    store = request.getfixturevalue("minio") if where == "minio" else None
    async with bucket_for(tmp_path, store) as bucket, tiered(tmp_path, bucket) as both:
        yield DroppedDocuments(both, bucket) if how == "dropped" else both


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


async def read_all(documents: Documents, digest: str) -> list[bytes]:
    return [piece async for piece in documents.read(digest)]


async def open_file(documents: Documents, digest: str) -> Path:
    async with documents.file(digest) as path:
        return path


async def test_bytes_are_kept_under_their_sha256_and_read_back(documents: Documents) -> None:
    content = bytes(range(256)) * 10_000
    stored = await documents.put(chunks(content[:100], b"", content[100:1_500_000], content[1_500_000:]))
    assert stored == StoredFile(hashlib.sha256(content).hexdigest(), len(content), new=True)
    async with documents.file(stored.digest) as path:
        assert path.read_bytes() == content
    read = await read_all(documents, stored.digest)
    assert b"".join(read) == content
    assert max(map(len, read)) == 1 << 20


async def test_a_part_of_a_document_is_read_alone_and_never_a_part_that_it_does_not_have(documents: Documents) -> None:
    content = bytes(range(256)) * 10_000
    digest = (await documents.put(chunks(content))).digest
    for first, length in ((0, 1), (3, 5), (1_000_000, 1_200_000), (len(content) - 1, 1), (7, None), (9, 0)):
        read = [piece async for piece in documents.read(digest, first=first, length=length)]
        assert b"".join(read) == content[first : None if length is None else first + length]
        assert max(map(len, read), default=0) <= 1 << 20
    for first, length in ((0, len(content) + 1), (len(content), 1), (len(content) + 1, None)):
        with pytest.raises(StoreError, match="bytes"):
            _ = [piece async for piece in documents.read(digest, first=first, length=length)]


async def test_the_same_bytes_are_one_object_however_they_are_cut(documents: Documents) -> None:
    first = await documents.put(chunks(b"abc", b"def"))
    again = await documents.put(chunks(b"abcdef"))
    assert (first.digest, first.new, again.digest, again.new) == (again.digest, True, first.digest, False)


async def test_no_bytes_are_an_object_too(documents: Documents) -> None:
    stored = await documents.put(chunks())
    assert (stored.size, await read_all(documents, stored.digest)) == (0, [])


async def test_a_broken_fetch_keeps_nothing_and_its_error_comes_through(documents: Documents) -> None:
    with pytest.raises(PublisherError, match="broke off"):
        await documents.put(broken(b"x" * 2_000_000))
    with pytest.raises(StoreError):
        await open_file(documents, hashlib.sha256(b"x" * 2_000_000).hexdigest())


async def test_a_cancelled_put_keeps_nothing_and_the_next_one_works(documents: Documents) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(documents.put(stalled()), 0.1)
    assert (await documents.put(chunks(b"x" * 2_000_000))).new


async def test_many_puts_at_once_are_kept_apart(documents: Documents) -> None:
    contents = [bytes([number % 7]) * 300_000 for number in range(20)]
    stored_files = await asyncio.gather(
        *(documents.put(chunks(*(content[:1000], content[1000:]))) for content in contents)
    )
    assert [stored.digest for stored in stored_files] == [hashlib.sha256(content).hexdigest() for content in contents]
    assert sum(stored.new for stored in stored_files) == 7


async def test_an_object_is_not_to_be_written(documents: Documents) -> None:
    stored = await documents.put(chunks(b"abc"))
    async with documents.file(stored.digest) as path:
        assert path.stat().st_mode & 0o777 == 0o444


async def test_a_document_that_is_not_there_is_named(documents: Documents) -> None:
    digest = "0" * 64
    with pytest.raises(StoreError, match=f"^there is no document {digest} in /"):
        await open_file(documents, digest)
    with pytest.raises(StoreError, match=f"^there is no document {digest} in /"):
        await read_all(documents, digest)


@pytest.mark.parametrize(
    "digest",
    ["", "abc", "../" * 20 + "etc/passwd", "A" * 64, "g" * 64, "0" * 63 + "/", "0" * 64 + "\n", "٣" * 64, "0" * 65],
)
async def test_what_is_no_digest_is_no_path(documents: Documents, digest: str) -> None:
    for ask in (open_file, read_all):
        with pytest.raises(StoreError) as caught:
            await ask(documents, digest)
        assert str(caught.value) == f"{digest[:80]!r} is not a SHA-256 (64 digits of 0-9 and a-f)"


async def test_a_healthy_store_answers_its_ping(documents: Documents) -> None:
    await documents.ping()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(some.lists(some.binary(max_size=50), max_size=20), some.integers(1, 60))
async def test_regrouping_changes_no_byte(parts: list[bytes], size: int) -> None:
    grouped = [piece async for piece in join_chunks(chunks(*parts), size)]
    assert b"".join(grouped) == b"".join(parts)
    assert all(len(piece) >= size for piece in grouped[:-1])
    assert all(grouped)
