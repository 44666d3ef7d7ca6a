"""The symbols that a venue refuses while it sends the others. Each is a gap of its own, and is asked for again.

A refusal of one symbol says nothing about the connection: it stays open, and when it ends, the next one is opened as
after any end. The pause before a symbol is asked for again grows with each refusal, also over connections. A symbol that
is not refused within `timing.answer` seconds of asking counts as accepted, because venues confirm nothing.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from spotlightd.backoff import Backoff, Clock
from spotlightd.flows.stream.feed.outages import Moment, Outage
from spotlightd.flows.stream.feed.timing import ListenerTiming
from spotlightd.flows.stream.gaps import GapJournal, to_datetime, to_nanoseconds
from spotlightd.log import logger
from spotlightd.model.offsets import Gap, OpenGap

LISTED_SYMBOLS = 5


@dataclass(slots=True)
class Refusal:
    """A symbol that is refused since `outage` began. It is asked for again at `ask_at`; infinite while an answer is due."""

    outage: Outage
    ask_at: float
    requested: Moment | None = None


class Refusals:
    """The refused symbols of one feed."""

    def __init__(self, source: str, journal: GapJournal, timing: ListenerTiming, clock: Clock) -> None:
        self._source, self._journal, self._timing, self._clock = source, journal, timing, clock
        self._refused: dict[str, Refusal] = {}
        self._failures: dict[str, int] = {}  # bounded by the symbols of the feed
        self._subscribed, self._handshake = Moment(0, -math.inf), 0.0

    def start_from_ledger(self, refused: Mapping[str, datetime], at: Moment) -> None:
        """What a killed process could not record: these symbols were refused from those times on, until then at the most."""
        for symbol, since in refused.items():
            detail = "refused when the daemon ended unexpectedly"
            self._refused[symbol] = Refusal(Outage(to_nanoseconds(since), "refused by the venue", detail), math.inf)
        self.end_all(at)

    def start_connection(self, at: Moment, handshake: float) -> None:
        """All symbols are asked for at that moment. A message may take as long to the venue as the handshake took."""
        self._subscribed, self._handshake = at, handshake

    def refuse(self, symbols: Collection[str], detail: str, at: Moment) -> None:
        """The venue refused these symbols in a frame received at that moment."""
        for symbol in symbols:
            self._failures[symbol] = self._failures.get(symbol, 0) + 1
            pause = Backoff(self._timing.ask, self._timing.ask_most).pause(self._failures[symbol], self._clock.chance)
            known = self._refused.get(symbol)
            if known is not None:
                known.ask_at, known.requested, known.outage.detail = at.now + pause, None, detail
                known.outage.count += 1
                continue
            is_answer = at.now - self._subscribed.now <= self._timing.answer
            since = self._subscribed if is_answer else at
            outage = Outage(since.wall, "refused by the venue", detail, since.now)
            self._refused[symbol] = Refusal(outage, at.now + pause)
            self._journal.add_refusal(symbol, to_datetime(since.wall))
            logger(source=self._source).warning("symbol refused", symbol=symbol, detail=detail)

    def take_due(self, at: Moment) -> list[str]:
        """The symbols to ask for again at that moment. Those that were accepted since they were asked for are over."""
        for symbol, refusal in tuple(self._refused.items()):
            if refusal.requested is not None and at.now - refusal.requested.now >= self._timing.answer:
                wall, now = refusal.requested
                self._end(symbol, Moment(wall + int(self._handshake * 1e9), now + self._handshake))
                self._failures.pop(symbol, None)
        due = [symbol for symbol, refusal in self._refused.items() if refusal.ask_at <= at.now]
        for symbol in due:
            self._refused[symbol].ask_at, self._refused[symbol].requested = math.inf, at
        return due

    def end_all(self, at: Moment) -> None:
        """The connection ended. What follows is a gap of all symbols, or the end of the process."""
        for symbol in tuple(self._refused):
            self._end(symbol, at)

    def open_gaps(self) -> Iterator[OpenGap]:
        """The gaps that each refused symbol is in."""
        for symbol, refusal in self._refused.items():
            yield OpenGap(to_datetime(refusal.outage.since), refusal.outage.cause, symbol, refusal.outage.detail)

    def describe(self) -> str:
        """The refused symbols in a sentence, with what the venue said of the first; empty when there are none."""
        if not self._refused:
            return ""
        symbols = list(self._refused)
        more = f" and {len(symbols) - LISTED_SYMBOLS} more" if len(symbols) > LISTED_SYMBOLS else ""
        detail = self._refused[symbols[0]].outage.detail
        return (
            f"refused by the venue: {', '.join(symbols[:LISTED_SYMBOLS])}{more} ({detail}); asked for again with pauses"
        )

    def _end(self, symbol: str, at: Moment) -> None:
        outage = self._refused.pop(symbol).outage
        since, until = outage.span(at.wall, at.now)
        tries = f"; refused {outage.count:,} more times" if outage.count else ""
        gap = Gap(
            self._source, to_datetime(since), to_datetime(until + 999), outage.cause, symbol, f"{outage.detail}{tries}"
        )  # fmt: skip
        self._journal.add_gap(gap)
        self._journal.add_refusal(symbol, None)
