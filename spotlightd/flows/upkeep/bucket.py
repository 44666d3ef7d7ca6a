"""Looks after the bucket: is it there and does it what is asked of it, and what was left in it half-sent.

A bucket that does not answer holds up nothing but the archive: old data stay where they are until it does.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

from spotlightd.errors import StoreError
from spotlightd.flows.supervise import Reporter
from spotlightd.log import logger
from spotlightd.ports.storage import Bucket

PAUSE_SECONDS = 60.0
SWEEP_SECONDS = 86_400.0
LONGEST_SECONDS = 120.0  # a round with a store that answers everything at the last moment


async def looking_after(
    report: Reporter,
    bucket: Bucket,
    *,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    seconds: Callable[[], float] = time.monotonic,
) -> None:
    """Probe the bucket now and every minute, sweep it now and every day; say on the board what is wrong with it."""
    log, held, swept_at = logger(flow=report.name), False, -SWEEP_SECONDS
    report.expects(60 / (PAUSE_SECONDS + LONGEST_SECONDS))
    while True:
        try:
            await bucket.ping()
            if seconds() - swept_at >= SWEEP_SECONDS:
                log.info("bucket swept", uploads=await bucket.sweep())
                swept_at = seconds()
        except StoreError as problem:
            report.holding(str(problem))
            if not held:
                log.warning("store failed", error=str(problem))
            held = True
        else:
            report.waiting("the bucket answers")
            if held:
                log.info("store recovered")
            held = False
        report.beat()
        await sleep(PAUSE_SECONDS * random.uniform(1.0, 1.2))  # noqa: S311
