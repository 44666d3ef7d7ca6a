"""A look that finds too little has failed: an index without links is not the news that there is nothing new."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from spotlightd import Batch, Link, Pages, SettingsError
from spotlightd.errors import PublisherError
from spotlightd.flows.batch.ingest import LINKS_AT_ONCE, IngestRange, ingest
from spotlightd.flows.batch.schedule import Collector, Wakeups
from spotlightd.flows.supervise import Board
from spotlightd.ports.ledger import Job
from spotlightd.sources import sec_ftd
from spotlightd.testing import Reply
from tests.flows.world import INDEX, World, source

A = "2021-01-04,1\n"
EXCUSE = (
    b"<!doctype html><html><head><title>Automated access is limited</title></head>"
    b"<body><h1>Your request looks automated</h1></body></html>"
)


async def discover_in_json(pages: Pages) -> AsyncIterator[Link]:
    """The list of an API: `[]`, which it never is."""
    for covers in (await pages.page(INDEX)).strip("[]").split(","):
        if covers:
            yield Link(f"https://example.org/{covers}", covers, date(2021, 1, 1), date(2021, 1, 1))


LOOKS = {
    "an index without links": (source(), b"\n"),
    "a list of an API that is empty": (replace(source(), discover=discover_in_json), b"[]"),
    "fewer links than there always were": (replace(source(), least_links=2), b"2021/a\n"),
    "a page of excuses instead of the SEC's index": (sec_ftd.source, EXCUSE),
}


@pytest.mark.parametrize("name", list(LOOKS))
async def test_a_look_that_finds_too_few_documents_is_recorded_as_a_wrong_body(world: World, name: str) -> None:
    batch, page = LOOKS[name]
    world.publishers.replies[batch.home] = Reply(page, "text/html")
    with pytest.raises(PublisherError, match=r"was answered, but it lists [01] documents? of ") as failed:
        await world.ingest(batch)
    assert failed.value.outcome == "wrong body"
    assert await world.runs() == [("wrong body", "", str(failed.value))]


async def test_a_good_look_is_recorded_so_that_the_failure_is_no_longer_the_last_word(world: World) -> None:
    world.publishers.replies[INDEX] = Reply(b"\n")
    with pytest.raises(PublisherError):
        await world.ingest()
    world.serve({"2021/a": A})
    await world.ingest()
    await world.ingest(again=False)
    outcomes = [outcome for outcome, _, _ in await world.runs()]
    assert outcomes == ["wrong body", "discovered", "published", "discovered"]


def test_none_is_never_a_whole_answer() -> None:
    with pytest.raises(SettingsError, match="least_links must be at least 1"):
        replace(source(), least_links=0)


class CountedLooks:
    """Metrics that count looks."""

    def __init__(self) -> None:
        self.looks: list[str] = []
        self.late_since: asyncio.Queue[float] = asyncio.Queue()

    def count(self, name: str, _value: float = 1, /, **labels: str) -> None:
        if name == "looks_total":
            self.looks.append(labels["outcome"])

    def gauge(self, name: str, value: float, /, **_: str) -> None:
        if name == "source_late_since_timestamp_seconds":
            self.late_since.put_nowait(value)

    def observe(self, *_: Any, **__: Any) -> None: ...


async def test_looks_are_counted_by_outcome(world: World) -> None:
    metrics, batch = CountedLooks(), source()
    async with world.stores() as stores:
        context = replace(stores, metrics=metrics)
        for page in (b"\n", b"2021/a\n"):
            world.publishers.replies[INDEX] = Reply(page)
            try:
                await ingest(batch, world.publishers.for_source(batch), context)
            except PublisherError:
                assert metrics.looks == ["wrong body"]
    assert metrics.looks == ["wrong body", "discovered"]


async def test_a_backfill_that_the_daemon_does_fails_with_the_look(world: World) -> None:
    """It used to stay open, and the command that watches it waited without end."""
    world.publishers.replies[INDEX] = Reply(b"\n")
    batch: Batch = source()
    async with world.stores() as stores:
        job = await stores.ledger.add_job(Job("backfill", batch.name))
        collector = Collector(batch, world.publishers, stores, Wakeups())
        with pytest.raises(PublisherError):
            async with asyncio.timeout(30):  # without an error the collector waits for its next work
                await collector(Board().reporter("collect"))
        ended = await stores.ledger.job(job.number)
    assert ended.state == "failed"
    assert "it lists 0 documents of constructed" in ended.detail


@pytest.mark.parametrize(("judged_on", "late_since"), [(date(2021, 6, 1), 0.0), (date(2022, 1, 1), 1_640_995_200.0)])
async def test_a_metric_says_since_when_the_newest_slice_is_missing(
    world: World, judged_on: date, late_since: float
) -> None:
    """The slice of 2021 is published; that of 2022 is due from the first day on (00:00 UTC)."""
    metrics, batch, wakeups = CountedLooks(), source(), Wakeups()
    world.serve({"2021": A})
    async with world.stores() as stores:
        collector = Collector(batch, world.publishers, replace(stores, metrics=metrics), wakeups, judged_on=judged_on)
        wakeups.of(batch.name).set()
        running = asyncio.create_task(collector(Board().reporter("collect")))
        try:
            async with asyncio.timeout(30):
                assert await metrics.late_since.get() == late_since
        finally:
            running.cancel()
            await asyncio.wait([running])


async def test_a_list_of_thousands_lets_other_tasks_run(world: World) -> None:
    turns, noticed = 0, set[int]()

    async def discover_many(_: Pages) -> AsyncIterator[Link]:
        for number in range(5_000):
            noticed.add(turns)
            yield Link(f"https://example.org/{number}", f"2021/{number}", date(2021, 1, 1), date(2021, 1, 1))

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    batch, later = replace(source(), discover=discover_many), IngestRange(date(2022, 1, 1))
    counting = asyncio.create_task(count_turns())
    async with world.stores() as stores:
        assert await ingest(batch, world.publishers.for_source(batch), stores, span=later) == []
    counting.cancel()
    assert len(noticed) >= 5_000 // LINKS_AT_ONCE
