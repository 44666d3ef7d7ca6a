"""Builds what the pages need from the open instance and the state of the flows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from spotlightd import __version__
from spotlightd.engine.process import Engine
from spotlightd.flows.supervise import Board, Status
from spotlightd.log import logger
from spotlightd.model.disk import DiskState
from spotlightd.model.document_tiers import DocumentTiers
from spotlightd.model.partition import ArchiveState
from spotlightd.runtime.instance import Instance
from spotlightd.runtime.streams import OpenStreams
from spotlightd.settings.missing import list_missing
from spotlightd.web.state import DaemonState, EngineState, ExplorerContext, FlowState
from spotlightd.workers.excerpt import ExcerptReader


def make_explorer_context(
    instance: Instance,
    streams: OpenStreams,
    board: Board,
    *,
    started_at: datetime,
    notice: str,
    archive: Callable[[], ArchiveState],
    document_tiers: Callable[[], DocumentTiers],
    disks: Callable[[], DiskState],
) -> ExplorerContext:
    """The context of the pages. The three callables give the state of other flows as of now."""
    excerpt = ExcerptReader(instance.documents, instance.ledger, instance.settings.parser, logger(flow="pages").info)

    def state() -> DaemonState:
        statuses = board.read()
        return DaemonState(
            version=__version__,
            started_at=started_at,
            engine=_engine_state(instance.engine),
            flows=tuple(_flow_state(status) for status in statuses),
            problems=tuple(f"{status.name}: {status.error}" for status in statuses if status.state == "holding"),
            feeds=streams.feeds(),
            drains=streams.drains(),
            confinement=_describe_confinement(instance, streams, excerpt),
        )

    return ExplorerContext(
        warehouse=instance.warehouse,
        documents=instance.documents,
        datasets=instance.datasets,
        sources=instance.catalog.sources,
        settings=instance.settings.web,
        state=state,
        excerpt=excerpt,
        judged_on=instance.settings.schedule.judged_on,
        notice=notice,
        missing=() if notice else tuple(list_missing(instance.settings)),
        streams=instance.catalog.streams,
        bus=streams.bus,
        positions=streams.positions,
        archives=instance.archives,
        archive=archive,
        document_tiers=document_tiers,
        disks=disks,
        audience=streams.audience,
        origins={made.dataset.name: made.origins for made in instance.catalog.derivations},
    )


def _engine_state(engine: Engine | None) -> EngineState:
    if engine is None:
        return EngineState("a separate ClickHouse server")
    detached = tuple(str(table) for table in engine.detached)
    return EngineState(engine.sandbox, engine.restarts, engine.pid, detached)


def _describe_confinement(instance: Instance, streams: OpenStreams, excerpt: ExcerptReader) -> dict[str, str]:
    """How each kind of child that reads foreign bytes is confined; empty before the first child of its kind."""
    parser = {"stream parser": streams.parser.confinement} if streams.parser else {}
    engine = {"engine": instance.engine.sandbox} if instance.engine else {}
    readers = {
        "parser": instance.parser.confinement,
        "excerpt": excerpt.confinement,
        "verifier": instance.verifier.confinement,
    }
    return engine | readers | parser


def _flow_state(status: Status) -> FlowState:
    """The status for the page: a flow that hangs shows its beats as the error, others beside their progress."""
    progress = f"{status.message}: {status.done} of {status.total}" if status.total else status.message
    parts = [part for part in (progress, "" if status.is_hanging else status.beat_summary) if part]
    error = status.error or (status.beat_summary if status.is_hanging else "")
    return FlowState(
        status.name, status.state, status.since, status.restarts, error, " · ".join(parts),
        status.done, status.total, status.ends_at,
    )  # fmt: skip
