"""`sources`: lists the sources."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

from spotlightd.commands.command import Command
from spotlightd.commands.output import Out
from spotlightd.commands.session import open_session
from spotlightd.model.source import Batch, list_wholes
from spotlightd.ports.warehouse import Warehouse
from spotlightd.settings.settings import Settings

PUBLISHED = """
SELECT max(covers), argMax(published_at, (covers, seq)), countIf(covers IN {due:Array(String)}) FROM loads
WHERE source = {source:String} HAVING count() > 0
"""
COLUMNS = ("source", "title", "newest", "published", "expected", "next", "next due", "state")


async def run(arguments: argparse.Namespace, settings: Settings, out: Out) -> int:
    """Print one row for each source."""
    del arguments
    async with open_session(settings) as session:
        rows = [await describe_source(source, session.warehouse, settings) for source in session.catalog.sources]
    out.table(COLUMNS, rows)
    return 0


async def describe_source(source: Batch, warehouse: Warehouse, settings: Settings) -> tuple[str, ...]:
    day = settings.schedule.judged_on or datetime.now(UTC).date()
    expected, following = source.expected(day), source.next_due(day)
    values = {"source": source.name, "due": list_wholes(expected.covers)}
    answer = (await warehouse.rows(PUBLISHED, values)).rows
    newest, published_at, is_due_published = answer[0] if answer else ("", None, False)
    state = source.suspended or ("in time" if is_due_published else "late")
    at = published_at.strftime("%Y-%m-%d %H:%M") if published_at else "never"
    return source.name, source.title, newest, at, expected.covers, following.covers, following.due.isoformat(), state


COMMAND = Command(
    "sources", "list the sources: what is collected, when it is due, and how late it is", "spotlightd sources", (), run
)
