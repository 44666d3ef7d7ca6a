"""The frame that a row came in: read from the frames table of its source, with what is known of its receiving."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import Any, Literal

from aiohttp import web

from spotlightd.errors import StoreError
from spotlightd.model.dataset import Dataset
from spotlightd.model.stream import PLACE, Stream, frames_of
from spotlightd.query import values
from spotlightd.query.select import Query
from spotlightd.sql.tiers import EVER, Span
from spotlightd.sql.visibility import rows as tiers
from spotlightd.web import responses
from spotlightd.web.formatting import visible
from spotlightd.web.state import APP_STATE, ExplorerContext

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


def of(context: ExplorerContext, source: str) -> Dataset | None:
    """The table of that source's frames; None when it is no stream, or none that is set up here."""
    names = [f"{source}_frames"] if any(one.name == source for one in context.streams) else []
    return next((one for one in context.datasets if one.name in names), None)


def source_of(context: ExplorerContext, dataset: Dataset) -> Stream | None:
    """The stream whose frames the dataset holds, if it holds frames."""
    return next((one for one in context.streams if frames_of(one).name == dataset.name), None)


def address(source: str, place: Mapping[str, Any]) -> str:
    """The page of a frame. `place` holds epoch, partition and offset."""
    return values.address(
        ("data", f"{source}_frames", ",".join(str(place[n]) for n in ("epoch", "partition", "offset")))
    )


def of_slice(source: str, covers: str) -> str:
    """The frames of a received day, or of a part of it, as a table: what a stream's load stands on."""
    day, part = covers[:10].replace("/", "-"), covers[11:]
    after = date.fromisoformat(day) + timedelta(days=1)
    filters = [("received__gte", f"{day}T00:00:00Z"), ("received__lt", f"{after}T00:00:00Z")]
    return values.address(f"/data/{source}_frames", filters, part=part)


async def found(request: web.Request, source: str, place: Mapping[str, Any]) -> Found:
    """The frame at that place, and how often its bytes came."""
    dataset = of(request.app[APP_STATE].context, source)
    if dataset is None:
        return Found(None, f"The frame cannot be shown: {source} is not set up here, so its frames cannot be read.")
    try:
        rows = tiers(dataset, responses.reader(request).now().cold, _near(place))
        one, same = await responses.reader(request).all(_one(rows, place), _same(rows, place))
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


MOST_BYTES = 64 << 10  # of a frame that are looked at


MOST_CHARACTERS = 8_000


HEX_BYTES = 512


INLINE = 100


_DEEPEST = 40


_OPEN, _CLOSE = frozenset("{["), frozenset("}]")


_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{},:]|[^\s\[\]{},:"]+')


@dataclass(frozen=True, slots=True)
class Readable:
    """`size` is the whole frame's, in bytes; `cut`: the text is only its beginning."""

    text: str
    kind: Literal["JSON", "text", "bytes"]
    size: int
    cut: bool = False


def readable(value: bytes, size: int | None = None) -> Readable:
    """The frame for a page. `size` is its length when `value` is only the beginning of it."""
    whole = len(value) if size is None else size
    value, partial = value[:MOST_BYTES], whole > min(len(value), MOST_BYTES)
    text = _decoded(value, partial=partial)
    if text is None:
        return Readable(value[:HEX_BYTES].hex(" ", 1), "bytes", whole, whole > HEX_BYTES)
    kind: Literal["JSON", "text"] = "JSON" if not partial and _is_json(text) else "text"
    if kind == "JSON":
        text = laid_out(text)
    shown = "\n".join(visible(line) for line in text[:MOST_CHARACTERS].split("\n"))
    return Readable(shown, kind, whole, partial or len(text) > MOST_CHARACTERS)


def _decoded(value: bytes, *, partial: bool) -> str | None:
    """The text, or None when the bytes are none. Of a cut frame the last character may be broken."""
    try:
        return value.decode()
    except UnicodeDecodeError as problem:
        if partial and problem.start > len(value) - 4:
            return value[: problem.start].decode()
        return None


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def laid_out(text: str) -> str:
    """JSON over several lines, every token as it was. An object or a list that fits a line stands on one."""
    words = _TOKEN.findall(text)
    short = _short(words)
    lines, line, depth, at = list[str](), "", 0, 0
    while at < len(words):
        word = words[at]
        if at in short:
            line += _joined(words[at : short[at] + 1])
            at = short[at]
        elif word in _OPEN or word == ",":
            depth += word in _OPEN
            lines.append(line + word)
            line = _indent(depth)
        elif word in _CLOSE:
            depth -= 1
            lines.append(line)
            line = _indent(depth) + word
        else:
            line += ": " if word == ":" else word
        at += 1
    return "\n".join([*lines, line])


def _indent(depth: int) -> str:
    return "  " * min(depth, _DEEPEST)


def _short(words: Sequence[str]) -> dict[int, int]:
    """Where objects and lists begin that fit a line, and where they end."""
    found, begun, length = dict[int, int](), list[tuple[int, int]](), 0
    for at, word in enumerate(words):
        if word in _OPEN:
            begun.append((at, length))
        length += len(word)
        if word in _CLOSE and begun:
            first, before = begun.pop()
            if length - before <= INLINE:
                found[first] = at
    return found


def _joined(tokens: Sequence[str]) -> str:
    return "".join({",": ", ", ":": ": "}.get(word, word) for word in tokens)
