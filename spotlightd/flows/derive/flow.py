"""The flow of a derivation: rounds for ever, each when something may be due."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from spotlightd.backoff import Backoff
from spotlightd.errors import StoreError
from spotlightd.flows.derive.context import DerivationRunner
from spotlightd.flows.supervise import Reporter
from spotlightd.log import logger

EVERY_SECONDS = 10.0
LONGEST_PAUSE_SECONDS = 600.0
LONGEST_ROUND_SECONDS = 900.0
JITTER = 0.2
REST = 9
"""A derivation rests nine times as long as it worked, up to MOST_REST_SECONDS. Documents that arrive every few seconds are
then computed together, and a derivation takes a tenth of the time at most.
"""
MOST_REST_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class DeriveFlow:
    """Runs the rounds of one derivation. Holds while a store fails."""

    runner: DerivationRunner
    every_seconds: float = EVERY_SECONDS

    async def __call__(self, report: Reporter) -> None:
        report.expect_beats(60.0 / LONGEST_ROUND_SECONDS)
        backoff, failures = Backoff(self.every_seconds, LONGEST_PAUSE_SECONDS, JITTER), 0
        while True:
            started = time.monotonic()
            try:
                computed = await self.runner.run_round(report)
            except StoreError as problem:
                failures += 1
                report.set_holding(str(problem))
                logger(flow=report.name).warning("store failed", error=str(problem))
                report.beat(did_something=False)
            else:
                failures = 0
                report.set_waiting(f"{computed:,} computed" if computed else "nothing is due")
                report.beat(did_something=bool(computed))
            rest = min((time.monotonic() - started) * REST, MOST_REST_SECONDS)
            await asyncio.sleep(max(rest, backoff.pause(failures + 1)))
