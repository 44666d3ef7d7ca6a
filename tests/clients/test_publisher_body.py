"""The real client against bodies that are broken or hostile. All documents here are constructed."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from spotlightd.clients.documents.folder import FolderDocuments
from spotlightd.clients.http.body import BodyStream, read_body
from spotlightd.clients.http.publisher import HttpPublisher
from spotlightd.errors import PublisherError
from spotlightd.ports.storage import StoredFile
from spotlightd.settings import sources
from tests.clients import publisher_server as scripted
from tests.clients.publisher_server import document, reply
from tests.clients.publisher_world import (
    HOME,
    HOST,
    PATH,
    URL,
    ZIP,
    PublisherWorld,
    fetch_all,
    get_refusal,
)
from tests.manual_clock import ManualClock


async def test_a_connection_lost_before_the_answer_is_tried_again(world: PublisherWorld) -> None:
    world.server.script(PATH, scripted.hang_up(), scripted.garbage(b"not HTTP at all\r\n\r\n"), document(ZIP))
    assert await fetch_all(await world.publisher()) == ZIP


async def test_a_publisher_who_always_hangs_up_is_given_up(world: PublisherWorld) -> None:
    world.server.script(PATH, scripted.garbage(b"not HTTP at all\r\n\r\n"))
    problem = await get_refusal(await world.publisher())
    assert str(problem) == f"{HOST} closed the connection before it answered: {URL}; tried 3 times"


async def test_a_publisher_who_is_not_there_is_given_up(world: PublisherWorld, free_port: int) -> None:
    publisher = await world.publisher(mirrors={HOST: f"http://127.0.0.1:{free_port}"})
    problem = await get_refusal(publisher)
    assert str(problem).startswith(f"no connection to {HOST}: ")
    assert str(problem).endswith(f": {URL}; tried 3 times")
    assert problem.outcome == "failed"


async def test_a_name_that_does_not_exist_is_given_up(world: PublisherWorld) -> None:
    problem = await get_refusal(await world.publisher(mirrors={}))
    assert str(problem) == f"no connection to {HOST}: Name or service not known: {URL}; tried 3 times"


async def test_a_publisher_who_never_answers_is_tried_again_and_given_up(world: PublisherWorld) -> None:
    world.server.script(PATH, scripted.silence())
    problem = await get_refusal(await world.publisher(connect_seconds=0.1, stall_seconds=0.1))
    assert str(problem) == f"{HOST} did not begin to answer within 0.2 s: {URL}; tried 3 times"


@pytest.mark.parametrize("answer", [scripted.cut_short(ZIP, of=5000), scripted.reset(ZIP, of=5000)])
async def test_a_body_that_breaks_off_reports_its_length_and_is_not_retried(
    world: PublisherWorld, answer: scripted.Answer
) -> None:
    world.server.script(PATH, answer)
    problem = await get_refusal(await world.publisher())
    assert str(problem) == f"{URL} broke off after {len(ZIP)} bytes of 5,000"
    assert (problem.outcome, len(world.server.requests)) == ("failed", 1)


async def test_a_chunked_body_without_its_end_broke_off(world: PublisherWorld) -> None:
    world.server.script(PATH, scripted.cut_short_chunked(ZIP))
    problem = await get_refusal(await world.publisher())
    assert str(problem) == f"{URL} broke off after {len(ZIP)} bytes"


async def test_a_body_that_falls_silent_is_given_up(world: PublisherWorld) -> None:
    world.server.script(PATH, scripted.silence(ZIP, of=5000))
    problem = await get_refusal(await world.publisher(stall_seconds=0.2))
    assert str(problem) == f"{URL} sent nothing for 0.2 s after {len(ZIP)} bytes of 5,000"


async def test_a_packed_answer_is_refused_unread(world: PublisherWorld) -> None:
    bomb = gzip.compress(bytes(50_000_000))
    world.server.script(PATH, reply(200, bomb, Content_Encoding="gzip"))
    publisher = await world.publisher()
    problem = await get_refusal(publisher)
    assert problem.outcome == "wrong body"
    assert str(problem) == f"{URL} came compressed (gzip) though plain bytes were requested: not decompressed"
    with pytest.raises(PublisherError, match=r"came compressed \(gzip\)"):
        await publisher.page(URL)


async def test_a_document_that_claims_5_gb_is_refused_before_its_body(world: PublisherWorld) -> None:
    world.server.script(PATH, scripted.silence(ZIP, of=5_000_000_000))
    problem = await get_refusal(await world.publisher())
    assert str(problem).startswith(f"{URL} is longer than 1,000,000 bytes, the limit of its source")


async def test_a_document_without_a_length_is_counted_and_cut(world: PublisherWorld) -> None:
    world.server.script(PATH, scripted.endless(ZIP))
    problem = await get_refusal(await world.publisher())
    assert str(problem).startswith(f"{URL} is longer than 1,000,000 bytes, the limit of its source")


async def test_a_page_in_another_charset_is_read_by_it_and_a_lying_one_does_no_harm(world: PublisherWorld) -> None:
    publisher = await world.publisher()
    for charset, content in (
        ("iso-8859-1", b"Zur\xfcck"),
        ("utf-8", b"Zur\xfcck"),
        ("unicode_escape", b"Zur\xfcck"),
        ("nonsense", "Zurück".encode()),
        ("utf-16", "Zurück".encode("utf-16")),
    ):
        world.server.script("/", reply(200, content, Content_Type=f"text/html; charset={charset}"))
        assert await publisher.page(HOME + "/") == "Zurück"


# ---- what the library below us should never let through


def make_stream(*pieces: bytes, length: int | None, takes: float = 0.0) -> tuple[BodyStream, ManualClock]:
    """A body of these pieces, each of which takes so many seconds by a clock moved by hand."""
    clock, coming = ManualClock(), iter(pieces)

    async def read() -> bytes:
        clock.seconds += takes
        return next(coming, b"")

    return BodyStream(URL, read, length, ends_at=clock.now() + 60.0), clock


@pytest.mark.parametrize(("pieces", "length"), [((b"ab", b"c"), 4), ((b"ab", b"c"), 2), ((), 1)])
async def test_another_length_than_announced_is_a_body_that_broke_off(pieces: tuple[bytes, ...], length: int) -> None:
    body, clock = make_stream(*pieces, length=length)
    with pytest.raises(PublisherError) as caught:
        [_ async for _ in read_body(body, sources.PublisherSettings(), clock.to_clock())]
    assert str(caught.value) == f"{URL} broke off after {len(b''.join(pieces))} bytes of {length}"


async def test_the_total_limit_holds_without_any_wait() -> None:
    body, clock = make_stream(*[bytes(1_000_000)] * 100, length=None, takes=1.0)
    with pytest.raises(PublisherError) as caught:
        [_ async for _ in read_body(body, sources.PublisherSettings(total_seconds=60.0), clock.to_clock())]
    assert str(caught.value) == f"{URL} was not complete after 60 s: 60,000,000 bytes had arrived"


# ---- into the documents


@pytest.mark.parametrize("answer", [scripted.cut_short(ZIP, of=5000), reply(200, b"<html>"), scripted.endless(ZIP)])
async def test_nothing_of_a_bad_body_reaches_the_bucket(
    world: PublisherWorld, tmp_path: Path, answer: scripted.Answer
) -> None:
    world.server.script(PATH, answer, document(ZIP * 50_000))
    publisher = await world.publisher()
    async with FolderDocuments(tmp_path) as documents:
        with pytest.raises(PublisherError):
            await fetched_into(documents, publisher)
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
        stored = await fetched_into(documents, publisher)
        async with documents.file(stored.digest) as path:
            assert path.read_bytes() == ZIP * 50_000


async def fetched_into(documents: FolderDocuments, publisher: HttpPublisher) -> StoredFile:
    async with publisher.fetch(URL) as fetched:
        assert fetched is not None
        return await documents.put(fetched.chunks)
