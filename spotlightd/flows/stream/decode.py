"""Decodes stored frames into rows of the source's dataset, by its SELECT or by its `parse`: for drain, recovery and replay.

With `parse` the frames go through a file to the parser's confined child, like a document, and come back as columns. Rows
are inserted under the same tokens and counted in the same way.
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
from spotlightd.files import open_scratch
from spotlightd.model.offsets import LostFrame
from spotlightd.model.provenance import Reject
from spotlightd.model.stream import Stream, frames_of
from spotlightd.ports.parser import Parser, ParseResult, ParseSession
from spotlightd.ports.warehouse import Warehouse
from spotlightd.sql import decode
from spotlightd.sql.tiers import Archives, Span
from spotlightd.sql.visibility import all_rows

THROW_IF = 395  # ClickHouse's code for throwIf
Values = Mapping[str, Any]


class Decoder(Protocol):
    """`which` and `values` select the frames: `decode.SPAN` or `decode.PART`. `load_id` is that of the rows."""

    async def insert(
        self, which: str, values: Values, *, token: str, strict: bool = False
    ) -> tuple[int, list[LostFrame]]:
        """Insert the rows of frames that have none yet. Returns the number of rows, and the rejected frames.

        `strict` first tries a statement that fails at the first reject, which is cheaper when there are none. With a
        token the rows of a SELECT are written as one block: a batch of the drain, not a whole day. After a StoreError
        all, some or none of the rows are there.
        """

    async def count_rows(self, which: str, values: Values) -> int:
        """How many rows the frames decode to."""

    async def list_rejects(self, which: str, values: Values) -> list[LostFrame]:
        """The frames that cannot be decoded, with the reason."""


@dataclass(frozen=True, slots=True)
class SelectDecoder:
    """Decodes in the engine: only statements are sent."""

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
                if problem.code != THROW_IF or decode.REJECTED not in str(problem):
                    raise
        sql = decode.insert_decoded(self.source, which, _frames_table(self.source, self.archives, values), strict=False)
        rows = await self.warehouse.execute(sql, values, token=f"{token}-rest" if token else "")
        return rows, await self.list_rejects(which, values)

    async def count_rows(self, which: str, values: Values) -> int:
        sql = decode.count_decoded(self.source, which, _frames_table(self.source, self.archives, values))
        return int((await self.warehouse.rows(sql, values)).rows[0][0])

    async def list_rejects(self, which: str, values: Values) -> list[LostFrame]:
        sql = decode.select_rejects(self.source, which, _frames_table(self.source, self.archives, values))
        return [LostFrame(*row) for row in (await self.warehouse.rows(sql, values)).rows]


@dataclass(frozen=True, slots=True)
class ParseDecoder:
    """Decodes with the `parse` of the source, in the parser's child. `folder` holds a batch of frames meanwhile."""

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
        async with self._parse(which, values) as (path, session):
            columns = session.columns(dataset.name)
            rows = await self.warehouse.insert_stream(dataset, columns, token=f"{token}-rows" if token else "")
            return rows, _lost_frames(path, (await _result_of(session)).rejects)

    async def count_rows(self, which: str, values: Values) -> int:
        async with self._parse(which, values) as (_, session):
            return (await self._read_all(session)).rows[self.source.dataset.name]

    async def list_rejects(self, which: str, values: Values) -> list[LostFrame]:
        async with self._parse(which, values) as (path, session):
            return _lost_frames(path, (await self._read_all(session)).rejects)

    async def _read_all(self, session: ParseSession) -> ParseResult:
        """Read to the end without keeping the rows."""
        async for _ in session.columns(self.source.dataset.name):
            pass
        return await _result_of(session)

    @asynccontextmanager
    async def _parse(self, which: str, values: Values) -> AsyncIterator[tuple[Path, ParseSession]]:
        names = ", ".join(column.name for column in frames_of(self.source).columns)
        sql = (
            f"SELECT {names} FROM {_frames_table(self.source, self.archives, values)} WHERE {which} AND repeat = 0"
            " ORDER BY epoch, partition, offset SETTINGS output_format_arrow_string_as_string = 0"
        )
        with tempfile.TemporaryDirectory(prefix="frames-", dir=self.folder) as folder:
            path = Path(folder) / "frames.arrow"
            async with self.warehouse.stream(sql, "ArrowStream", values) as chunks:
                with open_scratch(path) as file:
                    async for chunk in chunks:
                        file.write(chunk)
            load_id = int(values.get("load_id", 0))
            async with self.parser.parse(self.source, path, path.name, load_id=load_id) as session:
                yield path, session


def _frames_table(source: Stream, archives: Archives, values: Values) -> str:
    """What stands behind FROM. Frames of a whole day may be archived; those of an intent never are."""
    day = values.get("day")
    if day is None:
        return frames_of(source).name
    return all_rows(frames_of(source), archives.archived, day_span(day))


def day_span(day: date) -> Span:
    """What was received on that day."""
    since = datetime.combine(day, time(), UTC)
    return Span({"received": (since, since + timedelta(days=1))})


async def _result_of(session: ParseSession) -> ParseResult:
    """The result of a whole file. A `parse` that fails must be repaired by its author; no frame is skipped meanwhile."""
    try:
        return await session.result()
    except FormatError as problem:
        raise StoreError(f"frames cannot be decoded, and wait: {problem}") from problem


def _lost_frames(path: Path, rejects: tuple[Reject, ...]) -> list[LostFrame]:
    if not rejects:
        return []
    columns = ["epoch", "partition", "offset", "frame"]
    with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as reader:
        table = reader.read_all().select(columns).take([reject.line - 1 for reject in rejects])
    return [
        LostFrame(
            row["epoch"], row["partition"], row["offset"], row["frame"].decode("utf-8", "backslashreplace"),
            reject.reason,
        )
        for row, reject in zip(table.to_pylist(), rejects, strict=True)
    ]  # fmt: skip


def make_decoder(source: Stream, warehouse: Warehouse, parser: Parser, folder: Path, archives: Archives) -> Decoder:
    """The decoder of a stream. `parser` and `folder` are used only by a stream with a `parse`."""
    if source.decode:
        return SelectDecoder(source, warehouse, archives)
    return ParseDecoder(source, warehouse, parser, folder, archives)
