"""The real daemon's log as rows: the lines of standard error are in the table, each event once, without secrets."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from typing import Any

from tests.daemon.place import Place
from tests.daemon.process import Daemon
from tests.daemon.publisher import half_month, warehouse
from tests.polling import until

LOG = {"table_seconds": 0.2, "level": "debug"}
BY_PROCESS = "SELECT * FROM logs WHERE process = {pid:UInt32} ORDER BY seq"


async def rows_of(place: Place, pid: int) -> list[dict[str, Any]]:
    async with warehouse(place.state) as reader:
        return (await reader.rows(BY_PROCESS, {"pid": pid})).dicts()


def is_all(rows: list[dict[str, Any]], daemon: Daemon, until_event: str) -> None:
    """Each event has as many rows as lines, up to that line; the numbers have no gap."""
    lines = [event["event"] for event in daemon.events]
    lines = lines[: lines.index(until_event) + 1]
    assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1))
    assert Counter(row["event"] for row in rows[: len(lines)]) == Counter(lines)


async def test_every_event_from_start_to_stop_is_in_the_table_once(place: Place) -> None:
    place.show(half_month(0, 1_200))
    async with place.ready(log=LOG) as daemon:
        await place.wait_until_visible()
        mark = (await daemon.session.get(daemon.web + "/nothing")).headers["X-Request-Id"]
        await until(lambda: daemon.find_events("request refused", request=mark), "the line is said")
        await until(lambda: _there(daemon, f"/logs.json?request={mark}&event=request+refused"), "the row is written")
        (load,) = await _there(daemon, "/logs.json?event=load+published")
        run = await _there(daemon, f"/logs.json?run={load['run']}")
        assert {row["event"] for row in run} >= {"document stored", "load published"}
        assert (await _there(daemon, f"/logs.json?load={load['load_id']}"))[0]["seq"] == load["seq"]
        secret = json.loads((place.state / "daemon.json").read_text())["password"]
        assert await daemon.stop() == 0
    async with place.ready(log=LOG) as again:
        rows = await rows_of(place, daemon.pid)
        is_all(rows, daemon, "daemon stopping")
        assert all(secret not in repr(row) for row in rows)
        assert rows[0]["event"] == "daemon started"
        assert await again.stop() == 0


async def _there(daemon: Daemon, path: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = (await daemon.get(path)).json()["rows"]
    return rows


async def test_an_engine_that_dies_loses_no_event_and_doubles_none(place: Place) -> None:
    place.show(half_month(0, 1_200))
    async with place.ready(log=LOG) as daemon:
        await place.wait_until_visible()
        for _ in range(3):
            engine = daemon.engine_pid()
            for at in range(20):
                await daemon.get(f"/nothing/{at}")
            os.kill(engine, signal.SIGKILL)
            await until(lambda died=engine: daemon.engine_pid() not in (0, died), "another engine lives")  # type: ignore[misc]
            await until(daemon.is_ready, "/readyz answers 200 again")

        async def are_written() -> bool:
            return len(await _there(daemon, "/logs.json?event=engine+restarted")) == 3

        await until(are_written, "all is written")
        rows = await rows_of(place, daemon.pid)
        is_all(rows, daemon, "daemon ready")
        assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1))
        assert sum(row["event"] == "request refused" for row in rows) == 60
        assert await daemon.stop() == 0
