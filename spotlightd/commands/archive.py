"""Commands about the archive: archive plan, run, status and retry, restore, drill. Beside a running daemon it does the work."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from spotlightd.clients.ledger.partitions import SqliteArchive
from spotlightd.commands.collect import watched
from spotlightd.commands.output import Out
from spotlightd.commands.session import ledger_beside, reading
from spotlightd.errors import SettingsError, StoreError
from spotlightd.flows.archive.context import HeldError
from spotlightd.flows.archive.plan import find_due, select_hot_days
from spotlightd.model.dataset import NAME
from spotlightd.model.partition import Check, CheckKind, Partition
from spotlightd.ports.ledger import Job, JobKind
from spotlightd.runtime.archive import archiver
from spotlightd.runtime.endpoint import running_daemon
from spotlightd.runtime.instance import LEDGER_FILE, open_instance
from spotlightd.settings.settings import Settings

PARTITION = re.compile(r"[0-9]{4,8}-[0-9]{1,5}")
COLUMNS = ("dataset", "partition", "stage", "since", "rows", "bytes", "says")


async def archive(arguments: argparse.Namespace, settings: Settings, out: Out) -> int:
    """`plan` and `status` look, `run` takes every partition as far as it goes now, `retry` takes a held one up again."""
    _there(settings)
    if arguments.verb == "retry":
        return await _done(_partition_job("retry", arguments), settings, out)
    if arguments.dataset or arguments.partition:
        raise SettingsError(f"archive {arguments.verb} is about all partitions: only `retry` names one")
    if arguments.verb == "run":
        return await _done(Job("archive"), settings, out)
    known, checks, planned = await _looked(settings)
    if arguments.verb == "plan":
        out.table(("dataset", "partition", "day"), [(one.dataset, one.id, one.day) for one in planned])
        return 0
    if out.as_json:
        told = [dict(zip(COLUMNS, _row(one), strict=True)) for one in known]
        out.value({"partitions": told, "checks": {kind: _check(one) for kind, one in checks.items()}})
        return 0
    out.table(COLUMNS, [_line(one) for one in known])
    for kind, one in checks.items():
        out.say(f"last {kind}: {one.at:%Y-%m-%d %H:%M} UTC, {one.says}")
    return 0


async def restore(arguments: argparse.Namespace, settings: Settings, out: Out) -> int:
    """Bring the rows of an archived partition back into the warehouse, or into a table of their own."""
    _there(settings)
    if arguments.into and not NAME.match(arguments.into):
        raise SettingsError(f"--into {arguments.into!r}: use lower case letters, digits and _")
    return await _done(replace(_partition_job("restore", arguments), into=arguments.into), settings, out)


def _partition_job(kind: JobKind, arguments: argparse.Namespace) -> Job:
    """A job about the partition that the arguments name. SettingsError for a name that cannot be one."""
    if not NAME.match(arguments.dataset):
        raise SettingsError(f"{arguments.dataset!r} is no dataset: name the one that the partition is of")
    if not PARTITION.fullmatch(arguments.partition):
        raise SettingsError(
            f"--partition {arguments.partition!r} is not like 20260131-0: see `spotlightd archive status`"
        )
    return Job(kind, arguments.dataset, partition=arguments.partition)


async def drill(arguments: argparse.Namespace, settings: Settings, out: Out) -> int:
    """Restore an archived partition drawn by lot to a scratch table, and compare. A StoreError when it is not the same."""
    del arguments
    _there(settings)
    return await _done(Job("drill"), settings, out)


async def _done(job: Job, settings: Settings, out: Out) -> int:
    if running_daemon(settings) is not None:
        return await watched(job, settings, out)
    async with open_instance(settings) as house:
        work = archiver(house)
        with out.progress(str(job)) as moves:
            try:
                says = await work.run_job(job, moves)
            except HeldError as problem:
                raise StoreError(str(problem)) from None
    out.say(says, {"says": says})
    return 0


async def _looked(settings: Settings) -> tuple[tuple[Partition, ...], Mapping[CheckKind, Check], list[Partition]]:
    async with reading(settings) as here, ledger_beside(settings) as ledger:
        kept = SqliteArchive(ledger)
        known = await kept.partitions()
        policy, today = settings.archive, datetime.now(UTC).date()
        planned = await find_due(
            here.warehouse, select_hot_days(here.datasets, policy), known, today, policy.late_seconds
        )
        return known, await kept.checks(), planned


def _there(settings: Settings) -> None:
    if not (settings.state_dir / LEDGER_FILE).exists():
        raise SettingsError(f"there is nothing in {settings.state_dir}: name the state folder with --state")


def _row(one: Partition) -> tuple[object, ...]:
    return (one.dataset, one.id, one.stage, one.since, one.fingerprint.rows, one.size, one.says)


def _line(one: Partition) -> tuple[object, ...]:
    """The same for people, who are told the zone."""
    told = zip(COLUMNS, _row(one), strict=True)
    return tuple(f"{value:%Y-%m-%d %H:%M} UTC" if name == "since" else value for name, value in told)


def _check(one: Check) -> dict[str, object]:
    return {"at": one.at, "well": one.well, "says": one.says}
