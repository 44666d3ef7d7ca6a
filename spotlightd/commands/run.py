"""Commands that start the daemon, or see whether it could: run, check."""

from __future__ import annotations

import argparse
from contextlib import AsyncExitStack
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

from spotlightd.commands.output import Out
from spotlightd.runtime.daemon import run as serve
from spotlightd.runtime.instance import open_instance
from spotlightd.settings.settings import Settings


async def run(arguments: argparse.Namespace, settings: Settings, out: Out) -> int:
    """The daemon, until SIGTERM."""
    del arguments, out
    await serve(settings)
    return 0


async def check(arguments: argparse.Namespace, settings: Settings, out: Out) -> int:
    """Everything that a start needs, tried; the effective settings, secrets left out."""
    del arguments
    async with AsyncExitStack() as stack:
        house = await stack.enter_async_context(open_instance(settings))
        await house.stores.warehouse.ping()
        await house.stores.documents.ping()
        await house.bucket.ping()
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
