"""Builds what the pages need from the open instance."""

from __future__ import annotations

from datetime import datetime

from spotlightd import __version__
from spotlightd.engine.process import Engine
from spotlightd.flows.supervise import Board, Status
from spotlightd.runtime.instance import Instance
from spotlightd.runtime.streams import OpenStreams
from spotlightd.web.state import DaemonState, EngineState, ExplorerContext, FlowState
from spotlightd.workers.excerpt import ExcerptReader


def make_explorer_context(
    instance: Instance, streams: OpenStreams, board: Board, began: datetime, notice: str
) -> ExplorerContext:
    def state() -> DaemonState:
        return DaemonState(
            version=__version__,
            started_at=began,
            engine=_engine(instance.engine),
            flows=tuple(_flow(one) for one in board.read()),
            problems=tuple(f"{one.name}: {one.error}" for one in board.read() if one.state == "holding"),
            feeds=streams.feeds(),
            drains=streams.drains(),
        )

    return ExplorerContext(
        warehouse=instance.context.warehouse,
        documents=instance.context.documents,
        datasets=instance.datasets,
        sources=instance.catalog.sources,
        settings=instance.settings.web,
        state=state,
        excerpt=ExcerptReader(instance.context.documents, instance.context.ledger, instance.settings.parser),
        judged_on=instance.settings.schedule.judged_on,
        notice=notice,
        streams=instance.catalog.streams,
        bus=streams.bus,
        positions=streams.positions,
        archives=instance.archives,
    )


def _engine(engine: Engine | None) -> EngineState:
    if engine is None:
        return EngineState("a ClickHouse server of its own")
    return EngineState(engine.sandbox, engine.restarts, engine.pid)


def _flow(one: Status) -> FlowState:
    progress = f"{one.message}: {one.done} of {one.total}" if one.total else one.message
    told = [part for part in (progress, "" if one.is_hanging else one.beat_summary) if part]
    error = one.error or (one.beat_summary if one.is_hanging else "")
    return FlowState(one.name, one.state, one.since, one.restarts, error, " · ".join(told))
