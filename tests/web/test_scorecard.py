"""The scorecard shows what is late, missing and unlike before, and values of before and after side by side."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from spotlightd.datasets.system import quiet_changes, scorecard
from tests.web.world import FAILS, World, open_database

NOW = datetime.now(UTC)
pytestmark = pytest.mark.asyncio(loop_scope="session")


def card(**values: Any) -> tuple[Any, ...]:
    known: dict[str, Any] = {
        "at": NOW, "source": "sec_ftd", "dataset": "sec_ftd", "late": "", "late_days": 0, "delay_days": 2.25, "usual_delay_days": None,
        "missing": [], "restated": 0, "refused": 0, "newest": "2021/02/a", "rows": 50, "least_rows": 40, "most_rows": 60, "rejects": 0,
        "newly_empty": [], "changed": [],
    }  # fmt: skip
    return tuple((known | values).values())


def change(days_ago: int, column: str, **values: Any) -> tuple[Any, ...]:
    known: dict[str, Any] = {
        "at": NOW - timedelta(days=days_ago), "source": "sec_ftd", "dataset": "sec_ftd", "load_id": 1, "covers": "2021/02/a",
        "kind": "share", "column": column, "says": f"{column or 'rows'} changed <b>",
        "now": ["gme", "<i>amc</i>"], "before": ["GME"], "document": "1" * 64, "document_before": "2" * 64,
    }  # fmt: skip
    return tuple((known | values).values())


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def judged(world: World) -> AsyncIterator[World]:
    async with open_database(world, "scorecard", [FAILS]) as judged:
        older = card(at=NOW - timedelta(days=1), late="2021/01/b", late_days=3)
        newer = card(missing=["2021/01/b"], restated=2, newly_empty=["price"])
        await judged.warehouse.insert(scorecard, [older, newer])
        await judged.warehouse.insert(
            quiet_changes,
            [
                change(1, "symbol"),
                change(20, "price", kind="newly empty"),
                change(2, "", kind="rows", now=[], before=[]),
            ],
        )
        yield judged


async def test_the_newest_card_of_each_source_is_shown(judged: World) -> None:
    status, text, _ = await judged.get("/scorecard")
    assert status == 200
    assert '<mark class="tag green">on time</mark>' in text
    assert '<mark class="tag red">late</mark>' not in text
    assert re.search(r'<td class="num">2\.2; \S</td>', text)
    assert '<mark class="tag red">newly empty</mark> price' in text
    assert "2021/01/b" in text


async def test_values_of_before_and_after_stand_side_by_side(judged: World) -> None:
    _, text, _ = await judged.get("/scorecard")
    assert re.search(r"<td><code>GME</code></td><td><code>gme</code></td>", text)
    assert "<i>amc</i>" not in text
    assert f'<a href="/source/{"2" * 64}">The document before</a>' in text
    assert text.count('<mark class="tag red">share</mark>') == 1
    assert '<mark class="tag">newly empty</mark> sec_ftd.price' in text, "no alarm after two weeks"


async def test_the_status_names_the_alarms(judged: World) -> None:
    _, text, _ = await judged.get("/status")
    assert "symbol changed &lt;b&gt;" in text
    assert "price changed" not in text
    _, text, _ = await judged.get("/status.json")
    assert [found["column"] for found in json.loads(text)["quiet_changes"]] == ["symbol", ""]


async def test_the_scorecard_is_there_as_json_and_as_a_dataset(judged: World) -> None:
    _, text, _ = await judged.get("/scorecard.json")
    answer = json.loads(text)
    assert [found["late"] for found in answer["cards"]] == [""]
    assert [found["column"] for found in answer["changes"]] == ["symbol", "", "price"]
    status, text, _ = await judged.get("/data/quiet_changes.json", params={"column": "price"})
    assert (status, json.loads(text)["rows"][0]["kind"]) == (200, "newly empty")


async def test_nothing_is_judged_at_first(world: World) -> None:
    async with open_database(world, "not_judged", [FAILS]) as fresh:
        status, text, _ = await fresh.get("/scorecard")
    assert status == 200
    assert "Nothing is judged yet" in text
