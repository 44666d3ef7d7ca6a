"""`archive`: lists the partitions that are due or under way, and works on them."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from datetime import UTC, date, datetime
from functools import partial

from spotlightd.clients.ledger.partitions import SqliteArchive
from spotlightd.commands.archive.jobs import make_partition_job, run_job
from spotlightd.commands.command import Command, argument
from spotlightd.commands.output import Out
from spotlightd.commands.session import open_ledger, open_session, require_ledger
from spotlightd.errors import SettingsError
from spotlightd.flows.archive.plan import find_due, find_filled, is_old, select_hot_days
from spotlightd.flows.upkeep.retention import decide_rules
from spotlightd.model.partition import Check, Partition, RetentionRule
from spotlightd.ports.ledger import Job
from spotlightd.settings.settings import Settings

COLUMNS = ("dataset", "partition", "stage", "since", "rows", "bytes", "detail")


async def run(arguments: argparse.Namespace, settings: Settings, out: Out) -> int:
    """`plan` and `status` only read. `run` moves every partition as far as it goes now; `retry` resumes a held one."""
    require_ledger(settings)
    if arguments.verb == "retry":
        return await run_job(make_partition_job("retry", arguments), settings, out)
    if arguments.dataset or arguments.partition:
        raise SettingsError(f"archive {arguments.verb} is about all partitions: only `retry` names one")
    if arguments.verb == "run":
        return await run_job(Job("archive"), settings, out)
    return await (_plan if arguments.verb == "plan" else _status)(settings, out)


async def _plan(settings: Settings, out: Out) -> int:
    """What is due under the settings. A shorter rule that is not in force yet holds its partitions back: `waits_until`."""
    async with open_session(settings) as session, open_ledger(settings) as ledger:
        archive_ledger, now = SqliteArchive(ledger), datetime.now(UTC)
        known, warehouse = await archive_ledger.partitions(), session.warehouse
        policy, hot_days = settings.archive, select_hot_days(session.datasets, settings.archive)
        rules = await decide_rules(
            archive_ledger, hot_days, now, partial(find_filled, ledger, warehouse, hot_days, known)
        )
        due = await find_due(warehouse, hot_days, known, now.date(), policy.late_seconds)
    rows = [(item.dataset, item.id, item.day, _waits_until(item, rules, now.date())) for item in due]
    out.table(("dataset", "partition", "day", "waits_until"), rows)
    return 0


def _waits_until(partition: Partition, rules: Mapping[str, RetentionRule], today: date) -> str:
    """When the rule comes into force under which the partition is due; empty when it is due now."""
    rule = rules[partition.dataset]
    is_due = is_old(partition, {rule.name: rule.days}, today)
    return "" if is_due else f"{rule.starts_at:%Y-%m-%d %H:%M} UTC"


async def _status(settings: Settings, out: Out) -> int:
    async with open_ledger(settings) as ledger:
        partitions, checks = await SqliteArchive(ledger).partitions(), await SqliteArchive(ledger).checks()
    if out.as_json:
        rows = [dict(zip(COLUMNS, _row(partition), strict=True)) for partition in partitions]
        out.value({"partitions": rows, "checks": {kind: _check(check) for kind, check in checks.items()}})
        return 0
    out.table(COLUMNS, [_row_in_utc(partition) for partition in partitions])
    for kind, check in checks.items():
        out.result(f"last {kind}: {check.at:%Y-%m-%d %H:%M} UTC, {check.detail}")
    return 0


def _row(partition: Partition) -> tuple[object, ...]:
    return (
        partition.dataset, partition.id, partition.stage, partition.since, partition.fingerprint.rows, partition.size,
        partition.detail,
    )  # fmt: skip


def _row_in_utc(partition: Partition) -> tuple[object, ...]:
    """The row for people, with the time zone."""
    cells = zip(COLUMNS, _row(partition), strict=True)
    return tuple(f"{value:%Y-%m-%d %H:%M} UTC" if name == "since" else value for name, value in cells)


def _check(check: Check) -> dict[str, object]:
    return {"at": check.at, "passed": check.passed, "detail": check.detail}


COMMAND = Command(
    "archive",
    "show and run the archive: the partitions that are due to leave the warehouse, and the stage of each",
    "spotlightd archive status",
    (
        argument(
            "verb", choices=("plan", "run", "status", "retry"),
            help="plan: list what is due; run: move every partition as far as it goes now; status: list all; retry:"
            " resume a partition that is held, once its cause is removed",
        ),
        argument("dataset", metavar="DATASET", nargs="?", default="", help="for retry: the dataset of the partition"),
        argument("--partition", default="", metavar="NAME", help="for retry: the name in `archive status`"),
    ),
    run,
)  # fmt: skip
