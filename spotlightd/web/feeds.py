"""Feeds and drains for the pages that show them: the daemon's own states, read at one moment, with ages."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from spotlightd.model.offsets import DrainState, FeedState, OpenGap
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

    @property
    def refused(self) -> list[OpenGap]:
        """The symbols that the venue refuses while it sends the others."""
        return [gap for gap in self.now.open_gaps if gap.symbol]

    @property
    def clock_text(self) -> str:
        """By how much the venue's clock is off, in words; empty until it is known."""
        seconds = self.now.clock_offset_seconds
        if seconds is None:
            return ""
        if seconds > 0:
            return f"The venue's clock is {seconds:,.1f} s ahead of this machine's."
        return f"The venue's clock is {-seconds:,.1f} s behind this machine's, or its trades come so late."


@dataclass(frozen=True, slots=True)
class Drain:
    """The drain of one partition, and how many seconds ago its last batch was (None: none yet)."""

    now: DrainState
    idle_seconds: float | None

    @property
    def lag_frames(self) -> int:
        return max(self.now.end - self.now.offset, 0)


def list_feeds(state: DaemonState, titles: dict[str, str], now: datetime | None = None) -> list[Feed]:
    now = now or datetime.now(UTC)
    return [
        Feed(feed, _seconds_since(feed.last_frame_at, now), titles.get(feed.source, feed.source))
        for feed in state.feeds
    ]


def list_drains(state: DaemonState, now: datetime | None = None) -> list[Drain]:
    now = now or datetime.now(UTC)
    return [Drain(drain, _seconds_since(drain.last_batch_at, now)) for drain in state.drains]


def stream_titles(context: ExplorerContext) -> dict[str, str]:
    return {stream.name: stream.title for stream in context.streams}


def feed_values(context: ExplorerContext, now: datetime) -> dict[str, Any]:
    """The values of the template feeds.html."""
    state = context.state()
    return {"feeds": list_feeds(state, stream_titles(context), now), "drains": list_drains(state, now), "now": now}


def _seconds_since(then: datetime | None, now: datetime) -> float | None:
    return max((now - then).total_seconds(), 0.0) if then else None


def feeds_to_json(feeds: list[Feed]) -> list[dict[str, Any]]:
    return [{**asdict(feed.now), "silent_seconds": feed.silent_seconds} for feed in feeds]


def drains_to_json(drains: list[Drain]) -> list[dict[str, Any]]:
    return [
        {**asdict(drain.now), "lag_frames": drain.lag_frames, "idle_seconds": drain.idle_seconds} for drain in drains
    ]
