"""Jobs of the archive: the running daemon does them; without one this process does."""

from __future__ import annotations

import argparse
import re

from spotlightd.commands.jobs import watch_job
from spotlightd.commands.output import Out
from spotlightd.errors import SettingsError, StoreError
from spotlightd.flows.archive.context import HeldError
from spotlightd.flows.archive.flow import run_job as run_archive_job
from spotlightd.model.dataset import NAME
from spotlightd.ports.ledger import Job, JobKind
from spotlightd.runtime.archive import make_archiver
from spotlightd.runtime.endpoint import find_daemon
from spotlightd.runtime.instance import open_instance
from spotlightd.settings.settings import Settings

PARTITION = re.compile(r"[0-9]{4,8}-[0-9]{1,5}")


def make_partition_job(kind: JobKind, arguments: argparse.Namespace, into: str = "") -> Job:
    """A job about the partition that the arguments name. SettingsError for a name that cannot be one."""
    if not NAME.match(arguments.dataset):
        raise SettingsError(f"{arguments.dataset!r} is no dataset: name the dataset of the partition")
    if not PARTITION.fullmatch(arguments.partition):
        raise SettingsError(
            f"--partition {arguments.partition!r} is not like 20260131-0: see `spotlightd archive status`"
        )
    return Job(kind, arguments.dataset, partition=arguments.partition, into=into)


async def run_job(job: Job, settings: Settings, out: Out) -> int:
    """Run the job, in the daemon or in this process. StoreError when the archiver holds the partition."""
    if find_daemon(settings) is not None:
        return await watch_job(job, settings, out)
    async with open_instance(settings) as instance:
        archiver = make_archiver(instance)
        with out.progress(str(job)) as progress:
            try:
                detail = await run_archive_job(archiver, job, progress)
            except HeldError as error:
                raise StoreError(str(error)) from None
    out.result(detail, {"detail": detail})
    return 0
