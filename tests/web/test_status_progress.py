"""A first run that takes hours says on /status how far it is and when it will end, for people and for programs."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from spotlightd.flows.supervise import Board
from spotlightd.runtime.explorer import _flow_state
from spotlightd.web.state import DaemonState, EngineState
from tests.manual_clock import ManualClock
from tests.web.world import World

pytestmark = pytest.mark.asyncio(loop_scope="session")

ENDS_AT = datetime(2026, 12, 1, 4, 10, tzinfo=UTC)


def collecting() -> DaemonState:
    """The state of a daemon whose collector reports as it does in a first run."""
    clock = ManualClock(start=datetime(2026, 11, 30, 23, tzinfo=UTC))
    board = Board(clock.to_clock())
    report = board.reporter("collect daily")
    report.set_working("2026/11/27, about 5 h 10 min left", 120, 3_800, ends_at=ENDS_AT)
    return DaemonState("0.1.0", clock.at, EngineState("Landlock ABI 4"), tuple(map(_flow_state, board.read())))


async def test_the_page_and_its_json_show_progress_and_forecast(world: World) -> None:
    async with world.served(state=collecting) as served:
        _, page, _ = await served.get("/status")
        _, text, _ = await served.get("/status.json")
    assert "2026/11/27, about 5 h 10 min left: 120 of 3800" in page
    assert "done about" in page
    assert "2026-12-01" in page
    (flow,) = json.loads(text)["state"]["flows"]
    assert (flow["done"], flow["total"]) == (120, 3_800)
    assert datetime.fromisoformat(flow["ends_at"]) == ENDS_AT
    assert flow["progress"].startswith("2026/11/27, about 5 h 10 min left: 120 of 3800")


async def test_a_flow_that_waits_has_no_forecast(world: World) -> None:
    def waiting() -> DaemonState:
        board = Board(ManualClock().to_clock())
        report = board.reporter("collect daily")
        report.set_working("2026/11/27", 1, 2, ends_at=ENDS_AT)
        report.set_waiting("waiting for the next check")
        return DaemonState("0.1.0", ENDS_AT, EngineState("Landlock ABI 4"), tuple(map(_flow_state, board.read())))

    async with world.served(state=waiting) as served:
        _, page, _ = await served.get("/status")
    assert "waiting for the next check" in page
    assert "done about" not in page
