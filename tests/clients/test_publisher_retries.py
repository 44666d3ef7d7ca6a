"""Statuses, pauses and rate limits: the real client against busy publishers. All documents here are constructed."""

from __future__ import annotations

import asyncio
import gzip

import pytest
import structlog

from spotlightd import log
from spotlightd.errors import SettingsError
from tests.clients import publisher_server as scripted
from tests.clients.publisher_server import document, redirect, reply
from tests.clients.publisher_world import HOME, HOST, PATH, URL, ZIP, PublisherWorld, batch, fetch_all, get_refusal


async def test_403_is_failed_not_absent_and_explains_its_usual_cause(world: PublisherWorld) -> None:
    world.server.script(PATH, reply(403, b"<html><title>Request Rate Threshold Exceeded</title>"))
    problem = await get_refusal(await world.publisher())
    assert (problem.outcome, problem.status, len(world.server.requests)) == ("failed", 403, 1)
    assert str(problem) == (
        f"{HOST} refuses {URL} (403 Forbidden, a page titled 'Request Rate Threshold Exceeded'): publishers answer so when "
        "requests come too fast or name no contact (publisher.contact); requested again on the next tick"
    )


async def test_the_page_of_a_refusal_is_not_unpacked(world: PublisherWorld) -> None:
    packed = gzip.compress(b"<title>Packed</title>" + bytes(50_000_000))
    world.server.script(PATH, reply(403, packed, Content_Encoding="gzip"))
    problem = await get_refusal(await world.publisher())
    assert str(problem).startswith(f"{HOST} refuses {URL} (403 Forbidden): publishers answer so")


async def test_a_403_whose_page_never_comes_is_still_a_403(world: PublisherWorld) -> None:
    async def hang(_: scripted.Request, writer: asyncio.StreamWriter) -> bool:
        writer.write(scripted.head(403, {"Content-Length": "10"}))
        await asyncio.Event().wait()
        return False

    world.server.script(PATH, hang)
    problem = await get_refusal(await world.publisher(stall_seconds=0.1))
    assert str(problem).startswith(f"{HOST} refuses {URL} (403 Forbidden): publishers answer so")


@pytest.mark.parametrize("status", [404, 410])
async def test_gone_is_absent_and_requested_once(world: PublisherWorld, status: int) -> None:
    world.server.script(PATH, reply(status))
    problem = await get_refusal(await world.publisher())
    assert (problem.outcome, problem.status, len(world.server.requests)) == ("absent", status, 1)


@pytest.mark.parametrize("status", [204, 206, 400, 401, 418])
async def test_other_answers_fail_at_once(world: PublisherWorld, status: int) -> None:
    world.server.script(PATH, reply(status))
    problem = await get_refusal(await world.publisher())
    assert (problem.outcome, problem.status, len(world.server.requests)) == ("failed", status, 1)
    assert str(problem).startswith(f"{HOST} answered {status} ")


async def test_requests_to_a_busy_publisher_are_retried_after_growing_jittered_pauses(world: PublisherWorld) -> None:
    world.server.script(PATH, reply(503), reply(500), reply(502), document(ZIP))
    world.clock.chances = iter([0.0, 1.0, 0.5])
    assert await fetch_all(await world.publisher(attempts=4)) == ZIP
    assert world.clock.pauses == [2.0, 2.0, 6.0]


async def test_tries_end_and_the_error_counts_them(world: PublisherWorld) -> None:
    world.server.script(PATH, reply(503))
    problem = await get_refusal(await world.publisher())
    assert len(world.server.requests) == 3
    assert str(problem) == f"{HOST} answered 503 Service Unavailable to {URL}; tried 3 times"
    assert (problem.outcome, problem.status, problem.retry_after_seconds) == ("failed", 503, None)


async def test_pauses_are_bounded(world: PublisherWorld) -> None:
    world.server.script(PATH, reply(503))
    await get_refusal(await world.publisher(attempts=12, backoff_most_seconds=30.0))
    assert max(world.clock.pauses) == 22.5
    assert len(world.server.requests) == 12


async def test_every_retry_is_logged(world: PublisherWorld) -> None:
    world.server.script(PATH, reply(503), document(ZIP))
    with structlog.testing.capture_logs() as lines:
        await fetch_all(await world.publisher())
    assert [(line["event"], line["attempt"], line["seconds"]) for line in lines] == [("request retried", 1, 1.5)]
    assert lines[0]["event"] in log.EVENTS


@pytest.mark.parametrize("retry_after", ["30", "Mon, 01 Mar 2021 00:00:30 GMT"])
@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_is_respected_to_the_second(world: PublisherWorld, retry_after: str, status: int) -> None:
    world.server.script(PATH, reply(status, Retry_After=retry_after), document(ZIP))
    assert await fetch_all(await world.publisher()) == ZIP
    first, second = world.server.requests
    assert 30.0 <= second.at - first.at <= 31.0


async def test_a_requested_pause_holds_for_all_sources_of_the_host(world: PublisherWorld) -> None:
    world.server.script(PATH, reply(429, Retry_After="100"), document(ZIP))
    world.server.script("/other.zip", document(ZIP))
    publisher = await world.publisher()
    other = publisher.publishers.for_source(batch(name="other"))
    first = asyncio.create_task(fetch_all(publisher))
    await world.clock.has_slept.wait()
    await asyncio.gather(fetch_all(other, HOME + "/other.zip"), first)
    assert all(request.at - world.server.requests[0].at >= 100.0 for request in world.server.requests[1:])


@pytest.mark.parametrize(("retry_after", "seconds"), [("121", 121.0), ("9" * 400, 86_400.0)])
async def test_a_retry_after_above_the_limit_ends_the_tries_and_is_passed_on(
    world: PublisherWorld, retry_after: str, seconds: float
) -> None:
    world.server.script(PATH, reply(429, Retry_After=retry_after))
    publisher = await world.publisher()
    problem = await get_refusal(publisher)
    assert (len(world.server.requests), world.clock.pauses, problem.retry_after_seconds) == (1, [], seconds)
    assert str(problem) == f"{HOST} answered 429 Too Many Requests to {URL}; it requests a pause of {seconds:,.0f} s"


async def test_a_host_that_requested_a_long_pause_gets_no_request_before_its_end(world: PublisherWorld) -> None:
    world.server.script(PATH, reply(429, Retry_After="3600"), document(ZIP))
    publisher = await world.publisher()
    await get_refusal(publisher)
    world.clock.seconds += 600.0
    problem = await get_refusal(publisher)
    assert str(problem) == f"{HOST} requested a pause, of which 3,000 s are left: not requested before that"
    assert (problem.retry_after_seconds, len(world.server.requests)) == (3000.0, 1)
    world.clock.seconds += 3001.0
    assert await fetch_all(publisher) == ZIP


async def test_an_unreadable_retry_after_counts_as_none(world: PublisherWorld) -> None:
    world.server.script(PATH, reply(503, Retry_After="soon"), document(ZIP))
    assert await fetch_all(await world.publisher()) == ZIP
    assert world.clock.pauses == [1.5]


async def test_no_second_of_requests_holds_more_than_the_limit(world: PublisherWorld) -> None:
    world.server.script(PATH, document(ZIP))
    publisher = await world.publisher({"requests_per_second": 4.0})
    slower = publisher.publishers.for_source(batch(name="slower", requests_per_second=3.0))
    faster = publisher.publishers.for_source(batch(name="faster", requests_per_second=50.0))
    for client in (publisher, slower, faster) * 10:
        await fetch_all(client)
    assert most_in_a_second([request.at for request in world.server.requests]) == 3


async def test_retries_and_redirects_wait_their_turn_like_other_requests(world: PublisherWorld) -> None:
    world.server.script(PATH, reply(503), redirect("/moved.zip"))
    world.server.script("/moved.zip", document(ZIP))
    publisher = await world.publisher({"requests_per_second": 2.0}, backoff_seconds=0.0)
    for _ in range(5):
        await fetch_all(publisher)
    assert len(world.server.requests) == 11
    assert most_in_a_second([request.at for request in world.server.requests]) == 2


def most_in_a_second(times: list[float]) -> int:
    """Requests in the fullest second; a thousandth of a microsecond is left to rounding."""
    return max(sum(start <= at < start + 1 - 1e-9 for at in times) for start in times)


async def test_a_source_without_a_rate_is_a_settings_error(world: PublisherWorld) -> None:
    with pytest.raises(SettingsError, match=r"^source constructed: requests_per_second must be above 0$"):
        await world.publisher({"requests_per_second": 0.0})
