"""Kept frames into rows of the source's dataset, by its SELECT or by its `parse`: for the drain, its recovery and replays.

By `parse` the frames go through a file to the parser's limited child, like a document, and come back as columns. Rows
are inserted under the same tokens and counted alike.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from spotlightd.errors import FormatError, StoreError
from spotlightd.model.offsets import LostFrame
from spotlightd.model.provenance import Reject
from spotlightd.model.stream import Stream, frames_of
from spotlightd.ports.parser import Parser, ParseResult, ParseSession
from spotlightd.ports.warehouse import Warehouse
from spotlightd.sql import decode
from spotlightd.sql.tiers import Archives, Span
from spotlightd.sql.visibility import all_rows as stored

THROWN = 395  # ClickHouse's code for throwIf
Values = Mapping[str, Any]


class Decoder(Protocol):
    """`which` and `values` say which frames: `decoding.SPAN` or `decoding.PART`; `load_id` is that of the rows."""

    async def insert(
        self, which: str, values: Values, *, token: str, strict: bool = False
    ) -> tuple[int, list[LostFrame]]:
        """The rows of frames of which none is decoded yet: how many, and the frames that were not understood.

        `strict` hopes that all are understood, which is cheaper. With a token the rows of a SELECT are written as one
        block: a batch of the drain, not a whole day. StoreError leaves all, some or none of the rows.
        """

    async def wanted(self, which: str, values: Values) -> int:
        """How many rows the frames decode to."""

    async def rejected(self, which: str, values: Values) -> list[LostFrame]:
        """The frames that are not understood, with the reason."""


@dataclass(frozen=True, slots=True)
class SelectDecoder:
    """The engine decodes: nothing but statements are sent."""

    source: Stream
    warehouse: Warehouse
    archives: Archives

    async def insert(
        self, which: str, values: Values, *, token: str, strict: bool = False
    ) -> tuple[int, list[LostFrame]]:
        if strict:
            sql = decode.insert_decoded(self.source, which, strict=True)
            try:
                return await self.warehouse.execute(sql, values, token=f"{token}-rows"), []
            except StoreError as problem:
                if problem.code != THROWN or decode.REJECTED not in str(problem):
                    raise
        sql = decode.insert_decoded(self.source, which, _frames(self.source, self.archives, values), strict=False)
        rows = await self.warehouse.execute(sql, values, token=f"{token}-rest" if token else "")
        return rows, await self.rejected(which, values)

    async def wanted(self, which: str, values: Values) -> int:
        return int(
            (
                await self.warehouse.rows(
                    decode.count_decoded(self.source, which, _frames(self.source, self.archives, values)), values
                )
            ).rows[0][0]
        )

    async def rejected(self, which: str, values: Values) -> list[LostFrame]:
        found = (
            await self.warehouse.rows(
                decode.select_rejects(self.source, which, _frames(self.source, self.archives, values)), values
            )
        ).rows
        return [LostFrame(*row) for row in found]


@dataclass(frozen=True, slots=True)
class ParseDecoder:
    """Python of the source's author decodes, in the parser's child. `folder` holds a batch of frames meanwhile."""

    source: Stream
    warehouse: Warehouse
    parser: Parser
    folder: Path
    archives: Archives

    async def insert(
        self, which: str, values: Values, *, token: str, strict: bool = False
    ) -> tuple[int, list[LostFrame]]:
        del strict
        dataset = self.source.dataset
        async with self._parsing(which, values) as (path, parsing):
            columns = parsing.columns(dataset.name)
            rows = await self.warehouse.insert_stream(dataset, columns, token=f"{token}-rows" if token else "")
            return rows, _lost(path, (await _parsed(parsing)).rejects)

    async def wanted(self, which: str, values: Values) -> int:
        async with self._parsing(which, values) as (_, parsing):
            return (await self._read(parsing)).rows[self.source.dataset.name]

    async def rejected(self, which: str, values: Values) -> list[LostFrame]:
        async with self._parsing(which, values) as (path, parsing):
            return _lost(path, (await self._read(parsing)).rejects)

    async def _read(self, parsing: ParseSession) -> ParseResult:
        """To its end, the rows put aside."""
        async for _ in parsing.columns(self.source.dataset.name):
            pass
        return await _parsed(parsing)

    @asynccontextmanager
    async def _parsing(self, which: str, values: Values) -> AsyncIterator[tuple[Path, ParseSession]]:
        names = ", ".join(column.name for column in frames_of(self.source).columns)
        sql = (
            f"SELECT {names} FROM {_frames(self.source, self.archives, values)} WHERE {which} AND repeat = 0"
            " ORDER BY epoch, partition, offset SETTINGS output_format_arrow_string_as_string = 0"
        )
        with tempfile.TemporaryDirectory(prefix="frames-", dir=self.folder) as folder:
            path = Path(folder) / "frames.arrow"
            async with self.warehouse.stream(sql, "ArrowStream", values) as chunks:
                with path.open("wb") as file:
                    async for chunk in chunks:
                        file.write(chunk)
            load_id = int(values.get("load_id", 0))
            async with self.parser.parse(self.source, path, path.name, load_id=load_id) as parsing:
                yield path, parsing


def _frames(source: Stream, archives: Archives, values: Values) -> str:
    """Where the frames are: of a whole day, which may have left the warehouse; those of an intent have not."""
    day = values.get("day")
    if day is None:
        return frames_of(source).name
    return stored(frames_of(source), archives.archived, day_span(day))


def day_span(day: date) -> Span:
    """What was received that day."""
    since = datetime.combine(day, time(), UTC)
    return Span({"received": (since, since + timedelta(days=1))})


async def _parsed(parsing: ParseSession) -> ParseResult:
    """What became of a whole file. A source whose `parse` fails is for its author; nothing is passed over meanwhile."""
    try:
        return await parsing.result()
    except FormatError as problem:
        raise StoreError(f"frames cannot be decoded, and wait: {problem}") from problem


def _lost(path: Path, rejects: tuple[Reject, ...]) -> list[LostFrame]:
    if not rejects:
        return []
    with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as reader:
        table = (
            reader.read_all().select(["epoch", "partition", "offset", "frame"]).take([one.line - 1 for one in rejects])
        )
    found = zip(table.to_pylist(), rejects, strict=True)
    return [
        LostFrame(
            row["epoch"], row["partition"], row["offset"], row["frame"].decode("utf-8", "backslashreplace"), one.reason
        )
        for row, one in found
    ]


def make_decoder(source: Stream, warehouse: Warehouse, parser: Parser, folder: Path, archives: Archives) -> Decoder:
    """The decoder of a stream. `parser` and `folder` are used by those that give a `parse`."""
    if source.decode:
        return SelectDecoder(source, warehouse, archives)
    return ParseDecoder(source, warehouse, parser, folder, archives)
