"""Every stream against its golden cases: frames beside their rows.

A case is a folder `golden/<stream>/<case>/` with `frames.jsonl`, a frame a line as it was received, and `expected.json`:

    published | constructed   who made the frames; exactly one of the two
    rows        all rows, in order, each with its `line` (1 for the first frame) and `frame_index`; columns left out may be anything
    rejects     [line, the beginning of the reason] of all frames that could not be read
    repeats     lines that were received again on their connection, and are not decoded
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.model.stream import Stream
from spotlightd.runtime.catalog import load_catalog
from tests.sources.stream_engine import InsertedFrames, insert_frames, warehouse_in

pytestmark = pytest.mark.asyncio(loop_scope="module")

GOLDEN = Path(__file__).parent / "golden"
STREAMS = {stream.name: stream for stream in load_catalog().streams}
CASES = sorted(path.parent for path in GOLDEN.glob("*/*/expected.json") if path.parent.parent.name in STREAMS)
KEYS = {"published", "constructed", "rows", "rejects", "repeats"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def warehouse(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ClickHouse]:
    async with warehouse_in(tmp_path_factory.mktemp("state")) as client:
        yield client


@pytest.mark.parametrize("name", STREAMS)
async def test_every_stream_has_a_golden_case(name: str) -> None:
    assert [case for case in CASES if case.parent.name == name], f"put a case into tests/golden/{name}/"


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.parent.name}/{case.name}")
async def test_frames_give_what_their_case_expects(case: Path, warehouse: ClickHouse) -> None:
    expected = json.loads((case / "expected.json").read_text(encoding="utf-8"))
    assert set(expected) <= KEYS
    assert ("published" in expected) != ("constructed" in expected)
    assert ("constructed" in expected) == case.name.startswith("constructed_")
    stream = STREAMS[case.parent.name]
    frames = (case / "frames.jsonl").read_bytes().split(b"\n")[:-1]
    repeats = [line - 1 for line in expected.get("repeats", [])]
    there = await insert_frames(stream, warehouse, frames, repeats=repeats)
    await there.decode()
    assert await _rows(stream, there, expected["rows"]) == expected["rows"]
    rejected = [(line + 1, reason) for _, _, line, _, reason in await there.rejected()]
    assert [line for line, _ in rejected] == [line for line, _ in expected["rejects"]]
    pairs = zip(rejected, expected["rejects"], strict=True)
    assert [actual[1] for actual, wanted in pairs if not actual[1].startswith(wanted[1])] == []


async def _rows(stream: Stream, there: InsertedFrames, wanted: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of the table, with the columns that the case names."""
    names = [column.name for column in stream.dataset.stored]
    columns = set(wanted[0]) if wanted else {"line", "frame_index"}
    return [
        {name: _to_json(value) for name, value in (row | {"line": row["offset"] + 1}).items() if name in columns}
        for row in await there.rows(names)
    ]


def _to_json(value: Any) -> Any:
    return value.isoformat(timespec="milliseconds") if isinstance(value, datetime) else value
