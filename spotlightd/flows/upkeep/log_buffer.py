"""What was said and is not in the table `logs` yet: a bounded queue, and counts of what found no room in it.

It is filled by whoever says something, in any thread, and emptied by the flow `logs`. An event is left out when there is
no room, or when as many of its kind were kept in this minute as are allowed; then a row of its own says how many and
which. So rows that were said, and the counts in the rows about what was left out, add up to all that was said.
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

from spotlightd.flows.supervise import Clock

LEFT_OUT = "log events left out"
LEVELS = ("debug", "info", "warning", "error", "critical")
LONGEST_TEXT = 4_000
LONGEST_FIELDS = 16_000
MINUTE = 60.0
_BEGINNING = 1_000
_DEEPEST = 4
_MOST_LOAD_ID = (1 << 64) - 1
_OWN = frozenset({"event", "level", "timestamp", "flow", "source", "load_id", "run", "request"})
_UNTELLABLE = (TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RuntimeError)

Row = tuple[Any, ...]
SEQ = 11
"""Where the sequence number stands in a row, which is in the column order of `logs`."""


@dataclass(slots=True)
class _LeftOut:
    """Events of one kind that were left out since its last row about that."""

    level: str
    since: datetime
    until: datetime
    began: float
    count: int = 0


@dataclass(slots=True)
class _Minute:
    """How many events of one kind were kept since the minute began."""

    began: float
    kept: int = 0


@dataclass(slots=True)
class LogBuffer:
    """The queue. `waiting_most` rows wait in it, `minute_most` of one kind come in within a minute."""

    waiting_most: int
    minute_most: int
    clock: Clock = field(default_factory=Clock)
    left_out: int = 0
    _rows: deque[Row] = field(default_factory=deque)
    _minutes: dict[str, _Minute] = field(default_factory=dict)
    _missing: dict[str, _LeftOut] = field(default_factory=dict)
    _seq: int = 0
    _began: datetime = field(init=False)
    # A collection of garbage may say something in the middle of `take`, in the same thread: hence one that lets it in.
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self._began = self.clock.now()

    @property
    def waiting(self) -> int:
        return len(self._rows)

    @property
    def began(self) -> datetime:
        return self._began

    def take(self, event: Mapping[str, Any]) -> None:
        """Keep an event or count it. Never waits for anything but another `take`, and never fails."""
        with self._lock:
            self._seq += 1
            at, name, level = self.clock.now(), str(event.get("event", "")), str(event.get("level", "info"))
            if not self._allowed(name):
                self._leave_out(name, level, at)
                return
            try:
                self._rows.append(self._row(at, level, name, event))
            except _UNTELLABLE:
                self._leave_out(name, level, at)

    def first(self, most: int, *, whole: bool = False) -> list[Row]:
        """The oldest rows, which stay until they are `written`. Rows about what was left out come a minute after its
        first, or at once when this is to be the `whole` of it; and only when there is room, else they wait and count.
        """
        with self._lock:
            for name in [one for one, missing in self._missing.items() if whole or self._is_due(missing)]:
                if len(self._rows) >= self.waiting_most and not whole:
                    break
                self._seq += 1
                self._rows.append(self._counted(name, self._missing.pop(name)))
            return list(islice(self._rows, most))

    def written(self, rows: int) -> None:
        """So many of the oldest rows are in the table."""
        with self._lock:
            for _ in range(rows):
                self._rows.popleft()

    def _allowed(self, name: str) -> bool:
        now = self.clock.seconds()
        minute = self._minutes.setdefault(name, _Minute(now))
        if now - minute.began >= MINUTE:
            minute.began, minute.kept = now, 0
        if minute.kept >= self.minute_most or len(self._rows) >= self.waiting_most:
            return False
        minute.kept += 1
        return True

    def _leave_out(self, name: str, level: str, at: datetime) -> None:
        missing = self._missing.setdefault(name, _LeftOut(level, at, at, self.clock.seconds()))
        missing.level, missing.until = max(missing.level, level, key=severity), at
        missing.count += 1
        self.left_out += 1

    def _is_due(self, missing: _LeftOut) -> bool:
        return self.clock.seconds() - missing.began >= MINUTE

    def _counted(self, name: str, missing: _LeftOut) -> Row:
        told = {
            "event": LEFT_OUT, "of": name, "events": missing.count, "since": missing.since.isoformat(),
            "until": missing.until.isoformat(),
        }  # fmt: skip
        return self._row(self.clock.now(), missing.level, LEFT_OUT, told)

    def _row(self, at: datetime, level: str, name: str, event: Mapping[str, Any]) -> Row:
        """In the column order of `logs`."""
        load = event.get("load_id")
        known = load if isinstance(load, int) and 0 <= load <= _MOST_LOAD_ID else 0
        fields = {key: _plain(one, _DEEPEST) for key, one in event.items() if key not in _OWN}
        texts = [_text(str(event.get(key) or "")) for key in ("flow", "source", "run", "request")]
        flow, source, run, request = texts
        written = json.dumps(fields, ensure_ascii=False)
        if len(written) > LONGEST_FIELDS:
            written = json.dumps({"cut": _text(written)}, ensure_ascii=False)
        return (
            at, level, name, flow, source, known, run, request, written, os.getpid(), self._began, self._seq,
        )  # fmt: skip


def severity(level: str) -> int:
    return LEVELS.index(level) if level in LEVELS else 1


def _plain(value: Any, deep: int) -> Any:
    """The value as JSON can hold it, every text short enough."""
    if isinstance(value, bool | int | None):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if deep and isinstance(value, dict):
        return {_text(str(key)): _plain(one, deep - 1) for key, one in value.items()}
    if deep and isinstance(value, list | tuple):
        return [_plain(one, deep - 1) for one in value]
    return _text(value if isinstance(value, str) else str(value))


def _text(text: str) -> str:
    """Text that UTF-8 can hold, cut in the middle: an address begins with what matters, a trace ends with it."""
    if len(text) > LONGEST_TEXT:
        text = f"{text[:_BEGINNING]} … {text[_BEGINNING - LONGEST_TEXT :]}"
    return text.encode("utf-8", "replace").decode()
