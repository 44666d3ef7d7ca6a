"""What every Publisher does, the twin in memory and the real client alike. All documents here are constructed."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from spotlightd.clients.http.publisher import HttpPublishers
from spotlightd.errors import PublisherError
from spotlightd.ports.publisher import Publisher
from spotlightd.testing import MemoryPublishers, Reply
from tests.clients.publisher_server import ScriptedPublisher, cut_short, document
from tests.clients.publisher_world import HOME, HOST, ZIP, batch, limits

LATER = "Tue, 02 Feb 2021 10:00:00 GMT"


class MemoryWorld:
    """A publisher's offer, told to the twin."""

    def __init__(self) -> None:
        self.publishers = MemoryPublishers()
        self.publisher: Publisher = self.publishers.for_source(batch())

    def has(self, path: str, content: bytes, media_type: str = "application/zip") -> None:
        self.publishers.replies[HOME + path] = Reply(content, media_type, LATER)

    def breaks(self, path: str, content: bytes) -> None:
        error = PublisherError(f"{HOME}{path} broke off after {len(content)} bytes of 100")
        self.publishers.replies[HOME + path] = Reply(content, breaks=error)


class HttpWorld:
    """A publisher's offer, told to a server."""

    def __init__(self, server: ScriptedPublisher, publishers: HttpPublishers) -> None:
        self.server = server
        self.publisher: Publisher = publishers.for_source(batch())

    def has(self, path: str, content: bytes, media_type: str = "application/zip") -> None:
        self.server.script(path, document(content, etag='"one"', last_modified=LATER, media_type=media_type))

    def breaks(self, path: str, content: bytes) -> None:
        self.server.script(path, cut_short(content, of=100))


World = MemoryWorld | HttpWorld


@pytest.fixture(params=["memory", "http"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    if request.param == "memory":
        yield MemoryWorld()
        return
    async with ScriptedPublisher() as server, HttpPublishers(limits(server)) as publishers:
        yield HttpWorld(server, publishers)


async def whole(world: World, path: str) -> bytes:
    async with world.publisher.fetch(HOME + path) as fetched:
        assert fetched is not None
        return b"".join([chunk async for chunk in fetched.chunks])


async def refusal(world: World, path: str) -> PublisherError:
    with pytest.raises(PublisherError) as caught:
        await whole(world, path)
    return caught.value


async def test_a_document_is_complete_and_has_its_headers(world: World) -> None:
    world.has("/fails.zip", ZIP * 1000)
    async with world.publisher.fetch(HOME + "/fails.zip") as fetched:
        assert fetched is not None
        assert (fetched.url, fetched.media_type, fetched.last_modified) == (
            HOME + "/fails.zip",
            "application/zip",
            LATER,
        )
        assert b"".join([chunk async for chunk in fetched.chunks]) == ZIP * 1000


async def test_an_unchanged_document_is_none(world: World) -> None:
    world.has("/fails.zip", ZIP)
    async with world.publisher.fetch(HOME + "/fails.zip") as first:
        assert first is not None
    async with world.publisher.fetch(HOME + "/fails.zip", etag=first.etag) as again:
        assert again is None
    async with world.publisher.fetch(HOME + "/fails.zip", last_modified=first.last_modified) as again:
        assert again is None


async def test_a_document_that_is_not_there_is_absent(world: World) -> None:
    problem = await refusal(world, "/later.zip")
    assert problem.outcome == "absent"
    assert str(problem) == f"{HOST} has no {HOME}/later.zip (404 Not Found)"


async def test_a_page_of_html_instead_of_a_zip_is_a_wrong_body_named_by_its_title(world: World) -> None:
    world.has("/fails.zip", b"<!DOCTYPE html><html><title>Sorry &amp;\n we moved</title>" + b"x" * 50_000)
    problem = await refusal(world, "/fails.zip")
    assert problem.outcome == "wrong body"
    assert str(problem) == (
        f"{HOME}/fails.zip is an HTML page titled 'Sorry & we moved', not a document that begins with 'PK'"
    )


async def test_an_empty_answer_is_a_wrong_body(world: World) -> None:
    world.has("/fails.zip", b"")
    problem = await refusal(world, "/fails.zip")
    assert problem.outcome == "wrong body"
    assert str(problem) == f"{HOME}/fails.zip is empty, not a document that begins with 'PK'"


async def test_a_document_longer_than_its_source_takes_is_refused(world: World) -> None:
    world.has("/fails.zip", ZIP + bytes(1_000_000))
    problem = await refusal(world, "/fails.zip")
    assert problem.outcome == "failed"
    assert str(problem) == (
        f"{HOME}/fails.zip is longer than 1,000,000 bytes, the limit of its source; "
        "if the document has really grown, raise the source's max_bytes"
    )


async def test_a_document_that_breaks_off_raises_after_the_bytes_that_came(world: World) -> None:
    world.breaks("/fails.zip", ZIP)
    async with world.publisher.fetch(HOME + "/fails.zip") as fetched:
        assert fetched is not None
        assert await anext(fetched.chunks) == ZIP
        with pytest.raises(PublisherError, match=f"broke off after {len(ZIP)} ") as caught:
            await anext(fetched.chunks)
    assert caught.value.outcome == "failed"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("https://elsewhere.invalid/a.zip", f"is not at a host of the source ({HOST}): not requested"),
        (f"https://{HOST}:8443/a.zip", f"is not at a host of the source ({HOST}): not requested"),
        (f"https://{HOST}.elsewhere.invalid/a.zip", f"is not at a host of the source ({HOST}): not requested"),
        (f"https://elsewhere.invalid\\@{HOST}/a.zip", "is not an address"),
        (f"https://me:secret@{HOST}:port/a.zip", "is not an address"),
        (f"http://{HOST}/a.zip", "is not https: not requested"),
        ("file:///etc/passwd", "is not https: not requested"),
        (f"https://me:secret@{HOST}/a.zip", f"an address at {HOST} contains a user name or password: not requested"),
        (f"https://{HOST}:port/a.zip", "is not an address"),
        ("https:///a.zip", "not"),
        ("", "is not https: not requested"),
    ],
)
async def test_addresses_outside_the_hosts_of_a_source_are_never_requested(world: World, url: str, why: str) -> None:
    with pytest.raises(PublisherError) as document_refused:
        async with world.publisher.fetch(url):
            pass
    with pytest.raises(PublisherError) as page_refused:
        await world.publisher.page(url)
    assert why in str(document_refused.value)
    assert str(document_refused.value) == str(page_refused.value)
    assert "secret" not in str(page_refused.value)


async def test_a_page_is_text(world: World) -> None:
    world.has("/", "<p>Fails to deliver — 2021</p>".encode(), "text/html; charset=utf-8")
    assert await world.publisher.page(HOME + "/") == "<p>Fails to deliver — 2021</p>"


async def test_bytes_instead_of_a_page_are_a_wrong_body(world: World) -> None:
    world.has("/", ZIP, "text/html")
    with pytest.raises(PublisherError) as caught:
        await world.publisher.page(HOME + "/")
    assert (caught.value.outcome, str(caught.value)) == ("wrong body", f"{HOME}/ is a zip archive, not a page of text")


async def test_a_page_of_more_than_4_mb_is_refused(world: World) -> None:
    world.has("/", b"x" * 4_000_001, "text/html")
    with pytest.raises(PublisherError, match="is longer than 4,000,000 bytes"):
        await world.publisher.page(HOME + "/")


async def test_a_reader_may_leave_a_document_half_read(world: World) -> None:
    world.has("/fails.zip", ZIP * 10_000)
    async with world.publisher.fetch(HOME + "/fails.zip") as fetched:
        assert fetched is not None
        async for _ in fetched.chunks:
            break
    assert await whole(world, "/fails.zip") == ZIP * 10_000
