"""`/topics`: what waits on the bus, how far it is drained, and the newest messages of a topic, paging back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web

from spotlightd.errors import OffsetError, StoreError
from spotlightd.model.bus import KEY, STRANGER, Ends, Records, mark
from spotlightd.model.offsets import Epoch, Position
from spotlightd.model.stream import Stream
from spotlightd.ports.bus import Bus
from spotlightd.query.errors import bad, missing
from spotlightd.web import responses
from spotlightd.web.pages import frame as frames
from spotlightd.web.pages.frame import Readable, readable
from spotlightd.web.state import APP_STATE, ExplorerContext

BUS_SECONDS = 5.0
MESSAGES = 20
_MOST_OFFSET = (1 << 63) - 1
_NO_BUS = "No bus is open here: no stream is listened to."


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition: offsets from `start` up to `end`. `drained`, `lag` (messages) and `lag_seconds` (age of the oldest
    that is not drained) are None when they are not known.
    """

    number: int
    start: int
    end: int
    drained: int | None = None
    lag: int | None = None
    lag_seconds: float | None = None

    @property
    def kept(self) -> int:
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Standing:
    """One topic. `trouble` is the sentence why nothing more is known of it, or what is wrong with it."""

    name: str
    title: str
    log_id: str = ""
    epoch: int | None = None
    partitions: tuple[Partition, ...] = ()
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """One record. `connection` 0: no listener of ours wrote it. `frame` is the page of its kept copy, once drained."""

    offset: int
    received: datetime | None
    age_seconds: float | None
    connection: int
    sequence: int
    body: Readable
    frame: str = ""


async def show_topics(request: web.Request) -> web.StreamResponse:
    context = request.app[APP_STATE].context
    found = [await _standing(context, one) for one in context.streams]
    trouble = _NO_BUS if context.bus is None else ""
    if request.path.endswith(".json"):
        return responses.document(request, {"topics": [_told(one) for one in found], "trouble": trouble})
    return responses.page(request, "topics.html", {"topics": found, "trouble": trouble})


def _told(one: Standing) -> dict[str, Any]:
    return {**asdict(one), "partitions": [{**asdict(part), "kept": part.kept} for part in one.partitions]}


async def _standing(context: ExplorerContext, stream: Stream) -> Standing:
    """How a topic stands, or why that cannot be told: trouble with one hides no other."""
    if context.bus is None:
        return Standing(stream.name, stream.title, trouble=_NO_BUS)
    try:
        async with asyncio.timeout(BUS_SECONDS):
            return await _asked(context, context.bus, stream)
    except (StoreError, TimeoutError) as problem:
        return Standing(stream.name, stream.title, trouble=_sentence(problem))


def _sentence(problem: BaseException) -> str:
    says = str(problem) or f"no answer within {BUS_SECONDS:.0f} s"
    return f"The bus cannot answer: {says}"


async def _asked(context: ExplorerContext, bus: Bus, stream: Stream) -> Standing:
    log_id, ends = await bus.log_id(stream.name), await bus.ends(stream.name)
    epoch, drained = await _drained(context, stream.name)
    parts = [await _partition(bus, stream.name, one, ends[one], drained.get(one)) for one in sorted(ends)]
    other = epoch is not None and log_id not in ("", epoch.log_id)
    trouble = "This log is another one than was drained so far: a new epoch is about to begin." if other else ""
    return Standing(stream.name, stream.title, log_id, epoch.number if epoch else None, tuple(parts), trouble)


async def _drained(context: ExplorerContext, source: str) -> tuple[Epoch | None, dict[int, Position]]:
    if context.positions is None:
        return None, {}
    return await context.positions.epoch(source), dict(await context.positions.positions(source))


async def _partition(bus: Bus, topic: str, number: int, ends: Ends, at: Position | None) -> Partition:
    if at is None:
        return Partition(number, ends.start, ends.end)
    waiting = ends.end - max(at.offset, ends.start)
    if waiting <= 0:
        return Partition(number, ends.start, ends.end, at.offset, 0, 0.0)
    try:
        oldest = await bus.peek(topic, number, max(at.offset, ends.start), most=1)
    except OffsetError:  # trimmed meanwhile
        oldest = Records((), b"", ())
    seconds = _message(topic, oldest, 0, None).age_seconds if len(oldest) else None
    return Partition(number, ends.start, ends.end, at.offset, waiting, seconds)


async def show_topic(request: web.Request) -> web.StreamResponse:
    """Messages below `before`, or the newest: the newest first."""
    name, wants_json = request.match_info["name"], request.path.endswith(".json")
    context = request.app[APP_STATE].context
    stream = next((one for one in context.streams if one.name == name), None)
    if stream is None:
        known = ", ".join(one.name for one in context.streams) or "none"
        raise missing(f"There is no topic {name!r}.", f"The streams that are set up here: {known}.")
    if unknown := [one for one in request.query if one not in ("partition", "before")]:
        raise bad(unknown[0], "there is no such parameter", "Use partition= and before=.")
    number, before = _number(request, "partition", 65_535), _number(request, "before", _MOST_OFFSET)
    standing, messages = await _standing(context, stream), tuple[Message, ...]()
    part = next((one for one in standing.partitions if one.number == (number or 0)), None)
    if part is None and standing.partitions:
        raise missing(f"{name} has no partition {number}.", f"It has {len(standing.partitions)}, counted from 0.")
    trouble = standing.trouble
    if part is not None and context.bus is not None:
        messages, trouble = await _page(context.bus, standing, part, part.end if before is None else before)
    top = min(before, part.end) if part and before is not None else part.end if part else 0
    values = {
        "topic": standing, "part": part, "messages": messages, "trouble": trouble or standing.trouble,
        "first": max(top - MESSAGES, part.start) if part else 0, "top": top, "each": MESSAGES,
        "newest": part is not None and top >= part.end,
    }  # fmt: skip
    if wants_json:
        return responses.document(request, _topic_told(standing, part, messages, values))
    return responses.page(request, "topic.html", values)


def _topic_told(
    standing: Standing, part: Partition | None, messages: Sequence[Message], values: dict[str, Any]
) -> dict[str, Any]:
    return {
        "topic": _told(standing), "partition": part.number if part else None, "trouble": values["trouble"],
        "messages": [asdict(one) for one in messages],
        "older": f"/topics/{standing.name}.json?partition={part.number}&before={values['first']}"
        if part and values["first"] > part.start else None,
    }  # fmt: skip


def _number(request: web.Request, name: str, most: int) -> int | None:
    text = request.query.get(name, "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(most)) or int(text) > most:
        raise bad(name, f"{text!r} is not a whole number from 0 to {most}")
    return int(text)


async def _page(bus: Bus, standing: Standing, part: Partition, before: int) -> tuple[tuple[Message, ...], str]:
    """The messages of one page, newest first, or the sentence why there are none."""
    top = min(before, part.end)
    first = max(top - MESSAGES, part.start)
    if top <= first:
        gone = part.kept and before <= part.start
        return (
            (),
            f"The bus keeps nothing before {part.start:,} any more: older frames are in the table." if gone else "",
        )
    try:
        async with asyncio.timeout(BUS_SECONDS):
            found = await bus.peek(standing.name, part.number, first, most=top - first)
    except (StoreError, TimeoutError) as problem:
        return (), _sentence(problem)
    wanted = [at for at, offset in enumerate(found.offsets) if offset < top]
    return tuple(_message(standing.name, found, at, _frame_place(standing, part)) for at in reversed(wanted)), ""


def _frame_place(standing: Standing, part: Partition) -> tuple[int, int, int] | None:
    """(epoch, partition, first offset that is not in the table yet); None when that is not known."""
    if standing.epoch is None or part.drained is None or standing.trouble:
        return None
    return standing.epoch, part.number, part.drained


def _message(topic: str, found: Records, at: int, kept: tuple[int, int, int] | None) -> Message:
    source, connection, sequence, nanoseconds = KEY.unpack(found.key(at))
    ours = source == mark(topic) and connection != STRANGER
    received = _moment(nanoseconds) if ours else None
    seconds = (datetime.now(UTC) - received).total_seconds() if received else None
    offset, address = found.offsets[at], ""
    if kept is not None and offset < kept[2]:
        address = frames.address(topic, {"epoch": kept[0], "partition": kept[1], "offset": offset})
    body = readable(bytes(found.values[at]))
    if not ours:
        return Message(offset, None, None, STRANGER, 0, body, address)
    return Message(offset, received, seconds, connection, sequence, body, address)


def _moment(nanoseconds: int) -> datetime | None:
    try:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=nanoseconds // 1000)
    except OverflowError:
        return None
