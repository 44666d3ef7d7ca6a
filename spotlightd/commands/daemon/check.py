"""`check`: tries everything that a start of the daemon needs."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

from spotlightd.commands.command import Command
from spotlightd.commands.output import Out
from spotlightd.errors import StoreError
from spotlightd.runtime.daemon import open_without_flows
from spotlightd.runtime.instance import Instance
from spotlightd.runtime.rights import check_rights
from spotlightd.settings.describe import show_settings
from spotlightd.settings.settings import Settings


async def run(arguments: argparse.Namespace, settings: Settings, out: Out) -> int:
    """Open all stores, then print the effective settings without secrets."""
    del arguments
    async with open_without_flows(settings) as instance:
        await instance.warehouse.ping()
        await instance.documents.ping()
        waiting = await _find_waiting(instance)
        sandbox = instance.engine.sandbox if instance.engine else "a separate ClickHouse server"
        tried = await check_rights(settings)
        confinement = instance.parser.confinement
        rows = [
            (source.name, ", ".join(dataset.name for dataset in source.datasets), source.suspended or source.cron)
            for source in instance.catalog.sources
        ]
    shown = show_settings(asdict(settings))
    if out.as_json:
        names = [name for name, _, _ in rows]
        out.value({
            "settings": _to_json(shown), "sources": names, "engine": sandbox, "children": confinement, "tried": tried,
            "waits": waiting,
        })  # fmt: skip
        return 0
    out.table(("setting", "value"), _flatten(shown), title="settings")
    out.table(("source", "datasets", "schedule (UTC)"), rows, title="\nsources")
    if tried:
        out.result(f"\nusers of the server that have no more rights than their role: {', '.join(tried)}")
    ready = f"ready to start; {waiting}" if waiting else "ready to start"
    out.result(f"\nengine: {sandbox}\nchildren that read documents and files: {confinement}\n{ready}")
    return 0


async def _find_waiting(instance: Instance) -> str:
    """What the daemon would start without, in a sentence: a bucket that is away is no reason to miss a feed."""
    try:
        await instance.bucket.ping()
    except StoreError as problem:
        return f"the archive and documents would wait for the bucket: {problem}"
    return ""


def _flatten(values: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """(name, value) of every setting, with the section before the name."""
    rows = []
    for key, value in values.items():
        is_section = isinstance(value, dict) and value
        rows += _flatten(value, f"{prefix}{key}.") if is_section else [(prefix + key, str(value))]
    return rows


def _to_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _to_json(item) for key, item in value.items()}
    return str(value) if isinstance(value, Path | date) else value


COMMAND = Command(
    "check",
    "check whether the daemon could start: settings, secrets, sources, stores",
    "spotlightd check --config /etc/spotlightd.toml",
    (),
    run,
)
