"""Commands that start the daemon, or see whether it could: run, demo, check."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import time
from contextlib import AsyncExitStack
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from typing import Any

from spotlightd.commands.said import Out
from spotlightd.daemon import Running, started, told_to_stop
from spotlightd.daemon import run as serve
from spotlightd.demo.mirror import Mirror, mirroring, timeline
from spotlightd.flows.ingest import Span, ingest
from spotlightd.flows.load import Result
from spotlightd.flows.mirror import mirror as mirror_records
from spotlightd.model.ports import Wish
from spotlightd.model.settings import Schedule, Settings
from spotlightd.opening import House, opened

JUDGED_ON = date(2021, 3, 20)
NOTICE = (
    "Demo: SEC files of early 2021, replayed on this machine. 2021-01a is the whole real file. 2021-01b and 2021-02b are "
    "real rows cut short, with trailers constructed by us; the correction of 2021-01b is constructed too."
)
TURN_SECONDS = 0.2


async def run(arguments: argparse.Namespace, settings: Settings, out: Out) -> int:
    """The daemon, until SIGTERM."""
    del arguments, out
    await serve(settings)
    return 0


async def demo(arguments: argparse.Namespace, settings: Settings, out: Out) -> int:
    """The daemon on bundled real files: the same code, told to ask a mirror on loopback instead of the publisher."""
    host, stages = timeline()
    async with mirroring(host, stages) as mirror:
        told = _demo_settings(arguments, settings, mirror)
        if arguments.once:
            out.value(await _once(told, mirror, out))
            return 0
        async with told_to_stop() as stop, started(told, notice=NOTICE) as daemon:
            out.note(f"spotlightd demo: {daemon.web} (Ctrl-C ends it)")
            async with asyncio.TaskGroup() as group:
                turning = group.create_task(_turn_pages(daemon, mirror), name="demo publisher")
                await stop.wait()
                turning.cancel()
    return 0


def _demo_settings(arguments: argparse.Namespace, settings: Settings, mirror: Mirror) -> Settings:
    web = replace(settings.web, port=arguments.port)
    publisher = replace(settings.publisher, mirrors={mirror.host: mirror.address})
    schedule = Schedule(sources=["sec_ftd"], on_start=False, judged_on=JUDGED_ON)
    state = settings.state_dir if arguments.state else Path("state/demo")
    return replace(settings, state_dir=state, web=web, publisher=publisher, schedule=schedule)


async def _once(settings: Settings, mirror: Mirror, out: Out) -> dict[str, Any]:
    """Everything that the demo's publisher ever shows, loaded in turn; then counted."""
    began, results = time.monotonic(), list[Result]()
    async with opened(settings) as house:
        with out.progress("demo") as moves:
            for number in range(await _seen(house, mirror), len(mirror.stages)):
                mirror.show(number)
                results += await _look(house, moves)
        await mirror_records(house.stores.ledger, house.stores.warehouse)
    return {
        "documents": sum(one.outcome == "published" for one in results),
        "unchanged": sum(one.outcome == "unchanged" for one in results),
        "refused": [{"covers": one.link.covers, "error": one.error} for one in results if one.outcome == "refused"],
        "rows": sum(one.rows for one in results),
        "seconds": round(time.monotonic() - began, 3),
        "state": str(settings.state_dir),
        "address": f"http://{settings.web.host}:{settings.web.port}",
        "next": f"spotlightd demo --state {settings.state_dir}",
    }


async def _seen(house: House, mirror: Mirror) -> int:
    """The newest stage of which this state folder has every file: a second demo goes on, and does not start over."""
    newest = 0
    for number, stage in enumerate(mirror.stages):
        digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in stage.files.values()]
        if all([await house.stores.ledger.document(digest) for digest in digests]):
            newest = number
    return newest


async def _look(house: House, moves: Any) -> list[Result]:
    async def progress(says: str, done: int, total: int) -> None:
        moves(says, done, total)

    results = []
    for source in house.sources:
        publisher = house.publishers.of(source)
        results += await ingest(source, publisher, house.stores, span=Span(again=True), progress=progress)
    return results


async def _turn_pages(daemon: Running, mirror: Mirror) -> None:
    """Show the publisher's stages one after the other, and have the sources look at each."""
    ledger = daemon.house.stores.ledger
    for number in range(await _seen(daemon.house, mirror), len(mirror.stages)):
        mirror.show(number)
        wishes = [await ledger.ask(Wish(source.name, date.min, date.max)) for source in daemon.house.sources]
        for wish in wishes:
            while (await ledger.wishes(number=wish.number))[0].state not in {"done", "failed"}:  # noqa: ASYNC110  (it stands in a file)
                await asyncio.sleep(TURN_SECONDS)


async def check(arguments: argparse.Namespace, settings: Settings, out: Out) -> int:
    """Everything that a start needs, tried; the effective settings, secrets left out."""
    del arguments
    async with AsyncExitStack() as stack:
        house = await stack.enter_async_context(opened(settings))
        await house.stores.warehouse.ping()
        await house.stores.bucket.ping()
        for source in house.sources:
            house.publishers.of(source)
        sandbox = house.engine.sandbox if house.engine else "a ClickHouse server of its own"
        rows = [
            (one.name, ", ".join(each.name for each in one.datasets), one.suspended or one.cron)
            for one in house.catalog.sources
        ]
    if out.as_json:
        out.value({"settings": _plain(asdict(settings)), "sources": [row[0] for row in rows], "engine": sandbox})
        return 0
    out.table(("setting", "value"), _flat(asdict(settings)), title="settings")
    out.table(("source", "datasets", "looks"), rows, title="\nsources")
    out.say(f"\nengine: {sandbox}\nready to start")
    return 0


def _flat(values: dict[str, Any], where: str = "") -> list[tuple[str, str]]:
    rows = []
    for key, value in values.items():
        rows += _flat(value, f"{where}{key}.") if isinstance(value, dict) and value else [(where + key, str(value))]
    return rows


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return str(value) if isinstance(value, Path | date) else value
