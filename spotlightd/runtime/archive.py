"""Wires the archiver, and what takes raw documents to the bucket: what they move, and with what."""

from __future__ import annotations

from functools import partial

from spotlightd.clients.disk import has_room
from spotlightd.errors import SettingsError
from spotlightd.flows.archive.archiver import Archiving
from spotlightd.flows.archive.context import ArchiveContext
from spotlightd.flows.upkeep.documents import DocumentTiering, Policy
from spotlightd.log import logger
from spotlightd.model.source import Batch
from spotlightd.model.stream import Stream, frames_of
from spotlightd.model.transform import Transform
from spotlightd.runtime.instance import Instance
from spotlightd.runtime.streams import retained
from spotlightd.sql.tiers import ASKED_SECONDS
from spotlightd.workers.verifier import ChildVerifier

SCRATCH = "archive"


def archiver(house: Instance) -> Archiving:
    """The archiver of these stores. SettingsError for a policy that cannot be kept."""
    return Archiving(means(house))


def means(house: Instance) -> ArchiveContext:
    _check(house)
    feeds: tuple[Batch | Stream | Transform, ...] = (
        *house.catalog.sources, *house.catalog.streams, *house.catalog.transforms,
    )  # fmt: skip
    return ArchiveContext(
        datasets={one.name: one for one in house.datasets},
        feeds={one.name: one for one in feeds},
        transforms=house.catalog.transforms,
        warehouse=house.stores.warehouse,
        bucket=house.bucket,
        index=house.archives,
        kept=house.partitions,
        ledger=house.stores.ledger,
        positions=house.positions,
        verifier=ChildVerifier(house.settings.verifier, logger(flow="archive").info),
        folder=house.settings.state_dir / SCRATCH,
        policy=house.settings.archive,
        room=partial(has_room, house.settings.state_dir, house.settings.disk.sink_percent),
    )


def stowing(house: Instance) -> DocumentTiering:
    """The flow that takes raw documents to the bucket. SettingsError for a policy that cannot be kept."""
    told, known = house.settings.documents, {one.name: one for one in house.catalog.sources}
    if strangers := sorted(set(told.hot_days) - known.keys()):
        raise SettingsError(f"setting documents.hot_days names no source: {', '.join(strangers)}")
    days = {name: told.hot_days.get(name, one.hot_days) for name, one in known.items()}
    leaving = {name: some for name, some in days.items() if some}
    for name in leaving:
        if known[name].max_bytes > told.cache_bytes:
            raise SettingsError(
                f"setting documents.cache_bytes: a document of {name} may have {known[name].max_bytes:,} bytes; use as many"
            )
    policy = Policy(leaving, frozenset(told.lost), told.every_seconds)
    return DocumentTiering(
        house.documents.folder, house.bucket, house.stores.ledger, house.partitions, policy, gate=house.stores.gate
    )


def _check(house: Instance) -> None:
    """That every dataset named in the policy can leave, and that a rest is longer than any question."""
    policy, web = house.settings.archive, house.settings.web
    known = {one.name: one for one in house.datasets}
    for name, days in policy.hot_days.items():
        if name not in known:
            raise SettingsError(f"setting archive.hot_days names no dataset: {name}")
        if days and known[name].column(known[name].time).kind not in ("date", "time"):
            raise SettingsError(f"setting archive.hot_days: {name} has no time that says how old a row is")
        if days and not known[name].split_by:
            raise SettingsError(
                f"setting archive.hot_days: {name} has no partitions, so none of them can leave the disk"
            )
    for stream in house.catalog.streams:
        name, kept = frames_of(stream).name, retained(stream, house.settings).retention_hours / 24
        if 0 < policy.hot_days.get(name, known[name].retention.hot_days) <= kept:
            raise SettingsError(
                f"setting archive.hot_days: {name} must stay longer than the bus keeps them ({kept:g} days), because what"
                " comes a second time is known by them"
            )
    longest = ASKED_SECONDS + max(web.download_seconds, web.query_seconds, house.settings.warehouse.query_seconds)
    if policy.rest_seconds < longest:
        raise SettingsError(
            f"setting archive.rest_seconds is {policy.rest_seconds:g}: a download may have been asked for {longest:g} s"
            " before it reads; use more than that"
        )
