"""`import`: takes over a bundle of another instance."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from spotlightd.clients.bundle import open_bundle
from spotlightd.commands.command import Command, argument
from spotlightd.commands.output import Out
from spotlightd.errors import SettingsError
from spotlightd.flows.bundle.importer import ImportContext, import_bundle
from spotlightd.flows.bundle.outcome import ImportOutcome
from spotlightd.flows.loads.mirror import mirror_records
from spotlightd.flows.stream.parts import Parts
from spotlightd.model.bundle import Manifest
from spotlightd.runtime.endpoint import find_daemon
from spotlightd.runtime.instance import Instance, open_instance
from spotlightd.runtime.streams import make_replay
from spotlightd.settings.settings import Settings

FAULTS = ("differs", "refused", "older")


async def run(arguments: argparse.Namespace, settings: Settings, out: Out) -> int:
    """Import the bundle; 1 when some of its rows are not visible here as they were there. The daemon must be stopped."""
    if find_daemon(settings) is not None:
        raise SettingsError(
            "the daemon is running, and only one process may load documents: stop it (`systemctl stop spotlightd`), import,"
            " and start it again"
        )
    with out.progress("import") as progress:
        async with open_bundle(arguments.file, progress) as bundle, open_instance(settings) as instance:
            outcomes = await import_bundle(_make_context(instance), bundle, progress)
            await mirror_records(instance.ledger, instance.warehouse, instance.archives)
    _print_result(out, bundle.manifest, outcomes)
    return 1 if any(outcome.status in FAULTS for outcome in outcomes) else 0


def _make_context(instance: Instance) -> ImportContext:
    parts = Parts(instance.ledger, instance.publications, instance.positions)
    return ImportContext(
        instance.catalog.feeds, instance.ingest_context(), instance.archives, instance.positions,
        lambda source: make_replay(source, instance, parts),
    )  # fmt: skip


def _print_result(out: Out, manifest: Manifest, outcomes: list[ImportOutcome]) -> None:
    for outcome in outcomes:
        if outcome.status in FAULTS:
            out.note(f"{outcome.source} {outcome.covers}: {outcome.status}: {outcome.detail}")
    rows = sum(outcome.rows for outcome in outcomes if outcome.status != "here")
    counts = Counter(outcome.status for outcome in outcomes)
    summary = ", ".join(f"{number} {status}" for status, number in sorted(counts.items()))
    loads = [
        {
            "source": outcome.source,
            "covers": outcome.covers,
            "came": outcome.status,
            "rows": outcome.rows,
            "detail": outcome.detail,
        }
        for outcome in outcomes
    ]
    facts = {"dataset": manifest.dataset, "rows": rows, "loads": loads}
    out.result(f"{manifest.dataset}: {rows:,} rows imported; {summary}", facts)


COMMAND = Command(
    "import",
    "import a bundle of another instance: store its documents, parse them here, and compare the rows",
    "spotlightd import january.bundle.tar",
    (argument("file", type=Path, metavar="FILE", help="a bundle, as `spotlightd bundle` wrote it"),),
    run,
)
