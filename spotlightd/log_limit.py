"""The same complaint is printed once a second at most, and a line says how many were left out.

Some events happen as often as somebody outside wants: refused requests, or what a library says about each of them. An
attack once printed 334,540 lines in two minutes. The table `logs` gets all events and has a limit of its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

LIMITED: Mapping[str, tuple[str, ...]] = {
    "library warned": ("library", "level"),
    "request refused": ("status",),
    "request failed": (),
    "page served without archive": (),
}
"""The events that are limited, each with the fields that tell one complaint from another."""

LEFT_OUT = "log events left out"
LIMIT_SECONDS = 1.0

Event = Mapping[str, Any]
Render = Callable[[Any, str, Any], str]
Key = tuple[str, ...]


@dataclass(slots=True)
class _Complaint:
    """A complaint that was printed, and how often it was left out since."""

    printed_at: float
    left_out: int = 0


@dataclass(slots=True)
class LimitedRenderer:
    """The last processor of the log. `drop` is the exception that it raises for an event that is left out.

    The number of events that were left out is printed with the next line of the log, whatever that is about.
    """

    render: Render
    drop: type[BaseException]
    now: Callable[[], float] = time.monotonic
    _complaints: dict[Key, _Complaint] = field(default_factory=dict)
    # A garbage collection may log something in the middle of a line, in the same thread: hence a reentrant lock.
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def __call__(self, logger: Any, method: str, event: Any) -> str:
        with self._lock:
            notices = self._end_seconds(event)
            events = [*notices, event] if self._is_due(event) else notices
        if not events:
            raise self.drop
        return "\n".join(self.render(logger, method, printed) for printed in events)

    def _is_due(self, event: Event) -> bool:
        fields = LIMITED.get(event["event"])
        if fields is None:
            return True
        key = (event["event"], *(str(event.get(name, "")) for name in fields))
        if (complaint := self._complaints.get(key)) is not None:
            complaint.left_out += 1
            return False
        self._complaints[key] = _Complaint(self.now())
        return True

    def _end_seconds(self, event: Event) -> list[dict[str, Any]]:
        """Forget the complaints whose second is over; events about those that were left out meanwhile."""
        until = self.now() - LIMIT_SECONDS
        ended = [key for key, complaint in self._complaints.items() if complaint.printed_at <= until]
        counts = [(key, self._complaints.pop(key).left_out) for key in ended]
        times = {"timestamp": event["timestamp"]} if "timestamp" in event else {}
        return [
            {"event": LEFT_OUT, "level": "info", "of": " ".join(key), "events": count, **times}
            for key, count in counts
            if count
        ]
