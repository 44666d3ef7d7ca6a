"""Jobs: a command queues one in the ledger for the running daemon, and watches it until it has ended."""

from __future__ import annotations

import asyncio

from spotlightd.commands.output import Out
from spotlightd.commands.session import open_ledger
from spotlightd.errors import PublisherError
from spotlightd.ports.ledger import Job
from spotlightd.runtime.endpoint import find_daemon
from spotlightd.settings.settings import Settings

POLL_SECONDS = 0.5
SILENT_SECONDS = 60.0


async def watch_job(job: Job, settings: Settings, out: Out) -> int:
    """Queue the job for the running daemon and show its progress; 1 when it failed."""
    loop = asyncio.get_running_loop()
    async with open_ledger(settings) as ledger:
        job = await ledger.add_job(job)
        out.note(f"the running daemon does it, as job {job.number}; it continues if this command is stopped")
        with out.progress(str(job)) as progress:
            changed_at = loop.time()
            while not job.has_ended:
                await asyncio.sleep(POLL_SECONDS)
                before, job = job, await ledger.job(job.number)
                if job != before:
                    changed_at = loop.time()
                elif find_daemon(settings) is None and loop.time() - changed_at > SILENT_SECONDS:
                    raise PublisherError("the daemon has ended; it continues the job when it is started again")
                progress(job.detail, job.done, job.total)
    out.result(job.detail, {"documents": job.total, "detail": job.detail})
    return 0 if job.state == "done" else 1
