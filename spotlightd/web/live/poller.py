"""One poller for all live pages: while somebody listens it looks for what is new once a second, and tells it to each.

A listener has room for a few messages. One that does not take them is hung up on: it would else be queued for without
end, or hold up the others. Its browser connects again by itself.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from spotlightd.errors import StoreError
from spotlightd.log import logger
from spotlightd.model.dataset import Dataset
from spotlightd.ports.warehouse import Limits
from spotlightd.query.errors import HttpProblem
from spotlightd.query.reader import Reader
from spotlightd.web import feeds, formatting
from spotlightd.web.live import ticks
from spotlightd.web.live.ticks import Hole, LiveWindow, NewBars
from spotlightd.web.state import ExplorerContext

MOST_LISTENERS = 32
QUEUED = 4
PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 10.0
LIMITS = Limits(seconds=5)
AT_ONCE = 2


@dataclass(eq=False, slots=True)
class Listener:
    """One open page. `drop` ends its connection at once; a None in the queue ends it in order."""

    symbols: tuple[str, ...]
    drop: Callable[[], None]
    queue: asyncio.Queue[bytes | None] = field(default_factory=lambda: asyncio.Queue(QUEUED))
    greeted: bool = False


class LivePoller:
    """The poller and those who listen. `close` ends both. `state` is how feeds stand at a time, as part of a page."""

    def __init__(self, context: ExplorerContext, trades: Dataset, state: Callable[[datetime], str]) -> None:
        self._context = context
        self._state = state
        self._trades = trades
        self._listeners: set[Listener] = set()
        self._seen = LiveWindow()
        self._came = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()  # the one that runs, and those that are ending
        self._closed = False

    @property
    def looking(self) -> bool:
        """Whether a poller runs, or is ending."""
        return bool(self._tasks)

    @contextmanager
    def listening(self, symbols: Sequence[str], drop: Callable[[], None]) -> Iterator[Listener]:
        """Be told of those symbols while the block runs. HttpProblem(503) when too many listen already."""
        if self._closed or len(self._listeners) >= MOST_LISTENERS:
            raise HttpProblem(
                503, "Too many live pages are open.", "The page itself shows the newest state at each loading.",
                retry_after_seconds=30,
            )  # fmt: skip
        listener = Listener(tuple(symbols), drop)
        self._listeners.add(listener)
        self._came.set()
        if self._task is None:
            alone = contextvars.Context()  # what it says is not of the request that happened to come first
            self._task = asyncio.create_task(self._run(), name="live poller", context=alone)
            self._tasks.add(self._task)
            self._task.add_done_callback(self._ended)
        try:
            yield listener
        finally:
            self._gone(listener)

    def _gone(self, listener: Listener) -> None:
        self._listeners.discard(listener)
        if not self._listeners and self._task is not None:
            self._task.cancel()
            self._task = None

    async def close(self) -> None:
        """Let everybody go, and wait for the poller."""
        self._closed = True
        for listener in tuple(self._listeners):
            self._offer(listener, None)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Ended by a mistake of ours, it leaves nobody waiting: pages connect again, and that begins anew."""
        self._tasks.discard(task)
        if task.cancelled() or task.exception() is None:
            return
        self._task = None
        logger().error("request failed", path="/live/events", exc_info=task.exception())
        for listener in tuple(self._listeners):
            self._offer(listener, None)

    async def _run(self) -> None:
        self._seen, failures = LiveWindow(), 0
        while True:
            self._came.clear()
            failures = 0 if await self._look() else failures + 1
            pause = min(PAUSE_SECONDS * 2**failures, LONGEST_PAUSE_SECONDS)
            try:
                async with asyncio.timeout(pause * random.uniform(0.9, 1.1) if failures else pause):  # noqa: S311
                    await self._came.wait()
            except TimeoutError:
                continue

    async def _look(self) -> bool:
        """Look once, and tell everybody. False when the warehouse could not answer."""
        symbols = sorted({symbol for one in self._listeners for symbol in one.symbols})
        now, moves, trouble = datetime.now(UTC), dict[str, Any](), ""
        reader = Reader(
            self._context.warehouse, LIMITS, asyncio.Semaphore(AT_ONCE), LIMITS.seconds, self._context.archives
        )
        try:
            moves = dict(await ticks.look(reader, self._trades, self._seen, symbols, now))
        except (StoreError, HttpProblem) as problem:
            trouble = f"The warehouse cannot answer: {problem}"
        told, state = dict[tuple[tuple[str, ...], bool], bytes](), self._state(now)
        for one in tuple(self._listeners):
            kind = (one.symbols, one.greeted)
            if kind not in told:
                shown = moves if one.greeted else {s: list(self._seen.bars.get(s, {}).values()) for s in one.symbols}
                news = message(self._context, self._seen, one.symbols, shown, now, trouble)
                told[kind] = event(news | {"state": state}, whole=not one.greeted)
            one.greeted = one.greeted or not trouble
            self._offer(one, told[kind])
        return not trouble

    def _offer(self, listener: Listener, told: bytes | None) -> None:
        try:
            listener.queue.put_nowait(told)
        except asyncio.QueueFull:
            logger().info("request refused", path="/live/events", status=0, says="the reader is too slow")
            self._listeners.discard(listener)
            listener.drop()


def event(told: dict[str, Any], *, whole: bool) -> bytes:
    """One server-sent event: `whole` replaces what the page has, `moves` adds to it."""
    text = json.dumps(told, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return f"event: {'whole' if whole else 'moves'}\ndata: {text}\n\n".encode()


def message(
    context: ExplorerContext, seen: LiveWindow, symbols: Sequence[str], moves: NewBars, now: datetime, trouble: str = ""
) -> dict[str, Any]:
    """What a page is told of its symbols: bars that changed, values of now, feeds, gaps, and what is out of order."""
    state = context.state()
    holes = holes_of(seen, context)
    values = [ticks.value(seen, symbol, now) for symbol in symbols]
    titles = {one.name: one.title for one in context.streams}
    return {
        "at": now.timestamp(),
        "bars": {symbol: [bar.told for bar in moves[symbol]] for symbol in symbols if symbol in moves},
        "values": [[v.symbol, v.price, v.volume, round(v.rate, 2), v.age_seconds] for v in values],
        "spans": {symbol: spans(holes, symbol, context) for symbol in symbols},
        "gaps": [[formatting.instant(h.since), formatting.instant(h.until) if h.until else "", h.source, h.symbol, h.cause, h.says] for h in holes[: ticks.SHOWN_GAPS]],
        "feeds": [[f.now.source, f.now.state, f.tag, f.silent_seconds, f.now.says] for f in feeds.feeds(state, titles, now)],
        "trouble": trouble,
    }  # fmt: skip


def holes_of(seen: LiveWindow, context: ExplorerContext) -> list[Hole]:
    """Open gaps first, then the newest that are over."""
    return [*ticks.open_holes(context.state().feeds), *seen.holes]


def spans(holes: Sequence[Hole], symbol: str, context: ExplorerContext) -> list[list[float | None]]:
    """From and to in seconds since 1970 (to None: still open), of the gaps in which trades of it may be missing."""
    own = [one for one in holes if ticks.concern(one, symbol, context.state().feeds)]
    return [[one.since.timestamp(), one.until.timestamp() if one.until else None] for one in own]
