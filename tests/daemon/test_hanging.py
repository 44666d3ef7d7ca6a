"""One flow raises, one hangs, one holds up the whole loop: each shows for what it is, and the others go on."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from spotlightd.backoff import Clock
from spotlightd.flows.supervise import Board, Reporter, Status, run_in_background, run_isolated, run_vital
from spotlightd.flows.upkeep.heartbeats import measure_loop_lag, read_flows
from spotlightd.metrics.registry import PrometheusMetrics
from spotlightd.runtime.systemd import feed_watchdog
from tests.polling import until

PAUSE_SECONDS = 0.05


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The socket of a systemd that would kill a daemon which is silent for 0.4 s."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "400000")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(str(tmp_path / "notify"))
        end.setblocking(False)
        yield end


def read_messages(end: socket.socket) -> list[str]:
    """All messages since the last call."""
    messages: list[str] = []
    while True:
        try:
            messages.append(end.recv(4096).decode())
        except BlockingIOError:
            return messages


@dataclass
class Flows:
    """A board, its metrics, and three flows: one that raises, one that hangs, one that works until it is to block."""

    board: Board = field(default_factory=Board)
    blocks: bool = False

    def __post_init__(self) -> None:
        self.metrics = PrometheusMetrics(flows=lambda: read_flows(self.board))

    async def raises(self, report: Reporter) -> None:
        report.beat()
        raise RuntimeError("a mistake")

    async def hangs(self, report: Reporter) -> None:
        report.expect_beats(60 / PAUSE_SECONDS)
        report.beat()
        await asyncio.Event().wait()

    async def works(self, report: Reporter) -> None:
        report.expect_beats(60 / 2.0)
        while True:
            report.beat()
            if self.blocks:
                self.blocks = False
                time.sleep(1.0)
            await asyncio.sleep(PAUSE_SECONDS)

    def at_work(self) -> AbstractAsyncContextManager[None]:
        async def short(seconds: float) -> None:
            await asyncio.sleep(min(seconds, PAUSE_SECONDS))

        flows = {"raises": self.raises, "hangs": self.hangs, "works": self.works}
        for name in flows:
            self.board.reporter(name)
        return run_in_background(
            heart=run_vital(self.board, "heart", lambda report: feed_watchdog(report, self.board)),
            loop=measure_loop_lag(self.metrics, PAUSE_SECONDS),
            **{name: run_isolated(self.board, name, flow, clock=Clock(sleep=short)) for name, flow in flows.items()},
        )

    def status(self, name: str) -> Status:
        return next(status for status in self.board.read() if status.name == name)

    def metric(self, name: str, flow: str = "") -> float:
        families = text_string_to_metric_families(self.metrics.text().decode())
        samples = [sample for family in families for sample in family.samples if sample.name == f"spotlightd_{name}"]
        return next(sample.value for sample in samples if sample.labels.get("flow", "") == flow)


async def test_what_raises_is_begun_again_and_what_hangs_shows(systemd: socket.socket) -> None:
    flows = Flows()
    with capture_logs():
        async with flows.at_work():
            await until(lambda: flows.status("raises").restarts >= 3, "what raises is begun again")
            await until(lambda: flows.status("hangs").is_hanging, "what hangs shows")
            assert flows.metric("flow_silent_seconds", "hangs") > 3 * flows.metric("flow_pause_seconds", "hangs") > 0
            assert not flows.status("works").is_hanging
            beats = flows.status("works").beats
            await until(lambda: flows.status("works").beats > beats, "the others go on")
            await until(lambda: "hangs: it hangs" in "".join(read_messages(systemd)), "systemctl status tells")


async def test_a_loop_that_is_held_up_is_measured_and_does_not_feed_the_watchdog(systemd: socket.socket) -> None:
    flows = Flows()
    with capture_logs():
        async with flows.at_work():
            await until(lambda: "WATCHDOG=1" in read_messages(systemd), "the watchdog is fed")
            flows.blocks = True
            while flows.blocks:
                read_messages(systemd)
                await asyncio.sleep(0)
            assert read_messages(systemd).count("WATCHDOG=1") <= 1, (
                "of the five that were due while the loop was held up"
            )
            await until(lambda: flows.metric("loop_lag_seconds_sum") > 0.8, "the lag is measured")
            await until(lambda: "WATCHDOG=1" in read_messages(systemd), "the watchdog is fed again")
