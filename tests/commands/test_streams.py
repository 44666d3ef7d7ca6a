"""replay and tail, beside a running daemon and without one."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from spotlightd.demo.exchange import Script, run_exchange
from tests.daemon import process
from tests.streams.place import SYMBOLS, Place


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with run_exchange(Script(rate=200.0, ping_seconds=0.5)) as venue:
        yield Place(tmp_path, venue)


async def test_messages_are_printed_and_stored_frames_decoded_again(place: Place) -> None:
    async with place.ready() as daemon:
        await place.wait_for_flow(100)
        messages = [
            json.loads(line) for line in (await place.command("tail", "finnhub", "--once", "--json")).out.splitlines()
        ]
        assert len(messages) >= 10
        assert [message["offset"] for message in messages] == list(
            range(messages[0]["offset"], messages[-1]["offset"] + 1)
        )
        trade = json.loads(next(message["frame"] for message in messages if "trade" in message["frame"]))
        assert trade["data"][0]["s"] in SYMBOLS
        beside = await place.command("replay", "finnhub", "--json")
        assert (beside.status, beside.json()["documents"]) == (0, 1)
        await place.wait_for_flow(100)
        await place.settle()
        assert await daemon.stop() == 0
    without = (await place.command("replay", "finnhub", "--json")).json()
    assert [(part["part"], part["rejects"]) for part in without["parts"]] == [(1, 0), (2, 0)]
    assert sum(part["rows"] for part in without["parts"]) <= len(place.venue.ticks)


async def test_trades_and_their_frames_go_to_another_instance_in_a_bundle(place: Place, tmp_path: Path) -> None:
    async with place.ready() as daemon:
        await place.wait_for_flow(100)
        await place.settle()
        assert await daemon.stop() == 0
    file, other = str(tmp_path / "trades.bundle.tar"), str(tmp_path / "other")
    early = await place.command("bundle", "trades", "--out", file)
    assert early.status == 78
    assert "can be bundled when it is over" in early.err
    assert (await place.command("replay", "finnhub")).status == 0  # which closes the day
    bundle = (await place.command("bundle", "trades", "--out", file, "--json")).json()
    own = await place.command("import", file)
    assert own.status == 78
    assert "receives finnhub itself" in own.err
    imported = (await process.command("import", "--state", other, file, "--json")).json()
    assert ({load["came"] for load in imported["loads"]}, imported["rows"]) == ({"imported"}, bundle["rows"])
    sql = "SELECT count() AS n, sum(cityHash64(* EXCEPT (ingested, load_id))) AS hash FROM trades"
    there = (await process.command("query", "--state", other, sql, "--json")).json()
    assert there == (await place.command("query", sql, "--json")).json()
    assert there[0]["n"] == bundle["rows"] > 0


async def test_an_unknown_stream_is_refused(place: Place) -> None:
    place.settings()
    done = await place.command("replay", "finhub")
    assert done.status == 78
    assert "no stream is called 'finhub'; there are: finnhub" in done.err
