"""`sources`: lists the sources."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

from spotlightd.commands.command import Command
from spotlightd.commands.output import Out
from spotlightd.commands.session import open_session
from spotlightd.model.source import Batch
from spotlightd.ports.warehouse import Warehouse
from spotlightd.settings.settings import Settings

PUBLISHED = """
SELECT covers, max(at) AS at FROM (
    SELECT covers, published_at AS at FROM loads WHERE source = {source:String} ORDER BY seq DESC LIMIT 1 BY covers
) GROUP BY covers
"""
COLUMNS = ("source", "title", "newest", "published", "expected", "next", "next due", "state")


async def run(arguments: argparse.Namespace, settings: Settings, out: Out) -> int:
    """Print one row for each source."""
    del arguments
    async with open_session(settings) as session:
        rows = [await _row(source, session.warehouse, settings) for source in session.catalog.sources]
    out.table(COLUMNS, rows)
    return 0


async def _row(source: Batch, warehouse: Warehouse, settings: Settings) -> tuple[str, ...]:
    answer = await warehouse.rows(PUBLISHED, {"source": source.name})
    published = {row["covers"]: row["at"] for row in answer.dicts()}
    day = settings.schedule.judged_on or datetime.now(UTC).date()
    expected, following = source.expected(day), source.next_due(day)
    newest = max(published, default="")
    state = source.suspended or ("late" if expected.covers not in published else "in time")
    at = published[newest].strftime("%Y-%m-%d %H:%M") if newest else "never"
    return source.name, source.title, newest, at, expected.covers, following.covers, following.due.isoformat(), state


COMMAND = Command(
    "sources", "list the sources: what is collected, when it is due, and how late it is", "spotlightd sources", (), run
)
