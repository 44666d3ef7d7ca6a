"""Watches the bucket: does it answer and support what is needed, and are there unfinished uploads in it.

A bucket that does not answer stops only the archive: old data stay where they are until it answers.
"""

from __future__ import annotations

from spotlightd.backoff import Backoff, Clock
from spotlightd.errors import StoreError
from spotlightd.flows.supervise import Reporter
from spotlightd.log import logger
from spotlightd.ports.storage import Bucket

PAUSE = Backoff(first=72.0, most=72.0, jitter=1 / 6)  # 60 to 72 s
SWEEP_SECONDS = 86_400.0
LONGEST_SECONDS = 120.0  # a round with a store that answers each request at the last moment


async def watch_bucket(report: Reporter, bucket: Bucket, *, clock: Clock | None = None) -> None:
    """Probe the bucket now and every minute, sweep it now and every day, and report what is wrong with it."""
    clock = clock or Clock()
    log, is_down, swept_at = logger(flow=report.name), False, -SWEEP_SECONDS
    report.expect_beats(60 / (PAUSE.most + LONGEST_SECONDS))
    while True:
        try:
            await bucket.ping()
            if clock.now() - swept_at >= SWEEP_SECONDS:
                log.info("bucket swept", uploads=await bucket.sweep())
                swept_at = clock.now()
        except StoreError as problem:
            report.set_holding(str(problem))
            if not is_down:
                log.warning("store failed", error=str(problem))
            is_down = True
        else:
            report.set_waiting("the bucket answers")
            if is_down:
                log.info("store recovered")
            is_down = False
        report.beat()
        await clock.sleep(PAUSE.pause(1, clock.chance))
