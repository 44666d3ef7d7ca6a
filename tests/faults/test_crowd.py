"""Many readers at once, and few resources: loading goes on, the loop stays alive, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from spotlightd.demo.exchange import Script, run_exchange
from tests.clients.publisher_server import document
from tests.daemon import process
from tests.daemon.place import Place
from tests.daemon.process import Daemon
from tests.daemon.publisher import endpoint, half_month, warehouse
from tests.daemon.test_kills import queue_backfill
from tests.polling import until
from tests.server.half_requests import open_half_requests
from tests.streams.place import Place as StreamPlace

HEAVY = (
    "/data/sec_ftd?description__contains=7&_sort=quantity&_facet=symbol,cusip",
    "/data/sec_ftd?quantity__gt=1000&_sort_desc=description&_size=1000",
    "/search?q=CONSTRUCTED+1",
    "/s/S7",
    "/data/sec_ftd.json?_facet=symbol,settlement_date&_sort_desc=quantity",
)
PAGES = ("/", "/status", "/live", "/data/trades", "/healthz", "/readyz")
ANSWER_SECONDS = 60.0
ALIVE_SECONDS = 5.0


@pytest.mark.slow
async def test_twenty_heavy_pages_at_once_hold_up_neither_a_load_nor_the_loop(place: Place) -> None:
    place.show(*(half_month(number, 150_000) for number in range(3)))
    async with place.ready(web={"query_seconds": 20.0}) as daemon:
        await place.wait_until_visible()
        place.show(*(half_month(number, 50_000) for number in range(3, 6)))
        await queue_backfill(place)
        await daemon.wait_for("load published", times=4)
        crowd = [asyncio.create_task(daemon.get(HEAVY[at % len(HEAVY)], seconds=ANSWER_SECONDS)) for at in range(20)]
        beating = asyncio.create_task(_heart(daemon))
        counted = Counter([(await page).status for page in crowd])
        await place.wait_until_visible(seconds=60)
        assert set(counted) <= {200, 503}, counted
        assert counted[200] >= len(HEAVY)
        beating.cancel()
        slowest = max(await _latencies(beating), default=0.0)
        assert slowest < ALIVE_SECONDS
        assert await daemon.stop() == 0


async def _heart(daemon: Daemon) -> list[float]:
    """Ask whether it lives, one question after the other, until cancelled; how long each answer took."""
    seconds: list[float] = []
    try:
        while True:
            answer = await daemon.get("/healthz", seconds=ALIVE_SECONDS)
            assert answer.status == 200
            seconds.append(answer.seconds)
    except asyncio.CancelledError:
        return seconds


async def _latencies(task: asyncio.Task[list[float]]) -> list[float]:
    return await task


@pytest.mark.slow
async def test_pages_report_an_engine_that_does_not_answer(place: Place) -> None:
    """It is stopped, not dead: nothing tells that it will not answer but the time that passes."""
    place.show(half_month(0))
    async with place.ready(web={"query_seconds": 1.0}, warehouse={"query_seconds": 5.0}) as daemon:
        await place.wait_until_visible()
        engine = psutil.Process(daemon.engine_pid())
        engine.send_signal(signal.SIGSTOP)
        try:
            paths = (
                "/",
                "/data/sec_ftd",
                "/data/sec_ftd.json",
                "/s/S7",
                "/readyz",
                "/status",
                "/status.json",
                "/healthz",
            )
            requests = {path: asyncio.create_task(daemon.get(path, seconds=ANSWER_SECONDS)) for path in paths}
            answers = {path: await answer for path, answer in requests.items()}
        finally:
            with suppress(psutil.NoSuchProcess):  # an engine that does not answer is ended after 17 s
                engine.send_signal(signal.SIGCONT)
        assert {path for path, answer in answers.items() if answer.status == 200} == {
            "/status",
            "/status.json",
            "/healthz",
        }
        assert {path for path, answer in answers.items() if answer.status == 503} == set(paths[:5])
        assert "the warehouse cannot answer" in answers["/status.json"].json()["state"]["problems"][-1]
        assert "The warehouse cannot answer" in answers["/data/sec_ftd"].text
        assert "warehouse: " in answers["/readyz"].text
        await until(daemon.is_ready, "/readyz answers 200 again")
        assert (await daemon.get("/data/sec_ftd")).status == 200
        assert await daemon.stop() == 0


@pytest.mark.slow
async def test_it_works_with_256_files(place: Place) -> None:
    place.show(half_month(0), half_month(1))
    place.server.script(half_month(1).path, document(half_month(1).content))
    async with place.start(prefix=("prlimit", "--nofile=256")) as daemon:
        await daemon.ready()
        await place.wait_until_visible()
        pages = [asyncio.create_task(daemon.get("/data/sec_ftd")) for _ in range(100)]
        assert {(await page).status for page in pages} <= {200, 503}
        async with warehouse(place.state) as reader:
            await reader.ping()
        assert await daemon.is_ready()
        assert await daemon.stop() == 0


@pytest.mark.slow
async def test_1500_half_requests_stop_neither_pages_nor_the_live_stream(tmp_path: Path) -> None:
    """Before there were bounds, no page opened for 59 s with 1,024 descriptors, and 98 s of the feed were lost."""
    async with run_exchange(Script(rate=200.0, ping_seconds=0.5)) as venue:
        place = StreamPlace(tmp_path, venue)
        async with process.start(place.settings(), prefix=("prlimit", "--nofile=1024")) as daemon:
            await daemon.ready()
            await place.wait_for_flow()
            with ExitStack() as held:
                for address in (daemon.web, endpoint(place.state).url):
                    await open_half_requests(held, urlsplit(address).port or 0, 1_500)
                for path in PAGES:
                    assert (await daemon.get(path, seconds=ANSWER_SECONDS)).status == 200, path
                await place.wait_for_flow()
            assert (await place.settle()).is_good
            assert place.gap_causes() == []
            complaints = Counter(line["event"] for line in daemon.events if line["level"] in {"warning", "error"})
            assert complaints["connections dropped"] >= 1
            assert complaints["library warned"] == 0
            assert await daemon.stop() == 0
