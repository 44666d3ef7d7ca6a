"""Threshold lists: which days are known, how long each security was listed, and what the pages say of both."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
import pytest_asyncio

from spotlightd.datasets.threshold.lists import MARKETS, OCC
from spotlightd.model.source import Batch
from spotlightd.runtime.catalog import load_catalog
from tests.web.threshold_world import NASDAQ, open_lists
from tests.web.world import STARTED, World

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def lists(world: World, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with open_lists(world, tmp_path_factory.mktemp("lists")) as opened:
        yield opened


async def rows(lists: World, path: str) -> list[dict[str, Any]]:
    status, text, _ = await lists.get(path)
    assert status == 200, text
    found: list[dict[str, Any]] = json.loads(text)["rows"]
    return found


async def read(lists: World, path: str) -> str:
    """The page as text without tags."""
    status, text, _ = await lists.get(path)
    assert status == 200, text
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", text)).split())


def brief(streak: dict[str, Any]) -> tuple[Any, ...]:
    return (
        streak["state"], streak["first_day"][8:], streak["last_day"][8:], streak["days"], (streak["entered_after"] or "")[8:],
        (streak["left_on"] or "")[8:], streak["unknown_before"], streak["unknown_within"], streak["unknown_after"],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("symbol", "streaks"),
    [
        # on the lists around the missing 9th, so on that one too; off on the 13th; back after five unknown days
        ("AAA", [("closed", "06", "10", 4, "", "13", 0, 1, 0), ("closed", "21", "21", 1, "13", "22", 5, 0, 0)]),
        ("BBB", [("closed", "06", "07", 2, "", "08", 0, 0, 0)]),
        # five lists are missing before the 21st: it may have left and come back, so these are two streaks
        ("CCC", [("unknown", "07", "13", 4, "06", "21", 0, 1, 5), ("closed", "21", "21", 1, "13", "22", 5, 0, 0)]),
        ("DDD", [("closed", "08", "08", 1, "07", "10", 0, 0, 1)]),
        ("GME", [("open", "21", "22", 2, "", "", 0, 0, 0)]),
        ("AIM", [("closed", "21", "21", 1, "", "22", 0, 0, 0)]),
    ],
)
async def test_a_streak_says_what_is_known_of_it(lists: World, symbol: str, streaks: list[tuple[Any, ...]]) -> None:
    found = await rows(lists, f"/data/threshold_streaks.json?symbol={symbol}&_sort=first_day&_size=10")
    assert [brief(streak) for streak in found] == streaks


async def test_the_streaks_of_an_earlier_time_are_those_of_the_lists_that_were_there(lists: World) -> None:
    before = (STARTED + timedelta(minutes=len(NASDAQ))).isoformat().replace("+00:00", "Z")
    assert await rows(lists, f"/data/threshold_streaks.json?symbol=DDD&_size=10&as_of={before}") == []
    assert await rows(lists, f"/data/threshold_streaks.json?symbol=GME&_size=10&as_of={before}") == []
    assert len(await rows(lists, f"/data/threshold_streaks.json?symbol=CCC&_size=10&as_of={before}")) == 2


async def test_every_day_that_was_asked_for_has_its_status(lists: World) -> None:
    found = await rows(lists, "/data/threshold_days.json?_size=100")
    statuses = {(row["market"], int(row["list_date"][8:])): row["status"] for row in found}
    assert {day: statuses["Nasdaq", day] for day in (8, 9, 21, 22, 23)} == {
        8: "list", 9: "absent", 21: "list", 22: "empty", 23: "failed",
    }  # fmt: skip
    assert ("Nasdaq", 14) not in statuses, "nobody has asked for it"
    assert {market: statuses[market, 22] for market in MARKETS["threshold_nyse"]} == {
        "NYSE": "list", "NYSE American": "empty", "NYSE Arca": "empty",
    }  # fmt: skip
    assert {statuses[market, 23] for market in MARKETS["threshold_nyse"]} == {"empty_or_absent"}
    assert statuses[OCC, 21] == "list"
    refused = next(row for row in found if row["status"] == "failed")
    assert (refused["error"], refused["document"], refused["run"]) == ("the list is cut off", "d" * 64, 2)
    listed = next(row for row in found if (row["market"], row["list_date"]) == ("Nasdaq", "2026-07-21"))
    assert (listed["securities"], len(listed["document"]), listed["run"]) == (2, 64, 0)


async def test_the_occ_checks_each_list_and_is_never_counted(lists: World) -> None:
    found = {row["market"]: row for row in await rows(lists, "/data/threshold_agreement.json?_size=10")}
    assert (found["Nasdaq"]["both"], found["Nasdaq"]["only_market"], found["Nasdaq"]["only_occ"]) == (2, [], ["XXX"])
    assert (found["NYSE"]["both"], found["NYSE"]["only_market"], found["NYSE"]["only_occ"]) == (1, [], [])
    assert (found["NYSE American"]["both"], found["NYSE American"]["only_market"]) == (0, ["AIM"])
    assert await rows(lists, "/data/threshold.json?symbol=XXX&_size=5") == []
    assert await rows(lists, "/data/threshold_streaks.json?symbol=XXX&_size=5") == []


async def test_a_day_without_a_known_list_says_so_for_each_market(lists: World) -> None:
    assert "Threshold lists of Wednesday, 22 July 2026" in await read(lists, "/threshold"), (
        "the newest list that is known"
    )
    page = await read(lists, "/threshold/2026-07-23")
    assert "NYSE empty, or no list" in page
    assert "Of 4 markets no list is known, so nobody knows what is on it" in page
    assert "Nasdaq not fetched, or not readable" in page
    assert "Not asked for yet: Cboe BZX, FINRA OTC." in page
    assert "Threshold list of the Chicago Stock Exchange: The exchange ended its list" in page


async def test_the_page_of_a_day_tells_not_listed_from_no_list(lists: World) -> None:
    status, text, _ = await lists.get("/threshold/2026-07-21")
    assert status == 200, text
    page = await read(lists, "/threshold/2026-07-21")
    assert "4 securities are on a list of that day" in page
    assert "AAA AAA INC day 1 new" in page
    assert "Nasdaq: AAA within 6 days" in page, "who entered, and when at the earliest"
    assert "GME GME CORP · day 1+" in page, "no earlier list of NYSE is here"
    assert "Nasdaq: 2 on both; only the OCC has XXX differs" in page
    assert "NYSE: 1 on both the same" in page
    assert text.count('title="not listed"') == 12, "each security is on one of four lists"
    earlier = await read(lists, "/threshold/2026-07-10")
    assert "AAA AAA INC day 4+?" in earlier
    assert "CCC CCC INC day 3?" in earlier
    assert "Nasdaq: DDD after 1 day" in earlier
    gone = await read(lists, "/threshold/2026-07-13")
    assert "Nasdaq: AAA after 4 days" in gone


@pytest.mark.parametrize(
    ("path", "detail"),
    [
        ("/threshold/2026-07-12", "Trades do not settle on 2026-07-12"),
        ("/threshold/2026-06-30", "There are lists from 2026-07-06 to 2026-07-23."),
        ("/threshold/2026-13-01", "is not a date like 2026-07-27"),
    ],
)
async def test_a_day_without_lists_is_not_found_and_says_why(lists: World, path: str, detail: str) -> None:
    status, text, _ = await lists.get(path)
    assert status == 404
    assert detail in " ".join(unescape(re.sub(r"<[^>]+>", " ", text)).split())


async def test_the_longest_streaks_by_state_and_market(lists: World) -> None:
    page = await read(lists, "/threshold/streaks")
    assert "GME GME CORP NYSE 2 2026-07-21 or before 2026-07-22 0" in page
    assert "AAA" not in page
    page = await read(lists, "/threshold/streaks?state=closed&market=Nasdaq")
    assert "AAA AAA INC Nasdaq 4 2026-07-06 or before 2026-07-10 2026-07-13 1" in page
    assert "AIM" not in page
    assert "CCC CCC INC Nasdaq 4" in await read(lists, "/threshold/streaks?state=unknown")
    assert (await lists.get("/threshold/streaks?state=asleep"))[0] == 400


async def test_a_symbol_shows_its_day_on_the_list(lists: World) -> None:
    page = await read(lists, "/s/GME")
    assert "Day 2 on the list of NYSE, still open (since 2026-07-21 or before; newest list 2026-07-22)." in page
    page = await read(lists, "/s/CCC")
    assert "On no list now, as far as lists are known. 2 streaks of 5 days in all" in page
    assert (await lists.get("/s/XXX"))[0] == 404


async def test_a_computed_row_leads_to_the_rows_that_it_comes_from(lists: World) -> None:
    for path, target in (
        ("/data/threshold_streaks/Nasdaq,AAA,2026-07-06", "/data/threshold?market=Nasdaq&symbol=AAA"),
        ("/data/threshold_days/2026-07-08,Nasdaq", "/data/threshold_lists?list_date=2026-07-08&market=Nasdaq"),
    ):
        status, text, _ = await lists.get(path)
        assert status == 200, text
        assert target in unescape(text)
        assert (await lists.get(target))[0] == 200


async def test_every_source_fills_the_markets_that_the_pages_know() -> None:
    collected = [source for source in load_catalog().sources if _has_lists(source) and not source.suspended]
    assert {source.name for source in collected} == {
        "threshold_nasdaq", "threshold_nyse", "threshold_cboe", "threshold_finra", "threshold_occ",
    }  # fmt: skip
    assert {source.name for source in collected} - {"threshold_occ"} <= set(MARKETS)


def _has_lists(source: Batch) -> bool:
    return any(dataset.name == "threshold_lists" for dataset in source.datasets)
