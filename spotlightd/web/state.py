"""What the pages work with: ports, declarations and the state of the daemon. No client and no flow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

import jinja2
from aiohttp import web

from spotlightd.audience import Audience
from spotlightd.model.dataset import Dataset
from spotlightd.model.derivation import RowsOf
from spotlightd.model.disk import DiskState, Watermarks
from spotlightd.model.document_tiers import DocumentTiers
from spotlightd.model.offsets import DrainState, FeedState
from spotlightd.model.partition import ArchiveState
from spotlightd.model.source import Batch
from spotlightd.model.stream import Stream
from spotlightd.ports.bus import Bus
from spotlightd.ports.ledger import Positions
from spotlightd.ports.parser import Excerpts
from spotlightd.ports.storage import Documents
from spotlightd.ports.warehouse import Warehouse
from spotlightd.query.outage import Outage
from spotlightd.query.reader import Reader
from spotlightd.settings import serving
from spotlightd.settings.missing import Missing
from spotlightd.sql.tiers import Archives, NoArchives
from spotlightd.turns import Turns
from spotlightd.web.assets import Asset


@dataclass(frozen=True, slots=True)
class FlowState:
    """The state of one flow. `progress` is a sentence about long work, empty when there is none; `done` of `total` is the same
    in numbers, and `ends_at` the forecast of its end.
    """

    name: str
    state: str
    since: datetime
    restarts: int = 0
    error: str = ""
    progress: str = ""
    done: int = 0
    total: int = 0
    ends_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class EngineState:
    """The engine process. `sandbox` says what confines it, or why nothing does. `pid` 0: a separate server. `detached`:
    sentences about the tables that it did not load.
    """

    sandbox: str
    restarts: int = 0
    pid: int = 0
    detached: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DaemonState:
    """The daemon at one moment. `problems` are sentences about degraded parts: /readyz has them in its body.

    `confinement`: what confines each kind of child process that reads foreign bytes, empty before the first of its kind.
    """

    version: str
    started_at: datetime
    engine: EngineState
    flows: tuple[FlowState, ...] = ()
    ready: bool = True
    problems: tuple[str, ...] = ()
    feeds: tuple[FeedState, ...] = ()
    drains: tuple[DrainState, ...] = ()
    confinement: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ExplorerContext:
    """Everything that the pages read.

    `datasets` includes the system datasets and the frames of each of `streams`. `bus` and `positions` are None where no
    stream is configured. `audience` counts open live pages. `origins`: what leads from a row of a derived dataset to the rows that it was computed from. Ages and lateness are judged on `judged_on` (None: today). `notice` is a sentence at the top
    of every page, such as the demo's. `missing` is what is not configured yet. The four callables give the state of other parts as of now.
    """

    warehouse: Warehouse
    documents: Documents
    datasets: tuple[Dataset, ...]
    sources: tuple[Batch, ...]
    settings: serving.WebSettings
    state: Callable[[], DaemonState]
    excerpt: Excerpts
    judged_on: date | None = None
    notice: str = ""
    missing: tuple[Missing, ...] = ()
    streams: tuple[Stream, ...] = ()
    bus: Bus | None = None
    positions: Positions | None = None
    archives: Archives = NoArchives()
    archive: Callable[[], ArchiveState] = ArchiveState
    document_tiers: Callable[[], DocumentTiers] = DocumentTiers
    disks: Callable[[], DiskState] = lambda: DiskState(Watermarks())
    audience: Audience = field(default_factory=Audience)
    origins: Mapping[str, tuple[RowsOf, ...]] = field(default_factory=dict)

    @property
    def day(self) -> date:
        return self.judged_on or datetime.now(UTC).date()


@dataclass(frozen=True, slots=True)
class AppState:
    """The state of the application. `turns` bounds its concurrent queries, `line_turns` the documents that are read for
    one of their lines.
    """

    context: ExplorerContext
    assets: Mapping[str, Asset]
    templates: jinja2.Environment
    turns: Turns
    line_turns: Turns
    outage: Outage


@dataclass(frozen=True, slots=True)
class LeftOutRows:
    """The archived rows that a page leaves out, as a sentence. `is_lost`: objects are missing in the bucket."""

    detail: str
    is_lost: bool = False


APP_STATE = web.AppKey("app_state", AppState)
READER = web.RequestKey("reader", Reader)
KIND = web.RequestKey("kind", str)
"""The kind of page that takes turns with others. Set only where it is not that of the address."""
LEFT_OUT = web.RequestKey("left_out", LeftOutRows)
"""The rows that this page leaves out. Set only while archived rows cannot be read."""
