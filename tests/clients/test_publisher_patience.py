"""Statuses, pauses and paces: the real client against publishers who are busy. All documents here are constructed."""

from __future__ import annotations

import asyncio
import gzip

import pytest
import structlog

from spotlightd import log
from spotlightd.errors import SettingsError
from tests.clients import publisher_server as scripted
from tests.clients.publisher_server import document, redirect, reply
from tests.clients.publisher_world import HOME, HOST, PATH, URL, ZIP, Desk, batch, refusal, whole


async def test_403_is_failed_not_absent_and_says_what_it_usually_means(desk: Desk) -> None:
    desk.server.says(PATH, reply(403, b"<html><title>Request Rate Threshold Exceeded</title>"))
    problem = await refusal(await desk.publisher())
    assert (problem.outcome, problem.status, len(desk.server.asked)) == ("failed", 403, 1)
    assert str(problem) == (
        f"{HOST} refuses {URL} (403 Forbidden, a page titled 'Request Rate Threshold Exceeded'): publishers answer so when "
        "they are asked too fast or by someone who names no contact (publisher.contact); asked again on the next tick"
    )


async def test_the_page_of_a_refusal_is_not_unpacked(desk: Desk) -> None:
    packed = gzip.compress(b"<title>Packed</title>" + bytes(50_000_000))
    desk.server.says(PATH, reply(403, packed, Content_Encoding="gzip"))
    problem = await refusal(await desk.publisher())
    assert str(problem).startswith(f"{HOST} refuses {URL} (403 Forbidden): publishers answer so")


async def test_a_403_whose_page_never_comes_is_still_a_403(desk: Desk) -> None:
    async def stuck(_: scripted.Request, writer: asyncio.StreamWriter) -> bool:
        writer.write(scripted.head(403, {"Content-Length": "10"}))
        await asyncio.Event().wait()
        return False

    desk.server.says(PATH, stuck)
    problem = await refusal(await desk.publisher(stall_seconds=0.1))
    assert str(problem).startswith(f"{HOST} refuses {URL} (403 Forbidden): publishers answer so")


@pytest.mark.parametrize("status", [404, 410])
async def test_gone_is_absent_and_asked_once(desk: Desk, status: int) -> None:
    desk.server.says(PATH, reply(status))
    problem = await refusal(await desk.publisher())
    assert (problem.outcome, problem.status, len(desk.server.asked)) == ("absent", status, 1)


@pytest.mark.parametrize("status", [204, 206, 400, 401, 418])
async def test_other_answers_fail_at_once(desk: Desk, status: int) -> None:
    desk.server.says(PATH, reply(status))
    problem = await refusal(await desk.publisher())
    assert (problem.outcome, problem.status, len(desk.server.asked)) == ("failed", status, 1)
    assert str(problem).startswith(f"{HOST} answered {status} ")


async def test_a_busy_publisher_is_asked_again_after_growing_jittered_pauses(desk: Desk) -> None:
    desk.server.says(PATH, reply(503), reply(500), reply(502), document(ZIP))
    desk.hand.chances = iter([0.0, 1.0, 0.5])
    assert await whole(await desk.publisher(attempts=4)) == ZIP
    assert desk.hand.slept == [1.0, 4.0, 6.0]


async def test_tries_end_and_the_error_counts_them(desk: Desk) -> None:
    desk.server.says(PATH, reply(503))
    problem = await refusal(await desk.publisher())
    assert len(desk.server.asked) == 3
    assert str(problem) == f"{HOST} answered 503 Service Unavailable to {URL}; tried 3 times"
    assert (problem.outcome, problem.status, problem.retry_after_seconds) == ("failed", 503, None)


async def test_pauses_are_bounded(desk: Desk) -> None:
    desk.server.says(PATH, reply(503))
    await refusal(await desk.publisher(attempts=12, backoff_most_seconds=30.0))
    assert max(desk.hand.slept) == 22.5
    assert len(desk.server.asked) == 12


async def test_every_new_try_is_said_in_the_log(desk: Desk) -> None:
    desk.server.says(PATH, reply(503), document(ZIP))
    with structlog.testing.capture_logs() as lines:
        await whole(await desk.publisher())
    assert [(line["event"], line["attempt"], line["seconds"]) for line in lines] == [("publisher asked again", 1, 1.5)]
    assert lines[0]["event"] in log.EVENTS


@pytest.mark.parametrize("asked", ["30", "Mon, 01 Mar 2021 00:00:30 GMT"])
@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_is_obeyed_to_the_second(desk: Desk, asked: str, status: int) -> None:
    desk.server.says(PATH, reply(status, Retry_After=asked), document(ZIP))
    assert await whole(await desk.publisher()) == ZIP
    first, second = desk.server.asked
    assert 30.0 <= second.at - first.at <= 31.0


async def test_a_pause_that_one_source_was_asked_for_holds_for_all_sources_of_the_host(desk: Desk) -> None:
    desk.server.says(PATH, reply(429, Retry_After="100"), document(ZIP))
    desk.server.says("/other.zip", document(ZIP))
    publisher = await desk.publisher()
    other = publisher.publishers.of(batch(name="other"))
    first = asyncio.create_task(whole(publisher))
    await desk.hand.moved.wait()
    await asyncio.gather(whole(other, HOME + "/other.zip"), first)
    assert all(request.at - desk.server.asked[0].at >= 100.0 for request in desk.server.asked[1:])


@pytest.mark.parametrize(("asked", "seconds"), [("121", 121.0), ("9" * 400, 86_400.0)])
async def test_a_longer_retry_after_than_we_wait_ends_the_tries_and_is_handed_on(
    desk: Desk, asked: str, seconds: float
) -> None:
    desk.server.says(PATH, reply(429, Retry_After=asked))
    publisher = await desk.publisher()
    problem = await refusal(publisher)
    assert (len(desk.server.asked), desk.hand.slept, problem.retry_after_seconds) == (1, [], seconds)
    assert str(problem) == f"{HOST} answered 429 Too Many Requests to {URL}; it asks for a pause of {seconds:,.0f} s"


async def test_a_host_that_asked_for_a_long_pause_is_not_asked_before_it_is_over(desk: Desk) -> None:
    desk.server.says(PATH, reply(429, Retry_After="3600"), document(ZIP))
    publisher = await desk.publisher()
    await refusal(publisher)
    desk.hand.seconds += 600.0
    problem = await refusal(publisher)
    assert str(problem) == f"{HOST} asked for a pause of which 3,000 s are left: not asked before that"
    assert (problem.retry_after_seconds, len(desk.server.asked)) == (3000.0, 1)
    desk.hand.seconds += 3001.0
    assert await whole(publisher) == ZIP


async def test_an_unreadable_retry_after_counts_as_none(desk: Desk) -> None:
    desk.server.says(PATH, reply(503, Retry_After="soon"), document(ZIP))
    assert await whole(await desk.publisher()) == ZIP
    assert desk.hand.slept == [1.5]


async def test_no_second_of_requests_holds_more_than_the_limit(desk: Desk) -> None:
    desk.server.says(PATH, document(ZIP))
    publisher = await desk.publisher({"requests_per_second": 4.0})
    slower = publisher.publishers.of(batch(name="slower", requests_per_second=3.0))
    faster = publisher.publishers.of(batch(name="faster", requests_per_second=50.0))
    for one in (publisher, slower, faster) * 10:
        await whole(one)
    assert most_in_a_second([request.at for request in desk.server.asked]) == 3


async def test_retries_and_redirects_wait_their_turn_like_other_requests(desk: Desk) -> None:
    desk.server.says(PATH, reply(503), redirect("/moved.zip"))
    desk.server.says("/moved.zip", document(ZIP))
    publisher = await desk.publisher({"requests_per_second": 2.0}, backoff_seconds=0.0)
    for _ in range(5):
        await whole(publisher)
    assert len(desk.server.asked) == 11
    assert most_in_a_second([request.at for request in desk.server.asked]) == 2


def most_in_a_second(times: list[float]) -> int:
    """Requests in the fullest second; a thousandth of a microsecond is left to rounding."""
    return max(sum(start <= at < start + 1 - 1e-9 for at in times) for start in times)


async def test_a_source_without_a_rate_is_a_settings_error(desk: Desk) -> None:
    with pytest.raises(SettingsError, match=r"^source constructed: requests_per_second must be above 0$"):
        await desk.publisher({"requests_per_second": 0.0})
