"""`doctor`: what is wrong with this instance, and what to do, the worst first."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from datetime import UTC, datetime

from spotlightd.clients.http.explorer import read_status
from spotlightd.commands.command import Command
from spotlightd.commands.doctor.findings import HARMS, Finding, Harm, judge_backups, judge_settings, judge_status
from spotlightd.commands.output import Out
from spotlightd.errors import SettingsError, StoreError
from spotlightd.flows.backup.record import read_backups
from spotlightd.model.text import count
from spotlightd.runtime.daemon import open_without_flows
from spotlightd.runtime.endpoint import Endpoint, find_daemon
from spotlightd.runtime.preflight import read_web_token
from spotlightd.settings.settings import Settings


async def run(arguments: argparse.Namespace, settings: Settings, out: Out) -> int:
    """Ask the running daemon, or try to open the stores when none runs; print the findings."""
    del arguments
    endpoint = find_daemon(settings)
    found = await (_ask_daemon(settings, endpoint) if endpoint else _try_to_open(settings))
    found += [*judge_backups(read_backups(settings.state_dir), datetime.now(UTC)), *judge_settings(settings)]
    found.sort(key=lambda finding: finding.harm)
    if out.as_json:
        out.value([{**asdict(finding), "harm": finding.harm.name.lower()} for finding in found])
    else:
        _print(found, endpoint.web if endpoint else "", out)
    return 1 if any(finding.harm < Harm.ADVICE for finding in found) else 0


async def _ask_daemon(settings: Settings, endpoint: Endpoint) -> list[Finding]:
    try:
        status = await read_status(endpoint.web, read_web_token(settings))
    except StoreError as problem:
        remedy = "It may be starting or stopping. If it stays so: `journalctl -u spotlightd -n 50`, then restart it."
        return [Finding(Harm.STOPPED, f"the daemon (process {endpoint.pid}) is there, but {problem}", remedy)]
    return judge_status(status, datetime.now(UTC))


async def _try_to_open(settings: Settings) -> list[Finding]:
    """Without a daemon nothing is collected, whatever the reason. The reason is whatever `check` says."""
    remedy = "Start it: `systemctl start spotlightd`, or `spotlightd run`."
    try:
        async with open_without_flows(settings) as instance:
            await instance.warehouse.ping()
            await instance.documents.ping()
            await instance.bucket.ping()
    except SettingsError as problem:
        remedy = f"A setting must be corrected first: {problem}"
    except StoreError as problem:
        remedy = f"A store must be brought back first: {problem}"
    return [
        Finding(Harm.STOPPED, f"no daemon runs on {settings.state_dir}: nothing is collected, no feed is heard", remedy)
    ]


def _print(found: list[Finding], web: str, out: Out) -> None:
    for finding in found:
        page = f" {web}{finding.page}" if web and finding.page else ""
        out.result(f"{HARMS[finding.harm].upper()}: {finding.problem}\n    {finding.remedy}{page}\n")
    worse = sum(finding.harm < Harm.ADVICE for finding in found)
    advice = count(len(found) - worse, "remark")
    out.result(f"{count(worse, 'problem')}, {advice}" if worse else f"nothing is wrong; {advice}")


COMMAND = Command(
    "doctor",
    "say what is wrong with this instance and what to do, the worst first; status 1 when something is",
    "spotlightd doctor --config /etc/spotlightd/spotlightd.toml",
    (),
    run,
)
