"""Wires the archiver, and what takes raw documents to the bucket: what they move, and with what."""

from __future__ import annotations

from functools import partial

from spotlightd.clients.disk import require_free_space
from spotlightd.errors import SettingsError
from spotlightd.flows.archive.archiver import Archiver
from spotlightd.flows.archive.context import ArchiveContext
from spotlightd.flows.upkeep.documents import DocumentTiering, TieringPolicy
from spotlightd.log import logger
from spotlightd.model.source import Batch
from spotlightd.model.stream import Stream, frames_of
from spotlightd.model.transform import Transform
from spotlightd.runtime.instance import Instance
from spotlightd.runtime.streams import with_retention
from spotlightd.sql.tiers import STATEMENT_START_SECONDS
from spotlightd.workers.verifier import ChildVerifier

SCRATCH = "archive"


def make_archiver(instance: Instance) -> Archiver:
    """The archiver of these stores. SettingsError for a policy that cannot be kept."""
    return Archiver(make_archive_context(instance))


def make_archive_context(instance: Instance) -> ArchiveContext:
    _check(instance)
    feeds: tuple[Batch | Stream | Transform, ...] = (
        *instance.catalog.sources, *instance.catalog.streams, *instance.catalog.transforms,
    )  # fmt: skip
    return ArchiveContext(
        datasets={one.name: one for one in instance.datasets},
        feeds={one.name: one for one in feeds},
        transforms=instance.catalog.transforms,
        warehouse=instance.context.warehouse,
        bucket=instance.bucket,
        index=instance.archives,
        archive_ledger=instance.partitions,
        ledger=instance.context.ledger,
        positions=instance.positions,
        verifier=ChildVerifier(instance.settings.verifier, logger(flow="archive").info),
        folder=instance.settings.state_dir / SCRATCH,
        policy=instance.settings.archive,
        require_space=partial(require_free_space, instance.settings.state_dir, instance.settings.disk.sink_percent),
    )


def make_document_tiering(instance: Instance) -> DocumentTiering:
    """The flow that takes raw documents to the bucket. SettingsError for a policy that cannot be kept."""
    told, known = instance.settings.documents, {one.name: one for one in instance.catalog.sources}
    if strangers := sorted(set(told.hot_days) - known.keys()):
        raise SettingsError(f"setting documents.hot_days names no source: {', '.join(strangers)}")
    days = {name: told.hot_days.get(name, one.hot_days) for name, one in known.items()}
    leaving = {name: some for name, some in days.items() if some}
    for name in leaving:
        if known[name].max_bytes > told.cache_bytes:
            raise SettingsError(
                f"setting documents.cache_bytes: a document of {name} may have {known[name].max_bytes:,} bytes; use as many"
            )
    policy = TieringPolicy(leaving, frozenset(told.lost), told.every_seconds)
    return DocumentTiering(
        instance.documents.folder,
        instance.bucket,
        instance.context.ledger,
        instance.partitions,
        policy,
        gate=instance.context.gate,
    )


def _check(instance: Instance) -> None:
    """That every dataset named in the policy can leave, and that a rest is longer than any question."""
    policy, web = instance.settings.archive, instance.settings.web
    known = {one.name: one for one in instance.datasets}
    for name, days in policy.hot_days.items():
        if name not in known:
            raise SettingsError(f"setting archive.hot_days names no dataset: {name}")
        if days and known[name].column(known[name].time).kind not in ("date", "time"):
            raise SettingsError(f"setting archive.hot_days: {name} has no time that says how old a row is")
        if days and not known[name].split_by:
            raise SettingsError(
                f"setting archive.hot_days: {name} has no partitions, so none of them can leave the disk"
            )
    for stream in instance.catalog.streams:
        name, bus_days = frames_of(stream).name, with_retention(stream, instance.settings).retention_hours / 24
        if 0 < policy.hot_days.get(name, known[name].retention.hot_days) <= bus_days:
            raise SettingsError(
                f"setting archive.hot_days: {name} must stay longer than the bus keeps them ({bus_days:g} days), because what"
                " comes a second time is known by them"
            )
    longest = STATEMENT_START_SECONDS + max(
        web.download_seconds, web.query_seconds, instance.settings.warehouse.query_seconds
    )
    if policy.rest_seconds < longest:
        raise SettingsError(
            f"setting archive.rest_seconds is {policy.rest_seconds:g}: a download may have been asked for {longest:g} s"
            " before it reads; use more than that"
        )
