"""Slow publishers, with the real clock and short limits: nothing here waits longer than a few tenths of a second."""

from __future__ import annotations

import asyncio

import pytest

from spotlightd.clients.http.publisher import HttpPublishers
from spotlightd.errors import PublisherError
from tests.clients import publisher_server as scripted
from tests.clients.publisher_server import ScriptedPublisher
from tests.clients.publisher_world import HOME, ZIP, batch, limits

URL = HOME + "/fails.zip"


async def get_refusal(server: ScriptedPublisher, **changes: float) -> PublisherError:
    async with HttpPublishers(limits(server, **changes)) as publishers:
        with pytest.raises(PublisherError) as caught:
            await fetch_all(publishers)
    return caught.value


async def fetch_all(publishers: HttpPublishers) -> None:
    async with publishers.for_source(batch()).fetch(URL) as fetched:
        assert fetched is not None
        async for _ in fetched.chunks:
            pass


async def test_a_trickle_is_a_failure_though_it_never_falls_silent() -> None:
    async with ScriptedPublisher() as server:
        server.script("/fails.zip", scripted.trickle(ZIP + bytes(900), every=0.01))
        problem = await get_refusal(server, stall_seconds=0.3)
    assert problem.outcome == "failed"
    assert str(problem).startswith(f"{URL} came too slowly: ")
    assert str(problem).endswith(", less than 1,000 a second")


async def test_the_total_limit_ends_a_document_that_is_fast_enough_but_endless() -> None:
    async with ScriptedPublisher() as server:
        server.script("/fails.zip", scripted.trickle(ZIP + bytes(900), every=0.01))
        problem = await get_refusal(server, total_seconds=0.2)
    assert str(problem).startswith(f"{URL} was not complete after 0.2 s: ")
    assert str(problem).endswith(f" bytes of {len(ZIP) + 900} had arrived")


async def test_a_slow_disk_of_our_own_is_not_held_against_the_publisher() -> None:
    content = ZIP + bytes(900_000)
    async with ScriptedPublisher() as server:
        server.script("/fails.zip", scripted.document(content))
        async with HttpPublishers(limits(server, stall_seconds=0.2)) as publishers:
            received = 0
            async with publishers.for_source(batch()).fetch(URL) as fetched:
                assert fetched is not None
                async for chunk in fetched.chunks:
                    received += len(chunk)
                    if received == len(chunk):
                        await asyncio.sleep(0.3)
    assert received == len(content)


async def test_leaving_while_a_publisher_stalls_takes_no_time_and_leaves_nothing_open() -> None:
    async with ScriptedPublisher() as server:
        server.script("/fails.zip", scripted.silence(ZIP, of=5000))
        async with HttpPublishers(limits(server)) as publishers:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(fetch_all(publishers), 0.1)
