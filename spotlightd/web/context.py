"""What the pages are given by whoever starts them: ports, declarations and a snapshot of the daemon. No client, no flow."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime

from spotlightd.model import settings
from spotlightd.model.bus import Bus
from spotlightd.model.cold import Archives, NoArchives
from spotlightd.model.dataset import Dataset
from spotlightd.model.disk import DiskState, Watermarks
from spotlightd.model.drain import DrainState, FeedState, Positions
from spotlightd.model.keeping import Keeping
from spotlightd.model.partition import ArchiveState
from spotlightd.model.ports import Documents, Warehouse
from spotlightd.model.source import Batch
from spotlightd.model.stream import Stream


@dataclass(frozen=True, slots=True)
class FlowState:
    """Where one flow stands. `progress` is a sentence about long work, empty when there is none."""

    name: str
    state: str
    since: datetime
    restarts: int = 0
    error: str = ""
    progress: str = ""


@dataclass(frozen=True, slots=True)
class EngineState:
    """The engine child. `sandbox` is a sentence: what confines it, or why nothing does. `pid` 0: a server elsewhere."""

    sandbox: str
    restarts: int = 0
    pid: int = 0


@dataclass(frozen=True, slots=True)
class State:
    """A snapshot of the daemon. `problems` are sentences; while there are any, /readyz answers 503 with them."""

    version: str
    started_at: datetime
    engine: EngineState
    flows: tuple[FlowState, ...] = ()
    ready: bool = True
    problems: tuple[str, ...] = ()
    feeds: tuple[FeedState, ...] = ()
    drains: tuple[DrainState, ...] = ()


@dataclass(frozen=True, slots=True)
class ExcerptLine:
    """One line of a document, without its line end; at most some thousand characters of it."""

    number: int
    text: str


@dataclass(frozen=True, slots=True)
class Excerpt:
    """The surroundings of a line. `name` is the member's name inside an archive, empty when the document is none."""

    name: str
    lines: tuple[ExcerptLine, ...]


Excerpts = Callable[[str, int, int, int], Awaitable[Excerpt]]
"""(digest, member, line, around) → the lines from line-around to line+around. Reads untrusted archives, so it runs
in a limited process. FormatError: there is no such place, or the document cannot be read. StoreError: no document."""


@dataclass(frozen=True, slots=True)
class Context:
    """Everything the explorer knows of the world.

    `datasets` includes the house's own records and the frames of each of `streams`. `bus` and `positions` are None where
    no stream is listened to. `judged_on` is the day by which age and lateness are told (None:
    today). `notice` is a sentence shown on top of every page, such as the demo's.
    """

    warehouse: Warehouse
    documents: Documents
    datasets: tuple[Dataset, ...]
    sources: tuple[Batch, ...]
    settings: settings.Web
    state: Callable[[], State]
    excerpt: Excerpts
    judged_on: date | None = None
    notice: str = ""
    streams: tuple[Stream, ...] = ()
    bus: Bus | None = None
    positions: Positions | None = None
    archives: Archives = NoArchives()
    archive: Callable[[], ArchiveState] = ArchiveState
    keeping: Callable[[], Keeping] = Keeping
    disks: Callable[[], DiskState] = lambda: DiskState(Watermarks())

    @property
    def day(self) -> date:
        return self.judged_on or datetime.now(UTC).date()
