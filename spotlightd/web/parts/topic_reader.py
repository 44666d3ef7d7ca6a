"""Topics read from the bus for pages: offsets, how far each partition is drained, and messages."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from spotlightd.errors import OffsetError, StoreError
from spotlightd.model.bus import FOREIGN_CONNECTION, KEY, Ends, Records, source_mark
from spotlightd.model.offsets import Epoch, Position
from spotlightd.model.stream import Stream
from spotlightd.ports.bus import Bus
from spotlightd.web.parts import frames
from spotlightd.web.parts.frame_text import Readable, make_readable
from spotlightd.web.state import ExplorerContext

BUS_SECONDS = 5.0
MESSAGES = 20
NO_BUS = "There is no bus here: no stream is configured."


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition: offsets from `start` up to `end`.

    `drained` is the offset up to which frames are in the warehouse, `lag` the number of messages after it, and
    `lag_seconds` the age of the oldest of these. They are None when they are not known.
    """

    number: int
    start: int
    end: int
    drained: int | None = None
    lag: int | None = None
    lag_seconds: float | None = None

    @property
    def retained(self) -> int:
        """Messages that the bus still keeps."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class TopicStatus:
    """One topic. `error` is a sentence on what is wrong with it, or why nothing more is known."""

    name: str
    title: str
    log_id: str = ""
    epoch: int | None = None
    partitions: tuple[Partition, ...] = ()
    error: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """One record. `connection` 0: another program wrote it. `frame` is the page of its frame, once it is drained."""

    offset: int
    received: datetime | None
    age_seconds: float | None
    connection: int
    sequence: int
    body: Readable
    frame: str = ""


async def read_status(context: ExplorerContext, stream: Stream) -> TopicStatus:
    """The topic, or why it cannot be read. An error with one topic hides no other."""
    if context.bus is None:
        return TopicStatus(stream.name, stream.title, error=NO_BUS)
    try:
        async with asyncio.timeout(BUS_SECONDS):
            return await _read_topic(context, context.bus, stream)
    except (StoreError, TimeoutError) as error:
        return TopicStatus(stream.name, stream.title, error=_describe_error(error))


def _describe_error(error: BaseException) -> str:
    return f"The bus cannot answer: {str(error) or f'no answer within {BUS_SECONDS:.0f} s'}"


async def _read_topic(context: ExplorerContext, bus: Bus, stream: Stream) -> TopicStatus:
    log_id, ends = await bus.log_id(stream.name), await bus.ends(stream.name)
    epoch, positions = await _read_positions(context, stream.name)
    partitions = [
        await _read_partition(bus, stream.name, number, ends[number], positions.get(number)) for number in sorted(ends)
    ]
    is_other_log = epoch is not None and log_id not in ("", epoch.log_id)
    error = "This is another log than the one drained so far: a new epoch is about to begin." if is_other_log else ""
    epoch_number = epoch.number if epoch else None
    return TopicStatus(stream.name, stream.title, log_id, epoch_number, tuple(partitions), error)


async def _read_positions(context: ExplorerContext, source: str) -> tuple[Epoch | None, dict[int, Position]]:
    if context.positions is None:
        return None, {}
    return await context.positions.epoch(source), dict(await context.positions.positions(source))


async def _read_partition(bus: Bus, topic: str, number: int, ends: Ends, position: Position | None) -> Partition:
    if position is None:
        return Partition(number, ends.start, ends.end)
    first_waiting = max(position.offset, ends.start)
    lag = ends.end - first_waiting
    if lag <= 0:
        return Partition(number, ends.start, ends.end, position.offset, 0, 0.0)
    try:
        oldest = await bus.peek(topic, number, first_waiting, most=1)
    except OffsetError:  # it was trimmed meanwhile
        oldest = Records((), b"", ())
    lag_seconds = _make_message(topic, oldest, 0, None).age_seconds if len(oldest) else None
    return Partition(number, ends.start, ends.end, position.offset, lag, lag_seconds)


async def read_messages(
    bus: Bus, topic: TopicStatus, partition: Partition, before: int
) -> tuple[tuple[Message, ...], str]:
    """The messages of one page, newest first, or a sentence why there are none."""
    end = min(before, partition.end)
    first = max(end - MESSAGES, partition.start)
    if end <= first:
        is_trimmed = partition.retained and before <= partition.start
        error = f"The bus no longer keeps messages before offset {partition.start:,}: older frames are in the table."
        return (), error if is_trimmed else ""
    try:
        async with asyncio.timeout(BUS_SECONDS):
            records = await bus.peek(topic.name, partition.number, first, most=end - first)
    except (StoreError, TimeoutError) as problem:
        return (), _describe_error(problem)
    place = _drained_place(topic, partition)
    indexes = [index for index, offset in enumerate(records.offsets) if offset < end]
    return tuple(_make_message(topic.name, records, index, place) for index in reversed(indexes)), ""


def _drained_place(topic: TopicStatus, partition: Partition) -> tuple[int, int, int] | None:
    """(epoch, partition, first offset that is not drained yet); None when that is not known."""
    if topic.epoch is None or partition.drained is None or topic.error:
        return None
    return topic.epoch, partition.number, partition.drained


def _make_message(topic: str, records: Records, index: int, drained: tuple[int, int, int] | None) -> Message:
    source, connection, sequence, nanoseconds = KEY.unpack(records.key(index))
    offset, address = records.offsets[index], ""
    if drained is not None and offset < drained[2]:
        address = frames.frame_address(topic, {"epoch": drained[0], "partition": drained[1], "offset": offset})
    body = make_readable(bytes(records.values[index]))
    if source != source_mark(topic) or connection == FOREIGN_CONNECTION:
        return Message(offset, None, None, FOREIGN_CONNECTION, 0, body, address)
    received = _to_datetime(nanoseconds)
    age_seconds = (datetime.now(UTC) - received).total_seconds() if received else None
    return Message(offset, received, age_seconds, connection, sequence, body, address)


def _to_datetime(nanoseconds: int) -> datetime | None:
    try:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=nanoseconds // 1000)
    except OverflowError:
        return None
