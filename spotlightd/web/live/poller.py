"""One poller for all live pages. While a page is open it reads what is new once a second and sends it to every page.

Each listener has a queue of a few messages. A listener that does not take them is disconnected: otherwise its queue
would grow without end, or it would delay the others. Its browser reconnects.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from spotlightd.backoff import Backoff
from spotlightd.errors import StoreError
from spotlightd.log import hide_known_secrets, logger
from spotlightd.model.dataset import Dataset
from spotlightd.ports.warehouse import Limits
from spotlightd.query.errors import HttpProblem
from spotlightd.query.reader import Reader
from spotlightd.turns import Turns
from spotlightd.web import feeds, formatting
from spotlightd.web.live import ticks
from spotlightd.web.live.ticks import LiveGap, LiveWindow, NewBars
from spotlightd.web.state import ExplorerContext

MOST_LISTENERS = 32
QUEUE_LENGTH = 4
PAUSE_SECONDS = 1.0
BACKOFF = Backoff(first=2.0, most=10.0, jitter=0.2)
LIMITS = Limits(seconds=5)
CONCURRENT_QUERIES = 2


@dataclass(eq=False, slots=True)
class Listener:
    """One open page. `drop` ends its connection at once; a None in the queue ends it after the messages before it.

    `is_current`: it has the whole window, so that changes are enough from now on.
    """

    symbols: tuple[str, ...]
    drop: Callable[[], None]
    queue: asyncio.Queue[bytes | None] = field(default_factory=lambda: asyncio.Queue(QUEUE_LENGTH))
    is_current: bool = False


class LivePoller:
    """The poller and its listeners; `close` ends both. `render_state` gives the HTML of feeds and drains at a time."""

    def __init__(self, context: ExplorerContext, trades: Dataset, render_state: Callable[[datetime], str]) -> None:
        self._context = context
        self._render_state = render_state
        self._trades = trades
        self._listeners: set[Listener] = set()
        self._window = LiveWindow()
        self._listener_added = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()  # the one that runs, and those that are ending
        self._is_closed = False

    @property
    def is_running(self) -> bool:
        """Whether a task runs or is ending."""
        return bool(self._tasks)

    @contextmanager
    def listen(self, symbols: Sequence[str], drop: Callable[[], None]) -> Iterator[Listener]:
        """Receive those symbols while the block runs. HttpProblem(503) when there are too many listeners."""
        if self._is_closed or len(self._listeners) >= MOST_LISTENERS:
            raise HttpProblem(
                503, "Too many live pages are open.", "The page shows the newest values each time it is loaded.",
                retry_after_seconds=30,
            )  # fmt: skip
        listener = Listener(tuple(symbols), drop)
        self._listeners.add(listener)
        self._listener_added.set()
        if self._task is None:
            self._start()
        try:
            with self._context.audience.join():
                yield listener
        finally:
            self._remove(listener)

    def _start(self) -> None:
        own_context = contextvars.Context()  # its log lines do not belong to the request that happened to start it
        self._task = asyncio.create_task(self._run(), name="live poller", context=own_context)
        self._tasks.add(self._task)
        self._task.add_done_callback(self._on_task_end)

    def _remove(self, listener: Listener) -> None:
        self._listeners.discard(listener)
        if not self._listeners and self._task is not None:
            self._task.cancel()
            self._task = None

    async def close(self) -> None:
        """Disconnect all listeners and wait for the poller."""
        self._is_closed = True
        for listener in tuple(self._listeners):
            self._send(listener, None)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _on_task_end(self, task: asyncio.Task[None]) -> None:
        """When a bug ended the task, disconnect all listeners: their pages reconnect, and that starts a new task."""
        self._tasks.discard(task)
        if task.cancelled() or task.exception() is None:
            return
        self._task = None
        logger().error("request failed", path="/live/events", exc_info=task.exception())
        for listener in tuple(self._listeners):
            self._send(listener, None)

    async def _run(self) -> None:
        self._window, failures = LiveWindow(), 0
        while True:
            self._listener_added.clear()
            failures = 0 if await self._poll() else failures + 1
            try:
                async with asyncio.timeout(BACKOFF.pause(failures) if failures else PAUSE_SECONDS):
                    await self._listener_added.wait()
            except TimeoutError:
                continue

    async def _poll(self) -> bool:
        """Read once and send to all listeners. False when the warehouse could not answer."""
        symbols = sorted({symbol for listener in self._listeners for symbol in listener.symbols})
        now, changed, error = datetime.now(UTC), dict[str, Any](), ""
        reader = Reader(
            self._context.warehouse, LIMITS, Turns(CONCURRENT_QUERIES), LIMITS.seconds, archives=self._context.archives
        )
        try:
            changed = dict(await ticks.read_new(reader, self._trades, self._window, symbols, now))
        except (StoreError, HttpProblem) as problem:
            error = f"The warehouse cannot answer: {problem}"
        self._send_all(changed, now, error)
        return not error

    def _send_all(self, changed: NewBars, now: datetime, error: str) -> None:
        """Pages that show the same symbols get the same bytes: they are made once."""
        events, state = dict[tuple[tuple[str, ...], bool], bytes](), self._render_state(now)
        for listener in tuple(self._listeners):
            kind = (listener.symbols, listener.is_current)
            if kind not in events:
                bars = changed if listener.is_current else self._window.all_bars()
                message = build_message(self._context, self._window, listener.symbols, bars, now, error)
                events[kind] = format_event(message | {"state": state}, is_update=listener.is_current)
            listener.is_current = listener.is_current or not error
            self._send(listener, events[kind])

    def _send(self, listener: Listener, event: bytes | None) -> None:
        try:
            listener.queue.put_nowait(event)
        except asyncio.QueueFull:
            logger().info("request refused", path="/live/events", status=0, detail="the client reads too slowly")
            self._listeners.discard(listener)
            listener.drop()


def format_event(message: dict[str, Any], *, is_update: bool) -> bytes:
    """One server-sent event: a `window` replaces what the page has, an `update` adds to it."""
    text = json.dumps(message, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return f"event: {'update' if is_update else 'window'}\ndata: {hide_known_secrets(text)}\n\n".encode()


def build_message(
    context: ExplorerContext, window: LiveWindow, symbols: Sequence[str], bars: NewBars, now: datetime, error: str = ""
) -> dict[str, Any]:
    """What a page gets about its symbols: bars, current values, feeds, gaps, and an error if there is one."""
    gaps = list_gaps(window, context)
    values = [ticks.current_value(window, symbol, now) for symbol in symbols]
    live_feeds = feeds.list_feeds(context.state(), feeds.stream_titles(context), now)
    return {
        "at": now.timestamp(),
        "bars": {symbol: [bar.as_json for bar in bars[symbol]] for symbol in symbols if symbol in bars},
        "values": [
            [value.symbol, value.price, value.volume, round(value.rate, 2), value.age_seconds] for value in values
        ],
        "spans": {symbol: gap_spans(gaps, symbol, context) for symbol in symbols},
        "gaps": [_gap_to_json(gap) for gap in gaps[: ticks.LISTED_GAPS]],
        "feeds": [
            [feed.now.source, feed.now.state, feed.tag, feed.silent_seconds, feed.now.detail] for feed in live_feeds
        ],
        "error": error,
    }


def _gap_to_json(gap: LiveGap) -> list[str | float | None]:
    until = formatting.format_instant(gap.until) if gap.until else ""
    return [formatting.format_instant(gap.since), until, gap.source, gap.symbol, gap.cause, gap.detail, gap.seconds]


def list_gaps(window: LiveWindow, context: ExplorerContext) -> list[LiveGap]:
    """Open gaps first, then the newest that are over."""
    return [*ticks.open_gaps(context.state().feeds), *window.gaps]


def gap_spans(gaps: Sequence[LiveGap], symbol: str, context: ExplorerContext) -> list[list[float | None]]:
    """(from, to) in seconds since 1970 of the gaps that concern the symbol; without an end while open: (from, None)."""
    feed_states = context.state().feeds
    own_gaps = [gap for gap in gaps if ticks.concerns(gap, symbol, feed_states)]
    return [[gap.since.timestamp(), gap.until.timestamp() if gap.until else None] for gap in own_gaps]
