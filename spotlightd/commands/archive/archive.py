"""`archive`: lists the partitions that are due or under way, and works on them."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

from spotlightd.clients.ledger.partitions import SqliteArchive
from spotlightd.commands.archive.jobs import make_partition_job, run_job
from spotlightd.commands.command import Command, argument
from spotlightd.commands.output import Out
from spotlightd.commands.session import open_ledger, open_session, require_ledger
from spotlightd.errors import SettingsError
from spotlightd.flows.archive.plan import find_due, select_hot_days
from spotlightd.model.partition import Check, Partition
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
    async with open_session(settings) as session, open_ledger(settings) as ledger:
        known = await SqliteArchive(ledger).partitions()
        policy, today = settings.archive, datetime.now(UTC).date()
        hot_days = select_hot_days(session.datasets, policy)
        due = await find_due(session.warehouse, hot_days, known, today, policy.late_seconds)
    out.table(("dataset", "partition", "day"), [(partition.dataset, partition.id, partition.day) for partition in due])
    return 0


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
