"""Kinds of pages take turns: heavy ones, downloads and lines of documents have a bounded part."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp
import pytest

from spotlightd.ports.parser import Excerpt, ExcerptLine
from spotlightd.ports.warehouse import Answer
from spotlightd.query import filters
from spotlightd.query.errors import HttpProblem
from spotlightd.query.reader import take_turns
from spotlightd.settings.serving import WebSettings
from spotlightd.turns import HEAVY, WHOLE, TooManyWaitingError, Turns, share_places
from spotlightd.web.pages import document
from spotlightd.web.parts import lines
from tests.polling import until
from tests.web.world import FAILS, World

pytestmark = pytest.mark.asyncio(loop_scope="session")
PATIENT = WebSettings(query_seconds=60.0, wait_seconds=60.0)
NEEDLE = "constructed needle"
HEAVY_PAGE = f"/data/sec_ftd.json?_size=1&description__contains={NEEDLE.replace(' ', '+')}"
ROW_PAGE = "/data/sec_ftd/2021-01-15,36467W109,GME"
ORDINARY_PAGES = ("/", "/status", "/s/GME", "/data/sec_ftd", "/data/sec_ftd?symbol=GME", "/data/sec_ftd.json?_size=5")


# -- turns -------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def takers(turns: Turns, *kinds: str) -> AsyncIterator[list[str]]:
    """One task for each kind, in this order; the kinds that have got a place so far. They keep it until the end."""
    served, end = list[str](), asyncio.Event()

    async def take(kind: str) -> None:
        async with turns.of(kind):
            served.append(kind)
            await end.wait()

    tasks = [asyncio.create_task(take(kind)) for kind in kinds]
    try:
        for _ in range(3):
            await asyncio.sleep(0)
        yield served
    finally:
        end.set()
        await asyncio.gather(*tasks)


async def test_heavy_pages_get_half_of_the_places_and_whole_reads_a_quarter() -> None:
    async with takers(share_places(8, 100), *[HEAVY] * 20, *[WHOLE] * 20, "/") as served:
        assert Counter(served) == {HEAVY: 4, WHOLE: 2, "/": 1}


async def test_one_kind_alone_gets_all_places() -> None:
    async with takers(share_places(8, 100), *["/s/{symbol}"] * 20) as served:
        assert len(served) == 8


async def test_heavy_pages_may_take_half_of_the_connections_and_no_more() -> None:
    turns = share_places(2, connections=4)
    async with turns.of(HEAVY, "running"):
        waiting = [asyncio.create_task(turns.take(HEAVY, page)) for page in ("a", "a", "b")]
        await asyncio.sleep(0)
        with pytest.raises(TooManyWaitingError):
            await turns.take(HEAVY, "c")
        waiting.append(asyncio.create_task(turns.take(HEAVY, "b")))  # a page that waits may wait for more
        await asyncio.sleep(0)
        assert turns.count_waiting(HEAVY) == 4
        async with turns.of("/"):
            pass
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)


async def test_kinds_take_turns() -> None:
    turns = Turns(1)
    order: list[str] = []

    async def take(kind: str) -> None:
        async with turns.of(kind):
            order.append(kind)

    async with turns.of("first"):
        tasks = [asyncio.create_task(take(kind)) for kind in ["a"] * 3 + ["b"] * 2 + ["c"]]
        await asyncio.sleep(0)
        assert turns.count_waiting("a") == 3
    await asyncio.gather(*tasks)
    assert order == ["a", "b", "c", "a", "b", "a"]


async def test_who_leaves_the_queue_holds_no_place() -> None:
    turns = Turns(1)
    async with turns.of("a"):
        waiting = [asyncio.create_task(turns.take("a")) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.sleep(0)
        assert turns.count_waiting("a") == 2
    for task in waiting[1:]:  # the first of them has got the place in this moment
        task.cancel()
    await asyncio.wait(waiting)
    async with asyncio.timeout(5), turns.of("b"):
        assert turns.count_waiting("a") == 0


async def test_a_wait_for_a_turn_ends_with_a_reason() -> None:
    turns = Turns(1)
    async with turns.of("a"), AsyncExitStack() as held:
        with pytest.raises(HttpProblem) as refused:
            await take_turns(held, 0.01, turns.of("b"))
        assert (refused.value.status, refused.value.retry_after_seconds) == (503, 5)
    assert turns.count_waiting("b") == 0


@pytest.mark.parametrize(
    ("query", "is_heavy"),
    [
        ("", False),
        ("symbol=GME", False),
        ("symbol__in=GME,AMC&_sort=quantity", False),
        ("_sort=symbol", False),
        ("_size=1000", False),
        ("description__contains=7", True),
        ("symbol__contains=G", True),
        ("_sort=quantity", True),
        ("_sort_desc=description", True),
        ("_facet=symbol", True),
        ("symbol=GME&_facet=cusip", True),
    ],
)
async def test_a_page_that_may_read_the_whole_dataset_is_heavy(query: str, is_heavy: bool) -> None:
    pairs = [(name, value) for name, _, value in (part.partition("=") for part in query.split("&") if part)]
    assert filters.parse_question(FAILS, pairs).is_heavy is is_heavy


# -- pages -------------------------------------------------------------------------------------------------------------


@dataclass
class HeldBack:
    """The world's warehouse, in which queries with the needle wait for `gate`."""

    warehouse: Any
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    running: int = 0
    most: int = 0

    async def rows(self, sql: str, params: Any = None, **options: Any) -> Answer:
        if NEEDLE in map(str, (params or {}).values()) or NEEDLE in sql:
            self.running += 1
            self.most = max(self.most, self.running)
            await self.gate.wait()
            self.running -= 1
        answer: Answer = await self.warehouse.rows(sql, params, **options)
        return answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self.warehouse, name)


@asynccontextmanager
async def crowd(world: World, **changes: Any) -> AsyncIterator[World]:
    """The world with patient settings, and a client that opens as many connections as are asked for."""
    async with (
        world.served(settings=PATIENT, **changes) as served,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
    ):
        yield replace(served, session=session)


async def test_ordinary_pages_are_answered_while_150_heavy_ones_wait(world: World) -> None:
    warehouse = HeldBack(world.warehouse)
    async with crowd(world, warehouse=warehouse) as crowded:
        heavy = [asyncio.create_task(crowded.get(HEAVY_PAGE)) for _ in range(150)]
        await until(lambda: warehouse.running == PATIENT.at_once // 2, "heavy pages have all the places they may have")
        for path in ORDINARY_PAGES:
            assert (await crowded.get(path))[0] == 200, path
        assert not any(page.done() for page in heavy)
        warehouse.gate.set()
        assert Counter([status for status, _, _ in await asyncio.gather(*heavy)]) == {200: 150}
    assert warehouse.most == PATIENT.at_once // 2


async def test_ordinary_pages_are_answered_while_downloads_and_citations_begin(world: World) -> None:
    warehouse = HeldBack(world.warehouse)
    cite = f"/cite?address=/data/sec_ftd%3Fdescription__contains%3D{NEEDLE.replace(' ', '%2B')}"
    async with crowd(world, warehouse=warehouse) as crowded:
        whole = [asyncio.create_task(crowded.get(cite)) for _ in range(30)]
        await until(lambda: warehouse.running, "citations are being read")
        for path in ORDINARY_PAGES:
            assert (await crowded.get(path))[0] == 200, path
        warehouse.gate.set()
        assert {status for status, _, _ in await asyncio.gather(*whole)} == {200}
    assert warehouse.most <= PATIENT.at_once // 4


@dataclass
class SlowExcerpts:
    """Excerpts of so many lines around a line are read when `gate` is open, others at once."""

    around: int
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    running: int = 0
    most: int = 0

    async def __call__(self, _: str, __: int, line: int, around: int, *, with_picture: bool = False) -> Excerpt:
        assert not with_picture
        if around == self.around:
            self.running += 1
            self.most = max(self.most, self.running)
            await self.gate.wait()
            self.running -= 1
        return Excerpt("constructed.txt", (ExcerptLine(line, "a constructed line"),))


async def test_rows_with_their_lines_are_shown_while_60_lines_of_documents_wait(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "TIMEOUT_SECONDS", 120.0)
    excerpts = SlowExcerpts(document.LINES_AROUND)
    line = f"/source/{world.digests['again']}?line=3"
    async with crowd(world, excerpt=excerpts) as crowded:
        waiting = [asyncio.create_task(crowded.get(line)) for _ in range(60)]
        await until(lambda: excerpts.running, "a line is being read")
        for path in (*ORDINARY_PAGES, f"/source/{world.digests['again']}"):
            assert (await crowded.get(path))[0] == 200, path
        status, text, _ = await crowded.get(ROW_PAGE)
        assert (status, "a constructed line" in text) == (200, True)
        assert not any(page.done() for page in waiting)
        excerpts.gate.set()
        shown = [text for _, text, _ in await asyncio.gather(*waiting)]
        assert all("a constructed line" in text for text in shown)
    assert excerpts.most == 1
