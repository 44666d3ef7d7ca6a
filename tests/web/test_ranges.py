"""A document's bytes can be fetched in parts: what a client has is checked, and no part is another file's."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from spotlightd.errors import StoreError
from tests.web.world import World, sha256

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def fetch(world: World, path: str, method: str = "GET", **headers: str) -> tuple[aiohttp.ClientResponse, bytes]:
    assert world.session
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    async with world.session.request(method, world.address + path, headers=named) as answer:
        return answer, await answer.read()


@pytest_asyncio.fixture(loop_scope="session")
async def raw(world: World) -> tuple[str, bytes]:
    """The address of a stored document, and its bytes."""
    path = f"/source/{world.digests['again']}/raw"
    _, content = await fetch(world, path)
    assert sha256(content) == world.digests["again"]
    return path, content


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [("0-0", 0, 0), ("0-99", 0, 99), ("100-", 100, -1), ("-1", -1, -1), ("-50", -50, -1), ("10-99999999", 10, -1), ("-99999999", 0, -1)],
)  # fmt: skip
async def test_a_part_is_sent_alone(world: World, raw: tuple[str, bytes], asked: str, first: int, last: int) -> None:
    path, content = raw
    answer, body = await fetch(world, path, Range=f"bytes={asked}")
    first, last = first % len(content), last % len(content)
    assert answer.status == 206
    assert body == content[first : last + 1]
    assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{len(content)}"
    assert answer.headers["Content-Length"] == str(len(body))
    assert answer.headers["Content-Type"] == "application/octet-stream"


async def test_the_parts_of_a_broken_download_are_the_document(world: World, raw: tuple[str, bytes]) -> None:
    path, content = raw
    answer, beginning = await fetch(world, path, Range="bytes=0-999")
    rest, end = await fetch(world, path, Range="bytes=1000-", If_Range=answer.headers["ETag"])
    assert rest.status == 206
    assert sha256(beginning + end) == sha256(content)


async def test_a_document_is_kept_by_nobody_but_the_reader(world: World, raw: tuple[str, bytes]) -> None:
    """Behind a login a proxy must not hand it to others; the reader asks whether it is the same."""
    answer, _ = await fetch(world, raw[0])
    assert answer.headers["Cache-Control"] == "private, no-cache"
    assert answer.headers["ETag"]


@pytest.mark.parametrize("asked", ["99999999-", "99999999-999999999", "-0"])
async def test_a_part_that_the_file_does_not_have_is_refused(world: World, raw: tuple[str, bytes], asked: str) -> None:
    path, content = raw
    answer, body = await fetch(world, path, Range=f"bytes={asked}")
    assert answer.status == 416
    assert f"{len(content):,} bytes" in body.decode()
    assert answer.headers["Content-Range"] == f"bytes */{len(content)}"


@pytest.mark.parametrize(
    "headers",
    [
        {"Range": "bytes=5-4"},
        {"Range": "bytes=0-1,5-6"},
        {"Range": "lines=0-1"},
        {"Range": "bytes=-"},
        {"Range": "bytes=a-b"},
        {"Range": "bytes=0"},
        {"Range": "bytes=" + "9" * 5_000 + "-"},
        {"Range": "bytes=\u0660-\u0661"},
        {"Range": "bytes=0-9", "If-Range": '"another"'},
        {"Range": "bytes=0-9", "If-Range": "Wed, 21 Oct 2015 07:28:00 GMT"},
    ],
)
async def test_what_is_no_part_of_this_file_gets_the_whole_file(
    world: World, raw: tuple[str, bytes], headers: dict[str, str]
) -> None:
    path, content = raw
    answer, body = await fetch(world, path, **headers)
    assert (answer.status, body) == (200, content)
    assert answer.headers["Accept-Ranges"] == "bytes"


async def test_a_weak_mark_of_the_file_is_no_proof(world: World, raw: tuple[str, bytes]) -> None:
    path, content = raw
    answer, body = await fetch(world, path, Range="bytes=0-9", If_Range=f'W/"{world.digests["again"]}"')
    assert (answer.status, body) == (200, content)


async def test_head_tells_the_size_and_that_parts_can_be_had(world: World, raw: tuple[str, bytes]) -> None:
    path, content = raw
    answer, body = await fetch(world, path, "HEAD", Range="bytes=0-9")
    assert (answer.status, body) == (200, b"")
    assert answer.headers["Content-Length"] == str(len(content))
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["ETag"] == f'"{world.digests["again"]}"'


async def test_a_client_that_has_the_file_gets_nothing(world: World, raw: tuple[str, bytes]) -> None:
    answer, body = await fetch(world, raw[0], Range="bytes=0-9", If_None_Match=f'"{world.digests["again"]}"')
    assert (answer.status, body) == (304, b"")


@pytest.mark.parametrize("path", ["/data/sec_ftd.csv", "/data/sec_ftd.parquet", "/s/GME"])
async def test_what_is_made_for_each_request_has_no_parts(world: World, path: str) -> None:
    answer, body = await fetch(world, path, Range="bytes=0-9")
    assert answer.status == 200
    assert len(body) > 10
    assert "Accept-Ranges" not in answer.headers


async def test_a_part_that_cannot_be_read_to_its_end_breaks_off(world: World, raw: tuple[str, bytes]) -> None:
    class Damaged:
        async def read(self, *_: Any, **__: Any) -> Any:
            yield b"some"
            raise StoreError("the disk fails")

    async with world.served(documents=Damaged()) as damaged:
        with pytest.raises(aiohttp.ClientError):
            await fetch(damaged, raw[0], Range="bytes=0-999")
