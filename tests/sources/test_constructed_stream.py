"""The way of streams that SQL cannot decode: pure Python over a file of frames, here and in the parser's child."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from spotlightd import Reject, Rows, SettingsError
from spotlightd.model.stream import frames_of
from spotlightd.settings.sources import ParserSettings
from spotlightd.sources.finnhub import finnhub
from spotlightd.workers.inline import parse_inline
from spotlightd.workers.parser import ChildParser
from tests.sources import constructed_stream
from tests.sources.constructed_stream import constructed_packed, packed, source
from tests.sources.stream_engine import SCHEMA, batch, stream_bytes

PLACE = str(Path(constructed_stream.__file__))
FRAMES = [packed(("ABCD", 1, 0.5), ("ABCD", 1, 0.5)), b"\xff", packed(), packed(("WXYZ", 10**15, -3.25)) + b"more"]
LAST = [packed(("WXYZ", 1_755_126_270_278_123, 7.0))]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "frames.arrow"
    path.write_bytes(stream_bytes(batch(FRAMES, epoch=3), batch(LAST, epoch=4)))
    return path


def to_tuples(batches: Iterator[pa.RecordBatch]) -> list[tuple[object, ...]]:
    names = ("symbol", "price", "source", "epoch", "partition", "offset", "frame_index")
    return [tuple(row[name] for name in names) for batch in batches for row in batch.to_pylist()]


ROWS = [
    ("ABCD", 0.5, "constructed_packed", 3, 0, 0, 0),
    ("ABCD", 0.5, "constructed_packed", 3, 0, 0, 1),
    ("WXYZ", 7.0, "constructed_packed", 4, 0, 0, 0),
]
REJECTS = [
    Reject(0, 2, "ff", "too short for a count"),
    Reject(0, 4, FRAMES[3].hex(), "not 1 ticks long"),
]


def test_the_file_of_frames_has_the_columns_of_the_frames_table() -> None:
    assert SCHEMA.names == [column.name for column in frames_of(source).stored]


def test_rows_carry_their_source_and_pointer_and_rejects_their_place(file: Path) -> None:
    blocks = list(parse_inline(source, file, "frames"))
    assert to_tuples(block.columns for block in blocks if isinstance(block, Rows)) == ROWS
    assert [block for block in blocks if isinstance(block, Reject)] == REJECTS


async def test_the_parsers_child_reads_them_under_a_load(file: Path) -> None:
    pieces = bytearray()
    places = {source.name: PLACE}
    async with (
        ChildParser(ParserSettings(), places) as parser,
        parser.parse(source, file, "frames", load_id=42) as parsing,
    ):
        async for piece in parsing.columns(constructed_packed.name):
            pieces += piece
        parsed = await parsing.result()
    assert (parsed.rows, parsed.rejects, parsed.lines) == ({"constructed_packed": 3}, tuple(REJECTS), 5)
    with pa.ipc.open_stream(bytes(pieces)) as stream:
        table = stream.read_all()
    assert table.column_names == [column.name for column in constructed_packed.stored]
    assert set(table["load_id"].to_pylist()) == {42}
    assert to_tuples(iter(table.to_batches())) == ROWS


def test_a_stream_that_the_warehouse_decodes_has_no_parser(file: Path) -> None:
    with pytest.raises(SettingsError, match="the warehouse decodes it"):
        list(parse_inline(finnhub, file, "frames"))


def test_its_version_identifies_its_decode() -> None:
    assert source.parser != finnhub.parser
