"""Log events that are not in the table `logs` yet: a bounded queue, and counts of the events that were left out.

Any thread adds events; the flow `logs` takes them out. An event is left out when the queue is full, or when its kind has
reached its limit for this minute. A row of its own then says how many events of which kind were left out. So the rows
of events and the counts in the rows about left-out events add up to all events.
"""

from __future__ import annotations

import json
import math
import os
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any

from spotlightd.backoff import Clock

LEFT_OUT = "log events left out"
LEVELS = ("debug", "info", "warning", "error", "critical")
LONGEST_TEXT = 4_000
LONGEST_FIELDS = 16_000
MINUTE = 60.0
_HEAD_LETTERS = 1_000
_MAX_DEPTH = 4
_MOST_LOAD_ID = (1 << 64) - 1
_COLUMNS = frozenset({"event", "level", "timestamp", "flow", "source", "load_id", "run", "request"})
_UNSERIALIZABLE = (TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RuntimeError)

Row = tuple[Any, ...]
SEQ = 11
"""The index of the sequence number in a row, which is in the column order of `logs`."""


@dataclass(slots=True)
class _LeftOut:
    """Events of one kind that were left out since the last row about them."""

    level: str
    since: datetime
    until: datetime
    started: float
    count: int = 0


@dataclass(slots=True)
class _Minute:
    """How many events of one kind were queued since the minute started."""

    started: float
    events: int = 0


@dataclass(slots=True)
class LogBuffer:
    """The queue. It holds at most `max_rows`, and takes at most `max_per_minute` events of one kind."""

    max_rows: int
    max_per_minute: int
    clock: Clock = field(default_factory=Clock)
    left_out: int = 0
    _rows: deque[Row] = field(default_factory=deque)
    _minutes: dict[str, _Minute] = field(default_factory=dict)
    _left_out: dict[str, _LeftOut] = field(default_factory=dict)
    _seq: int = 0
    _started_at: datetime = field(init=False)
    # A garbage collection may log something in the middle of `add`, in the same thread: hence a reentrant lock.
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self._started_at = self.clock.utc()

    @property
    def size(self) -> int:
        return len(self._rows)

    @property
    def started_at(self) -> datetime:
        return self._started_at

    def add(self, event: Mapping[str, Any]) -> None:
        """Queue an event, or count it as left out. It waits only for another `add`, and never fails."""
        with self._lock:
            self._seq += 1
            at, name, level = self.clock.utc(), str(event.get("event", "")), str(event.get("level", "info"))
            if not self._reserve(name):
                self._leave_out(name, level, at)
                return
            try:
                self._rows.append(self._row(at, level, name, event))
            except _UNSERIALIZABLE:
                self._leave_out(name, level, at)

    def peek(self, most: int, *, at_end: bool = False) -> list[Row]:
        """The oldest rows, which stay until `remove`. A row about left-out events is added a minute after the first of
        them if there is room, and without either condition `at_end`.
        """
        with self._lock:
            for name in [name for name, left_out in self._left_out.items() if at_end or self._is_due(left_out)]:
                if len(self._rows) >= self.max_rows and not at_end:
                    break
                self._seq += 1
                self._rows.append(self._left_out_row(name, self._left_out.pop(name)))
            return list(islice(self._rows, most))

    def remove(self, rows: int) -> None:
        """Remove so many of the oldest rows: they are in the table."""
        with self._lock:
            for _ in range(rows):
                self._rows.popleft()

    def _reserve(self, name: str) -> bool:
        now = self.clock.now()
        minute = self._minutes.setdefault(name, _Minute(now))
        if now - minute.started >= MINUTE:
            minute.started, minute.events = now, 0
        if minute.events >= self.max_per_minute or len(self._rows) >= self.max_rows:
            return False
        minute.events += 1
        return True

    def _leave_out(self, name: str, level: str, at: datetime) -> None:
        left_out = self._left_out.setdefault(name, _LeftOut(level, at, at, self.clock.now()))
        left_out.level, left_out.until = max(left_out.level, level, key=severity), at
        left_out.count += 1
        self.left_out += 1

    def _is_due(self, left_out: _LeftOut) -> bool:
        return self.clock.now() - left_out.started >= MINUTE

    def _left_out_row(self, name: str, left_out: _LeftOut) -> Row:
        event = {
            "event": LEFT_OUT, "of": name, "events": left_out.count, "since": left_out.since.isoformat(),
            "until": left_out.until.isoformat(),
        }  # fmt: skip
        return self._row(self.clock.utc(), left_out.level, LEFT_OUT, event)

    def _row(self, at: datetime, level: str, name: str, event: Mapping[str, Any]) -> Row:
        """In the column order of `logs`."""
        load = event.get("load_id")
        load_id = load if isinstance(load, int) and 0 <= load <= _MOST_LOAD_ID else 0
        fields = {key: _to_json_value(value, _MAX_DEPTH) for key, value in event.items() if key not in _COLUMNS}
        texts = [_text(str(event.get(key) or "")) for key in ("flow", "source", "run", "request")]
        flow, source, run, request = texts
        text = json.dumps(fields, ensure_ascii=False)
        if len(text) > LONGEST_FIELDS:
            text = json.dumps({"cut": _text(text)}, ensure_ascii=False)
        return (
            at, level, name, flow, source, load_id, run, request, text, os.getpid(), self._started_at, self._seq,
        )  # fmt: skip


def severity(level: str) -> int:
    return LEVELS.index(level) if level in LEVELS else 1


def _to_json_value(value: Any, depth: int) -> Any:
    """The value as JSON can represent it, with every text short enough."""
    if isinstance(value, bool | int | None):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if depth and isinstance(value, dict):
        return {_text(str(key)): _to_json_value(item, depth - 1) for key, item in value.items()}
    if depth and isinstance(value, list | tuple):
        return [_to_json_value(item, depth - 1) for item in value]
    return _text(value if isinstance(value, str) else str(value))


def _text(text: str) -> str:
    """Valid UTF-8 text, cut in the middle: the important part of an address is its beginning, that of a trace its end."""
    if len(text) > LONGEST_TEXT:
        text = f"{text[:_HEAD_LETTERS]} … {text[_HEAD_LETTERS - LONGEST_TEXT :]}"
    return text.encode("utf-8", "replace").decode()
