"""Every source of documents against its golden cases: a document beside what it holds.

A case is a folder `golden/<source>/<case>/` with `expected.json`:

    published | constructed   who made the document; exactly one of the two
    document    the file, or a folder whose files become the members of a zip; relative to the case's folder
    name        the publisher's name of it, if that is not the file's name
    rows        how many, by dataset
    rejects     how many lines could not be read; `rejected` lists some: [member, line, the beginning of the reason]
    sums        by "dataset.column"
    has         rows that must be there, as {"dataset": [{column: text}, …]}; `line` and `member` (0 if absent) say which
                row, and columns left out may be anything
    error       the sentence with which it is refused; then nothing else is given but `at`: [member, line]

Of a whole file, give totals and a handful of rows, not all rows.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from spotlightd.errors import FormatError
from spotlightd.model.dataset import NAME
from spotlightd.model.provenance import Reject
from spotlightd.model.source import Batch, Rows
from spotlightd.runtime.catalog import load_catalog
from spotlightd.workers.inline import parse_inline

GOLDEN = Path(__file__).parent / "golden"
SOURCES = {source.name: source for source in load_catalog().sources}
STREAMS = {stream.name for stream in load_catalog().streams}  # their cases are read by test_golden_streams.py
ALL = sorted(path.parent for path in GOLDEN.glob("*/*/expected.json"))
CASES = [case for case in ALL if case.parent.name not in STREAMS]
KEYS = {"published", "constructed", "document", "name", "rows", "rejects", "rejected", "sums", "has", "error", "at"}


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_has_a_golden_case(name: str) -> None:
    assert [case for case in CASES if case.parent.name == name], f"put a case into tests/golden/{name}/"


def test_every_golden_case_belongs_to_a_source() -> None:
    assert sorted({case.parent.name for case in CASES} - set(SOURCES)) == []
    assert all(NAME.match(case.name) for case in ALL)
    folders = {path for path in GOLDEN.glob("*/*") if path.is_dir()}
    assert folders == set(ALL), "a case without expected.json"


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.parent.name}/{case.name}")
def test_a_document_gives_what_its_case_expects(case: Path, tmp_path: Path) -> None:
    check_case(case, SOURCES[case.parent.name], tmp_path)


def check_case(case: Path, source: Batch, scratch: Path) -> None:
    """Parse the document of a case and compare. AssertionError for any difference."""
    expected = json.loads((case / "expected.json").read_text(encoding="utf-8"))
    assert set(expected) <= KEYS
    assert ("published" in expected) != ("constructed" in expected)
    document = _open_document(case, expected, scratch)
    name = expected.get("name", document.name)
    if "error" in expected:
        with pytest.raises(FormatError) as refused:
            list(parse_inline(source, document, name))
        assert str(refused.value) == expected["error"]
        assert [refused.value.member, refused.value.line] == expected["at"]
    else:
        _compare(expected, source, list(parse_inline(source, document, name)))


def _open_document(case: Path, expected: dict[str, Any], scratch: Path) -> Path:
    document: Path = (case / expected["document"]).resolve()
    if document.is_file():
        return document
    packed: Path = scratch / expected["name"]
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for member in sorted(path for path in document.rglob("*") if path.is_file()):
            archive.write(member, member.relative_to(document))
    return packed


def _compare(expected: dict[str, Any], source: Batch, blocks: list[Rows | Reject]) -> None:
    tables = {
        dataset.name: [rows.columns for rows in blocks if isinstance(rows, Rows) and rows.dataset.name == dataset.name]
        for dataset in source.datasets
    }
    rejects = [block for block in blocks if isinstance(block, Reject)]
    assert {name: sum(map(len, batches)) for name, batches in tables.items()} == expected["rows"]
    assert len(rejects) == expected["rejects"]
    for member, line, reason in expected.get("rejected", []):
        places = [(reject.member, reject.line) for reject in rejects if reject.reason.startswith(reason)]
        assert (member, line) in places
    for place, total in expected.get("sums", {}).items():
        dataset, column = place.split(".")
        assert sum(sum(batch[column].drop_null().to_pylist()) for batch in tables[dataset]) == total
    for dataset, rows in expected.get("has", {}).items():
        wanted = {(int(row.get("member", 0)), int(row["line"])): row for row in rows}
        parsed = {place: row for place, row in _read_rows(tables[dataset], wanted) if place in wanted}
        assert {place: {key: parsed[place][key] for key in row} for place, row in wanted.items()} == wanted


def _read_rows(
    batches: list[pa.RecordBatch], places: Collection[tuple[int, int]]
) -> Iterator[tuple[tuple[int, int], dict[str, str | None]]]:
    """The rows on these lines as texts, by member and line."""
    lines = pa.array([line for _, line in places], pa.uint32())
    for batch in batches:
        for row in batch.filter(pc.is_in(batch["line"], lines)).to_pylist():
            yield (row["member"], row["line"]), {name: _to_text(value) for name, value in row.items()}


def _to_text(value: Any) -> str | None:
    return value.decode() if isinstance(value, bytes) else None if value is None else str(value)
