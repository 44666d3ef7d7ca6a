"""The venue and the mirror of the SEC that the installed host collects from. They run in its network and outside of it, so
they outlive whatever happens to it, and their count of ticks with them.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.host.machine import ROOT, Machine

START_SECONDS = 60.0
QUIET_SECONDS = 1.2  # the venue writes its count twice a second


@dataclass(frozen=True)
class Market:
    """`file` has the number of ticks that were sent."""

    process: subprocess.Popen[bytes]
    file: Path

    @property
    def ticks(self) -> int:
        return int(self.file.read_text(encoding="utf-8"))

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGUSR2)

    def stop(self) -> int:
        """No more ticks; how many were sent."""
        self.process.send_signal(signal.SIGUSR1)
        stopped = time.time()
        self._wait(lambda: self.file.stat().st_mtime > stopped + QUIET_SECONDS)
        return self.ticks

    def wait_for_ticks(self, number: int) -> None:
        self._wait(lambda: self.file.exists() and self.ticks >= number)

    def _wait(self, condition: object) -> None:
        end = time.monotonic() + START_SECONDS
        while not condition():  # type: ignore[operator]
            assert self.process.poll() is None, "the market ended"
            assert time.monotonic() < end, "the market stands still"
            time.sleep(0.1)


@contextmanager
def run_market(machine: Machine) -> Iterator[Market]:
    """The market in the network of this host. Nobody listens to it yet."""
    file = machine.folder / "ticks"
    command = [sys.executable, "-m", "tests.host.venue", str(file)]
    process = machine.start_beside(*command, folder=ROOT)
    market = Market(process, file)
    try:
        market.wait_for_ticks(0)
        yield market
    finally:
        process.kill()
        process.wait(30)
