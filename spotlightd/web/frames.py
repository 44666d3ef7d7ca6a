"""The frame that a row came in: read from the frames table of its source, with what is known of its receiving."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import Any

from aiohttp import web

from spotlightd.model.cold import EVER, Span
from spotlightd.model.dataset import Dataset
from spotlightd.model.errors import StoreError
from spotlightd.model.pin import rows as tiers
from spotlightd.model.stream import PLACE, Stream, frames_of
from spotlightd.web import desk, show
from spotlightd.web.context import Context
from spotlightd.web.desk import DESK
from spotlightd.web.readable import MOST_BYTES, Readable, readable
from spotlightd.web.select import Query

NEARBY = 50_000  # frames on either side that are looked at for equal ones: more than come in a second
HERE = "epoch = {epoch:UInt16} AND partition = {partition:UInt16} AND offset = {offset:UInt64}"


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame as it was received. `same` counts those with the very same bytes that its connection brought within a
    second, itself included; `address` is the page of its own row.
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
class Found:
    """The frame, or the sentence why it cannot be shown."""

    frame: Frame | None
    trouble: str = ""

    @property
    def told(self) -> dict[str, Any]:
        """For JSON."""
        return {"trouble": self.trouble} if self.frame is None else asdict(self.frame)


def streamed(dataset: Dataset) -> bool:
    """Whether its rows come in frames of a stream, and not in documents."""
    return dataset.by_load and dataset.pointer == PLACE


def of(context: Context, source: str) -> Dataset | None:
    """The table of that source's frames; None when it is no stream, or none that is set up here."""
    names = [f"{source}_frames"] if any(one.name == source for one in context.streams) else []
    return next((one for one in context.datasets if one.name in names), None)


def source_of(context: Context, dataset: Dataset) -> Stream | None:
    """The stream whose frames the dataset holds, if it holds frames."""
    return next((one for one in context.streams if frames_of(one).name == dataset.name), None)


def address(source: str, place: Mapping[str, Any]) -> str:
    """The page of a frame. `place` holds epoch, partition and offset."""
    return show.address(("data", f"{source}_frames", ",".join(str(place[n]) for n in ("epoch", "partition", "offset"))))


def of_slice(source: str, covers: str) -> str:
    """The frames of a received day, or of a part of it, as a table: what a stream's load stands on."""
    day, part = covers[:10].replace("/", "-"), covers[11:]
    after = date.fromisoformat(day) + timedelta(days=1)
    filters = [("received__gte", f"{day}T00:00:00Z"), ("received__lt", f"{after}T00:00:00Z")]
    return show.address(f"/data/{source}_frames", filters, part=part)


async def found(request: web.Request, source: str, place: Mapping[str, Any]) -> Found:
    """The frame at that place, and how often its bytes came."""
    dataset = of(request.app[DESK].context, source)
    if dataset is None:
        return Found(None, f"The frame cannot be shown: {source} is not set up here, so its frames cannot be read.")
    try:
        rows = tiers(dataset, desk.reader(request).now().cold, _near(place))
        one, same = await desk.reader(request).all(_one(rows, place), _same(rows, place))
    except StoreError as problem:
        return Found(None, f"The frame cannot be shown: {problem}.")
    if not one.rows:
        return Found(None, "The frame is not in the table of frames any more.")
    received, connection, sequence, repeat, size, begins = one.rows[0]
    body = readable(bytes.fromhex(begins), size)
    at = f"{received.replace(' ', 'T')}Z"
    return Found(Frame(address(source, place), source, at, connection, sequence, bool(repeat), same.rows[0][0], body))


def _one(rows: str, place: Mapping[str, Any]) -> Query:
    """In hexadecimal: a frame need not be text."""
    sql = (
        f"SELECT toString(received), connection, sequence, repeat, length(frame), hex(substring(frame, 1, {MOST_BYTES:d})) "
        f"FROM {rows} WHERE {HERE} LIMIT 1"
    )
    return Query(sql, _bound(place))


def _same(rows: str, place: Mapping[str, Any]) -> Query:
    this = f"FROM {rows} WHERE {HERE}"
    sql = (
        f"SELECT count() FROM {rows} WHERE epoch = {{epoch:UInt16}} AND partition = {{partition:UInt16}} "
        f"AND offset BETWEEN {{least:UInt64}} AND {{most:UInt64}} AND (connection, frame) IN (SELECT connection, frame {this}) "
        f"AND abs(toUnixTimestamp64Nano(received) - (SELECT any(toUnixTimestamp64Nano(received)) {this})) <= 1000000000"
    )
    offset = int(place["offset"])
    return Query(sql, {**_bound(place), "least": max(offset - NEARBY, 0), "most": offset + NEARBY})


def _near(place: Mapping[str, Any]) -> Span:
    """When the frame was received, where the row that came in it says so."""
    received = place.get("received")
    return Span({"received": (received, received + timedelta(microseconds=1))}) if received else EVER


def _bound(place: Mapping[str, Any]) -> dict[str, Any]:
    return {name: int(place[name]) for name in ("epoch", "partition", "offset")}
