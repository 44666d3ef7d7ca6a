"""Wires the archiver and the tiering of raw documents, and checks their settings."""

from __future__ import annotations

from functools import partial

from spotlightd.clients.disk import require_free_space
from spotlightd.errors import SettingsError
from spotlightd.flows.archive.archiver import Archiver
from spotlightd.flows.archive.context import ArchiveContext
from spotlightd.flows.upkeep.documents import DocumentTiering, TieringPolicy
from spotlightd.model.derivation import Derivation
from spotlightd.model.derived.transform import Transform
from spotlightd.model.source import Batch
from spotlightd.model.stream import Stream, frames_of
from spotlightd.runtime.instance import Instance
from spotlightd.runtime.streams import with_retention
from spotlightd.settings.describe import describe_names, describe_text
from spotlightd.sql.tiers import STATEMENT_START_SECONDS

SCRATCH = "archive"


def make_archiver(instance: Instance) -> Archiver:
    """The archiver of the instance. SettingsError for a policy that cannot work."""
    return Archiver(make_archive_context(instance))


def make_archive_context(instance: Instance) -> ArchiveContext:
    _check_policy(instance)
    catalog = instance.catalog
    feeds: tuple[Batch | Stream | Transform | Derivation, ...] = (
        *catalog.sources, *catalog.streams, *catalog.transforms, *catalog.derivations,
    )  # fmt: skip
    return ArchiveContext(
        datasets={dataset.name: dataset for dataset in instance.datasets},
        feeds={feed.name: feed for feed in feeds},
        transforms=instance.catalog.transforms,
        warehouse=instance.warehouse,
        bucket=instance.bucket,
        index=instance.archives,
        archive_ledger=instance.partitions,
        ledger=instance.ledger,
        positions=instance.positions,
        verifier=instance.verifier,
        folder=instance.settings.state_dir / SCRATCH,
        policy=instance.settings.archive,
        require_space=partial(require_free_space, instance.settings.state_dir, instance.settings.disk.sink_percent),
        table_reason=instance.gate.table_reason,
    )


def make_document_tiering(instance: Instance) -> DocumentTiering:
    """The flow that moves raw documents to the bucket. SettingsError for a policy that cannot work."""
    settings, sources = instance.settings.documents, {source.name: source for source in instance.catalog.sources}
    if unknown := set(settings.hot_days) - sources.keys():
        raise SettingsError(f"setting documents.hot_days names no source: {describe_names(unknown, sources)}")
    hot_days = {name: settings.hot_days.get(name, source.hot_days) for name, source in sources.items()}
    for name, days in hot_days.items():
        if days and sources[name].max_bytes > settings.cache_bytes:
            raise SettingsError(
                f"setting documents.cache_bytes: a document of {name} may have {sources[name].max_bytes:,} bytes; use at"
                " least as many"
            )
    policy = TieringPolicy(hot_days, frozenset(settings.lost), settings.every_seconds)
    return DocumentTiering(
        instance.documents.folder, instance.bucket, instance.ledger, instance.partitions, policy, gate=instance.gate
    )


def _check_policy(instance: Instance) -> None:
    """SettingsError when a dataset of the policy cannot leave the warehouse, or when rest_seconds is too short.

    rest_seconds must be longer than any query: a query that began before the switch still reads the original.
    """
    policy, datasets = instance.settings.archive, {dataset.name: dataset for dataset in instance.datasets}
    for name, days in policy.hot_days.items():
        if name not in datasets:
            raise SettingsError(f"setting archive.hot_days names no dataset: {describe_text(name, datasets)}")
        if days and datasets[name].column(datasets[name].time).kind not in ("date", "time"):
            raise SettingsError(f"setting archive.hot_days: {name} has no time column that says how old a row is")
        if days and not datasets[name].split_by:
            raise SettingsError(
                f"setting archive.hot_days: {name} has no partitions, so none of them can leave the disk"
            )
    for stream in instance.catalog.streams:
        name, bus_days = frames_of(stream).name, with_retention(stream, instance.settings).retention_hours / 24
        if 0 < policy.hot_days.get(name, datasets[name].retention.hot_days) <= bus_days:
            raise SettingsError(
                f"setting archive.hot_days: {name} must stay longer than the bus keeps its messages ({bus_days:g} days):"
                " a message that arrives twice is recognized by them"
            )
    web, warehouse = instance.settings.web, instance.settings.warehouse
    longest = STATEMENT_START_SECONDS + max(web.download_seconds, web.query_seconds, warehouse.query_seconds)
    if policy.rest_seconds < longest:
        raise SettingsError(
            f"setting archive.rest_seconds is {policy.rest_seconds:g}: a query may still read the original {longest:g} s"
            " after it was requested; use more than that"
        )
