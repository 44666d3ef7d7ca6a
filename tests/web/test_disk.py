"""The page of disks: how full, what waits, when full, what uses the space; also without the warehouse."""

from __future__ import annotations

import json

import pytest

from spotlightd.errors import StoreError
from spotlightd.model.disk import DiskState, Watermarks
from tests.web.test_guard import Broken
from tests.web.world import FAILS, World

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_disk_is_shown_in_words_bytes_and_a_forecast(world: World) -> None:
    status, text, _ = await world.get("/disk")
    assert status == 200
    assert "batch loads and the sink held, ballast released" in text
    assert "full in 22 days at this rate" in text
    assert "971,000,000,000 bytes" in text
    assert "+1.3 GB per day" in text
    assert "too early to say how fast it fills" in text
    assert "does it hang?" in text
    assert "the disk of tables is 97.1 % full: the sink is held until it is below 94 %" in text
    assert "<b>data" not in text


@pytest.mark.parametrize("path", ["/disk", "/disk.json", "/status", "/status.json"])
async def test_no_page_shows_a_path_of_the_machine(world: World, path: str) -> None:
    status, text, _ = await world.get(path)
    assert status == 200
    assert "tables" in text
    for folder in ("/srv", "/tmp"):
        assert folder not in text


async def test_the_marks_are_shown_in_their_order(world: World) -> None:
    _, text, _ = await world.get("/disk")
    places = [text.index(f"From {mark} %") for mark in (85, 92, 95, 97)]
    assert places == sorted(places)


async def test_json_has_what_the_page_has(world: World) -> None:
    _, text, _ = await world.get("/disk.json")
    document = json.loads(text)
    assert set(document["held"]) == {"batch loads", "the sink"}
    full, other = document["file_systems"]
    assert (full["level"], full["free"], full["ballast"]["held"]) == (4, 29 * 10**9, 0)
    assert full["full_in_seconds"] == pytest.approx(29 * 10**9 / 14_600)
    assert (other["level"], other["full_in_seconds"]) == (0, None)
    sizes = {size["dataset"]: size for size in document["datasets"]}
    assert sizes[FAILS.name]["rows"] > 0
    assert sizes[FAILS.name]["bytes"] > 0
    assert document["bytes_by_use"]["ledger"] == 123_456
    assert document["bytes_by_use"]["documents, as published"] > 0


async def test_it_opens_while_the_warehouse_is_silent(world: World) -> None:
    async with world.served(warehouse=Broken(StoreError("connection refused"))) as broken:
        status, text, _ = await broken.get("/disk")
        assert (status, "the warehouse cannot answer: connection refused" in text) == (200, True)
        assert "full in 22 days at this rate" in text
        status, text, _ = await broken.get("/disk.json")
        assert (status, json.loads(text)["datasets"]) == (200, [])


async def test_before_the_first_check_there_is_nothing_to_show(world: World) -> None:
    async with world.served(disks=lambda: DiskState(Watermarks())) as blind:
        assert "No disk has been checked yet." in (await blind.get("/disk"))[1]
        assert 'id="disks"' not in (await blind.get("/status"))[1]


async def test_the_status_page_leads_there(world: World) -> None:
    _, text, _ = await world.get("/status")
    assert '<a href="/disk">' in text
    _, text, _ = await world.get("/status.json")
    assert json.loads(text)["disks"]["file_systems"][0]["level"] == 4
