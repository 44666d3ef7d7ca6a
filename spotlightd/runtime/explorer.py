"""Builds what the pages need from the open instance."""

from __future__ import annotations

from datetime import datetime

from spotlightd import __version__
from spotlightd.engine.process import Engine
from spotlightd.flows.supervise import Board, Status
from spotlightd.runtime.instance import Instance
from spotlightd.runtime.streams import Streaming
from spotlightd.web.state import DaemonState, EngineState, ExplorerContext, FlowState
from spotlightd.workers.excerpt import Excerpts


def _context(house: Instance, streams: Streaming, board: Board, began: datetime, notice: str) -> ExplorerContext:
    def state() -> DaemonState:
        return DaemonState(
            version=__version__,
            started_at=began,
            engine=_engine(house.engine),
            flows=tuple(_flow(one) for one in board.read()),
            problems=tuple(f"{one.name}: {one.error}" for one in board.read() if one.state == "holding"),
            feeds=streams.feeds(),
            drains=streams.drains(),
        )

    return ExplorerContext(
        warehouse=house.stores.warehouse,
        documents=house.stores.documents,
        datasets=house.datasets,
        sources=house.catalog.sources,
        settings=house.settings.web,
        state=state,
        excerpt=Excerpts(house.stores.documents, house.stores.ledger, house.settings.parser),
        judged_on=house.settings.schedule.judged_on,
        notice=notice,
        streams=house.catalog.streams,
        bus=streams.bus,
        positions=streams.positions,
        archives=house.archives,
    )


def _engine(engine: Engine | None) -> EngineState:
    if engine is None:
        return EngineState("a ClickHouse server of its own")
    return EngineState(engine.sandbox, engine.restarts, engine.pid)


def _flow(one: Status) -> FlowState:
    progress = f"{one.says}: {one.done} of {one.total}" if one.total else one.says
    told = [part for part in (progress, "" if one.hangs else one.heard) if part]
    error = one.error or (one.heard if one.hangs else "")
    return FlowState(one.name, one.state, one.since, one.restarts, error, " · ".join(told))
