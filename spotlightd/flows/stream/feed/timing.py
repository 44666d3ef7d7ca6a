"""How long a listener waits, and when it may connect again, so that it never floods a venue with connections."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from spotlightd.backoff import Backoff, Clock
from spotlightd.model.stream import FeedError
from spotlightd.settings import sources

RETRY_AFTER_MOST_SECONDS = 3_600.0


@dataclass(frozen=True, slots=True)
class ListenerTiming:
    """How long a listener waits for its venue and for our own stores; in seconds, except `connects`.

    check         longest time between two looks at the clock while nothing arrives
    beat          between two heartbeats; a try to connect must not take twice as long
    steady        a connection that lasted this long resets the back-off
    after_frames  longest pause after a connection that delivered frames: a venue that hangs up often must not cost a
                  minute of frames each time
    connects      most connections that are begun in any `window`
    shed          once the spool was full, frames are shed for this long: else every other frame would be a gap of its
                  own
    grace         how long a missing number may still arrive out of order
    refill        longest wait for a venue's answer to a refill
    ledger_wait   longest wait for the ledger, when connected again and when stopped
    ask           pause before a symbol that the venue refused is asked for again; it doubles up to `ask_most`
    answer        a symbol that is not refused for so long after it was asked for is accepted
    asleep        longest time between two looks at the clock; beyond it the machine slept, or the process was stopped
    awake         how long a connection that is stale by the time asleep may still deliver what waits for us
    """

    check: float = 1.0
    beat: float = 10.0
    steady: float = 60.0
    after_frames: float = 8.0
    connects: int = 10
    window: float = 60.0
    shed: float = 1.0
    grace: float = 1.0
    refill: float = 30.0
    ledger_wait: float = 5.0
    ask: float = 30.0
    ask_most: float = 3_600.0
    answer: float = 30.0
    asleep: float = 10.0
    awake: float = 5.0


class ReconnectBackoff:
    """The pauses of one feed between its connections: doubling with jitter, and a limit on connections per window."""

    def __init__(self, timing: ListenerTiming, limits: sources.StreamsSettings, clock: Clock) -> None:
        self._timing = timing
        self._limits = limits
        self._clock = clock
        self._started: deque[float] = deque(maxlen=timing.connects)
        self._failures = 0

    def start_connection(self) -> None:
        """A connection is being tried now."""
        self._started.append(self._clock.now())

    def pause(self, problem: FeedError, *, lasted: float, frames: int) -> float:
        """Seconds until the next try, after a connection that lasted so long, delivered so many frames and ended so.

        A refusal makes the pause long only when the connection ended soon: one that lasted did not end because of it.
        """
        is_steady = lasted >= self._timing.steady
        self._failures = 1 if is_steady else self._failures + 1
        most = self._limits.backoff_most_seconds
        if problem.cause == "refused by the venue" and not is_steady:
            backoff = Backoff(most, most)
        else:
            backoff = Backoff(self._limits.backoff_seconds, min(self._timing.after_frames, most) if frames else most)
        retry_after = min(problem.retry_after_seconds or 0.0, RETRY_AFTER_MOST_SECONDS)
        return max(backoff.pause(self._failures, self._clock.chance), retry_after, self._window_pause())

    def _window_pause(self) -> float:
        """Seconds until one more connection may be begun in the window."""
        if len(self._started) < self._timing.connects:
            return 0.0
        return self._started[0] + self._timing.window - self._clock.now()
