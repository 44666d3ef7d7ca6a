"""`spotlightd doctor`: each thing that is wrong is found in the daemon's own status, the worst first."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from spotlightd.clients.http.explorer import read_status
from spotlightd.commands.doctor.findings import Finding, Harm, judge_status
from spotlightd.errors import StoreError
from spotlightd.model.disk import DiskState, Watermarks
from spotlightd.model.offsets import FeedState, OpenGap
from spotlightd.model.partition import ArchiveState, Check, CheckKind
from spotlightd.web.state import DaemonState, EngineState, FlowState
from tests.web.world import World

pytestmark = pytest.mark.asyncio(loop_scope="session")

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
WELL = DaemonState("0.1.0", NOW, EngineState("Landlock ABI 4"), (FlowState("collect sec_ftd", "waiting", NOW),))


async def find_all(world: World, **changes: object) -> list[Finding]:
    """The findings about the world's explorer with these changes."""
    async with world.served(**changes) as served:
        return judge_status(await read_status(served.address), NOW)


def texts(found: list[Finding], harm: Harm) -> str:
    return " ".join(finding.problem for finding in found if finding.harm is harm)


async def test_a_well_instance_has_no_findings_but_those_of_its_documents(world: World) -> None:
    found = await find_all(world, state=lambda: WELL, disks=lambda: DiskState(Watermarks()))
    assert {finding.harm for finding in found} == {Harm.LATE}, found
    assert "sec_ftd is late: 2021/02/a was due on 2021-03-07" in texts(found, Harm.LATE)
    assert "of sec_ftd kept and not loaded" in texts(found, Harm.LATE)


async def test_what_is_lost_comes_before_what_waits(world: World) -> None:
    long_ago, cut = NOW - timedelta(minutes=5), "the venue hung up"
    feeds = (
        FeedState("finnhub", "waiting", NOW, open_gaps=(OpenGap(long_ago, "connection lost", "", cut),), detail=cut),
        FeedState("other", "refused", NOW, detail="invalid key"),
        FeedState(
            "third", "connected", NOW, open_gaps=(OpenGap(NOW, "refused by the venue", "GMEE", "no such symbol"),)
        ),
    )
    flows = (FlowState("drain finnhub", "holding", NOW, error="the engine does not answer"),)
    state = replace(WELL, feeds=feeds, flows=flows, engine=EngineState("", detached=("table t was not loaded",)))
    checks: dict[CheckKind, Check] = {"objects": Check(NOW, passed=False, detail="two objects are missing")}
    archive = ArchiveState(checks=checks, error="the bucket does not answer", shortened=("trades: 30 days",))
    found = await find_all(world, state=lambda: state, archive=lambda: archive)
    assert [finding.harm for finding in found] == sorted(finding.harm for finding in found)
    losing, held = texts(found, Harm.LOSING), texts(found, Harm.HELD)
    for words in ("finnhub is not received", "refuses the feed other", "third brings no GMEE", "so full that feeds"):
        assert words in losing
    for words in ("table t was not loaded", "`drain finnhub`", "two objects are missing", "archiving waits"):
        assert words in held
    assert "a shorter retention waits" in texts(found, Harm.ADVICE)
    assert all(finding.remedy for finding in found)


async def test_a_short_break_of_a_feed_is_no_finding(world: World) -> None:
    gap = OpenGap(NOW - timedelta(seconds=5), "connection lost", "", "the venue hung up")
    state = replace(WELL, feeds=(FeedState("finnhub", "waiting", NOW, open_gaps=(gap,)),))
    found = await find_all(world, state=lambda: state, disks=lambda: DiskState(Watermarks()))
    assert {finding.harm for finding in found} == {Harm.LATE}, found


async def test_a_daemon_that_does_not_answer_is_an_error(world: World, free_port: int) -> None:
    with pytest.raises(StoreError, match="does not answer"):
        await read_status(f"http://127.0.0.1:{free_port}")
    with pytest.raises(StoreError, match="answers 404"):
        await read_status(f"{world.address}/nothing")
