"""How streams stand, for the pages that tell it: the daemon's own states, read at one moment, with ages."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from spotlightd.model.offsets import DrainState, FeedState
from spotlightd.web.state import DaemonState, ExplorerContext

TAGS = {"connected": "green", "connecting": "amber", "waiting": "amber", "refused": "red"}


@dataclass(frozen=True, slots=True)
class Feed:
    """A listener: its state, and how many seconds ago its last frame came (None: none yet)."""

    now: FeedState
    silent_seconds: float | None
    title: str = ""

    @property
    def tag(self) -> str:
        """The colour of its state."""
        return TAGS.get(self.now.state, "")


@dataclass(frozen=True, slots=True)
class Drain:
    now: DrainState
    idle_seconds: float | None

    @property
    def lag_frames(self) -> int:
        return max(self.now.end - self.now.offset, 0)


def feeds(state: DaemonState, titles: dict[str, str], at: datetime | None = None) -> list[Feed]:
    at = at or datetime.now(UTC)
    return [Feed(one, _since(one.last_frame_at, at), titles.get(one.source, one.source)) for one in state.feeds]


def drains(state: DaemonState, at: datetime | None = None) -> list[Drain]:
    at = at or datetime.now(UTC)
    return [Drain(one, _since(one.last_batch_at, at)) for one in state.drains]


def shown(context: ExplorerContext, at: datetime) -> dict[str, Any]:
    """What the template feeds.html shows."""
    state = context.state()
    titles = {one.name: one.title for one in context.streams}
    return {"feeds": feeds(state, titles, at), "drains": drains(state, at), "now": at}


def _since(then: datetime | None, at: datetime) -> float | None:
    return max((at - then).total_seconds(), 0.0) if then else None


def feeds_told(found: list[Feed]) -> list[dict[str, Any]]:
    """For JSON."""
    return [{**asdict(one.now), "silent_seconds": one.silent_seconds} for one in found]


def drains_told(found: list[Drain]) -> list[dict[str, Any]]:
    return [{**asdict(one.now), "lag_frames": one.lag_frames, "idle_seconds": one.idle_seconds} for one in found]
