"""Frames of streams: the frame that a row was decoded from, read from its source's frames table, and addresses of frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import Any

from aiohttp import web

from spotlightd.errors import StoreError
from spotlightd.model.dataset import Dataset
from spotlightd.model.stream import PLACE, Stream, frames_of
from spotlightd.query import values
from spotlightd.query.select import Query
from spotlightd.sql.tiers import EVER, Span
from spotlightd.sql.visibility import all_rows
from spotlightd.web import responses
from spotlightd.web.parts.frame_text import MOST_BYTES, Readable, make_readable
from spotlightd.web.state import APP_STATE, ExplorerContext

NEARBY_FRAMES = 50_000  # frames on either side are searched for equal ones: more than arrive in a second
AT_PLACE = "epoch = {epoch:UInt16} AND partition = {partition:UInt16} AND offset = {offset:UInt64}"


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame as it was received. `address` is its page. `same` counts the frames with identical bytes that its
    connection received within a second, including itself.
    """

    address: str
    source: str
    received: str
    connection: int
    sequence: int
    repeat: bool
    same: int
    body: Readable


@dataclass(frozen=True, slots=True)
class FoundFrame:
    """The frame, or a sentence why it cannot be shown."""

    frame: Frame | None
    error: str = ""

    @property
    def as_json(self) -> dict[str, Any]:
        return {"error": self.error} if self.frame is None else asdict(self.frame)


def is_streamed(dataset: Dataset) -> bool:
    """Whether its rows come from frames of a stream and not from documents."""
    return dataset.by_load and dataset.pointer == PLACE


def frames_dataset(context: ExplorerContext, source: str) -> Dataset | None:
    """The dataset of the source's frames. None when the source is not a configured stream."""
    if not any(stream.name == source for stream in context.streams):
        return None
    return next((dataset for dataset in context.datasets if dataset.name == f"{source}_frames"), None)


def find_stream(context: ExplorerContext, dataset: Dataset) -> Stream | None:
    """The stream whose frames the dataset holds, if it holds frames."""
    return next((stream for stream in context.streams if frames_of(stream).name == dataset.name), None)


def frame_address(source: str, place: Mapping[str, Any]) -> str:
    """The page of a frame. `place` holds epoch, partition and offset."""
    key = ",".join(str(place[name]) for name in ("epoch", "partition", "offset"))
    return values.format_address(("data", f"{source}_frames", key))


def slice_address(source: str, covers: str) -> str:
    """The table of the frames that a stream's load was decoded from: those of a received day, or of a part of it."""
    day, part = covers[:10].replace("/", "-"), covers[11:]
    day_after = date.fromisoformat(day) + timedelta(days=1)
    filters = [("received__gte", f"{day}T00:00:00Z"), ("received__lt", f"{day_after}T00:00:00Z")]
    return values.format_address(f"/data/{source}_frames", filters, part=part)


async def read_frame(request: web.Request, source: str, place: Mapping[str, Any]) -> FoundFrame:
    """The frame at that place, and how often its bytes came."""
    dataset = frames_dataset(request.app[APP_STATE].context, source)
    if dataset is None:
        return FoundFrame(
            None,
            f"The frame cannot be shown: the stream {source} is not configured here, so its frames cannot be read.",
        )
    try:
        reader = responses.get_reader(request)
        table = all_rows(dataset, reader.current().archived, _received_span(place))
        answer, same = await reader.all(_frame_query(table, place), _same_query(table, place))
    except StoreError as error:
        return FoundFrame(None, f"The frame cannot be shown: {error}.")
    if not answer.rows:
        return FoundFrame(None, "The frame is no longer in the table of frames.")
    received, connection, sequence, repeat, size, beginning = answer.rows[0]
    body = make_readable(bytes.fromhex(beginning), size)
    received_at = f"{received.replace(' ', 'T')}Z"
    address = frame_address(source, place)
    return FoundFrame(Frame(address, source, received_at, connection, sequence, bool(repeat), same.rows[0][0], body))


def _frame_query(table: str, place: Mapping[str, Any]) -> Query:
    """In hexadecimal, because a frame need not be text."""
    sql = (
        "SELECT toString(received), connection, sequence, repeat, length(frame), "
        f"hex(substring(frame, 1, {MOST_BYTES:d})) FROM {table} WHERE {AT_PLACE} LIMIT 1"
    )
    return Query(sql, _place_parameters(place))


def _same_query(table: str, place: Mapping[str, Any]) -> Query:
    this_frame = f"FROM {table} WHERE {AT_PLACE}"
    sql = (
        f"SELECT count() FROM {table} WHERE epoch = {{epoch:UInt16}} AND partition = {{partition:UInt16}} "
        "AND offset BETWEEN {least:UInt64} AND {most:UInt64} "
        f"AND (connection, frame) IN (SELECT connection, frame {this_frame}) "
        "AND abs(toUnixTimestamp64Nano(received) "
        f"- (SELECT any(toUnixTimestamp64Nano(received)) {this_frame})) <= 1000000000"
    )
    offset = int(place["offset"])
    bounds = {"least": max(offset - NEARBY_FRAMES, 0), "most": offset + NEARBY_FRAMES}
    return Query(sql, {**_place_parameters(place), **bounds})


def _received_span(place: Mapping[str, Any]) -> Span:
    """When the frame was received, if the row that came in it has that."""
    received = place.get("received")
    return Span({"received": (received, received + timedelta(microseconds=1))}) if received else EVER


def _place_parameters(place: Mapping[str, Any]) -> dict[str, Any]:
    return {name: int(place[name]) for name in ("epoch", "partition", "offset")}
