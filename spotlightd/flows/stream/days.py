"""Closes the received days of a stream that are over."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, time, timedelta

from spotlightd.flows.stream.parts import Parts
from spotlightd.log import logger
from spotlightd.model.offsets import DrainState
from spotlightd.model.stream import Stream

DAY_OVER_SECONDS = 120.0


async def close_days(source: Stream, parts: Parts, states: Collection[DrainState]) -> None:
    """Close the days that are over, once everything received until then is drained. Bars are made of closed days,
    and only closed days are archived. On a busy feed the bus is never empty, but then it holds frames of today.
    """
    now = datetime.now(UTC)
    for day in await parts.list_open_days(source):
        over = datetime.combine(day + timedelta(days=1), time(), UTC) + timedelta(seconds=DAY_OVER_SECONDS)
        if now >= over and all(state.is_past(over) for state in states):
            await parts.close(source, day)
            logger(source=source.name).info("day closed", day=str(day))
