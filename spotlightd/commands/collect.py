"""Commands about collecting: sources, backfill, rebuild."""

from __future__ import annotations

import argparse
import asyncio
from datetime import UTC, datetime

from spotlightd.commands.output import Out
from spotlightd.commands.session import ledger_beside, reading
from spotlightd.errors import PublisherError, SettingsError
from spotlightd.flows.batch.ingest import Span, ingest
from spotlightd.flows.batch.schedule import told
from spotlightd.flows.loads.mirror import mirror
from spotlightd.flows.loads.mirror import rebuild as anew
from spotlightd.model.source import Batch
from spotlightd.ports.ledger import Wish
from spotlightd.ports.warehouse import Warehouse
from spotlightd.runtime.catalog import catalog
from spotlightd.runtime.endpoint import running_daemon
from spotlightd.runtime.instance import open_instance
from spotlightd.settings.settings import Settings

POLL_SECONDS = 0.5
SILENT_SECONDS = 60.0
NEWEST = """
SELECT covers, max(at) AS at FROM (
    SELECT covers, published_at AS at FROM loads WHERE source = {source:String} ORDER BY seq DESC LIMIT 1 BY covers
) GROUP BY covers
"""


async def sources(arguments: argparse.Namespace, settings: Settings, out: Out) -> int:
    """What is collected, when it is due, and how late it is."""
    del arguments
    async with reading(settings) as here:
        rows = [await _row(source, here.warehouse, settings) for source in here.catalog.sources]
    out.table(("source", "title", "newest", "published", "expected", "next", "next due", "state"), rows)
    return 0


async def _row(source: Batch, warehouse: Warehouse, settings: Settings) -> tuple[str, ...]:
    published = {row["covers"]: row["at"] for row in (await warehouse.rows(NEWEST, {"source": source.name})).dicts()}
    day = settings.schedule.judged_on or datetime.now(UTC).date()
    now, following = source.expected(day), source.next_due(day)
    newest = max(published, default="")
    state = source.suspended or ("late" if now.covers not in published else "in time")
    at = published[newest].strftime("%Y-%m-%d %H:%M") if newest else "never"
    return source.name, source.title, newest, at, now.covers, following.covers, following.due.isoformat(), state


async def backfill(arguments: argparse.Namespace, settings: Settings, out: Out) -> int:
    """Collect a span of days. Beside a running daemon it is the daemon that does it; this command watches."""
    wish = Wish(arguments.source, arguments.first, arguments.last)
    if wish.first > wish.last:
        raise SettingsError(f"--from {wish.first} is after --to {wish.last}")
    return await collect(wish, settings, out)


async def collect(wish: Wish, settings: Settings, out: Out) -> int:
    """Have a wish granted, here or by the daemon; 1 when a document could not be had or was refused."""
    _named(wish.source, catalog(settings).sources)
    daemon = running_daemon(settings)
    if daemon is None:
        return await _backfill_here(wish, settings, out)
    if wish.source not in daemon.collects:
        raise SettingsError(
            f"the running daemon does not collect {wish.source}: have it do so (schedule.enabled, schedule.sources), or "
            "stop it and ask again"
        )
    return await watched(wish, settings, out)


def _named(name: str, sources: tuple[Batch, ...]) -> Batch:
    for source in sources:
        if source.name == name:
            return source
    raise SettingsError(f"no source is called {name!r}; there are: {', '.join(one.name for one in sources)}")


async def _backfill_here(wish: Wish, settings: Settings, out: Out) -> int:
    async with open_instance(settings) as house:
        source = _named(wish.source, house.catalog.sources)
        with out.progress(f"backfill {source.name}") as moves:

            async def progress(says: str, done: int, total: int) -> None:
                moves(says, done, total)

            span = Span(wish.first, wish.last, again=True)
            results = await ingest(source, house.publishers.of(source), house.stores, span=span, progress=progress)
        await mirror(house.stores.ledger, house.stores.warehouse, house.archives)
    for one in results:
        if one.error:
            out.note(f"{one.link.covers}: {one.outcome}: {one.error}")
    out.say(told(results), {"documents": len(results), "says": told(results)})
    return 1 if any(one.error for one in results) else 0


async def watched(wish: Wish, settings: Settings, out: Out) -> int:
    """Ask the running daemon for a backfill or replay, and watch it; 1 when it failed."""
    async with ledger_beside(settings) as ledger:
        asked = await ledger.ask(wish)
        out.note(f"asked the running daemon for it (wish {asked.number}); it goes on if this command is stopped")
        with out.progress(wish.source) as moves:
            seen, since = asked, asyncio.get_running_loop().time()
            while seen.state not in {"done", "failed"}:
                await asyncio.sleep(POLL_SECONDS)
                now = (await ledger.wishes(number=asked.number))[0]
                if now != seen:
                    seen, since = now, asyncio.get_running_loop().time()
                elif running_daemon(settings) is None and asyncio.get_running_loop().time() - since > SILENT_SECONDS:
                    raise PublisherError("the daemon has ended; what was asked for goes on when it is started again")
                moves(seen.says, seen.done, seen.total)
    out.say(seen.says, {"documents": seen.total, "says": seen.says})
    return 0 if seen.state == "done" else 1


async def rebuild(arguments: argparse.Namespace, settings: Settings, out: Out) -> int:
    """Make the warehouse's copies of the ledger's records anew."""
    del arguments
    if running_daemon(settings) is not None:
        raise SettingsError("the daemon is running: stop it first, so that the ledger stands still")
    async with open_instance(settings) as house:
        known = await house.partitions.partitions()
        rows = await anew(house.stores.ledger, house.stores.warehouse, house.archives, known)
    out.say(f"{rows:,} records copied from the ledger", {"rows": rows})
    return 0
