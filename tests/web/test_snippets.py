"""Every snippet that a table shows is run, on rows that readers of CSV like to change: NA, TRUE, leading zeros, fractions of
a second, numbers of 20 digits.
"""

from __future__ import annotations

import asyncio
import csv
import html
import io
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest
import pytest_asyncio

from spotlightd.model.dataset import Column, Dataset, Rhythm
from spotlightd.query import filters
from spotlightd.web.parts.snippets import make_snippets
from tests.web.world import World, open_database, publish

CELLS = Dataset(
    name="cells",
    title="Cells",
    publisher="constructed",
    about="Cells that readers of CSV like to change.",
    columns=(
        Column("day", "Date", "a day"),
        Column("at", "DateTime64(6, 'UTC')", "a time"),
        Column("ticker", "LowCardinality(String)", "a ticker"),
        Column("cusip", "FixedString(9)", "digits with zeros before them"),
        Column("note", "Nullable(String)", "a text that may be missing"),
        Column("price", "Nullable(Decimal(18, 4))", "a price that may be missing", unit="USD"),
        Column("count", "Nullable(Int64)", "a number that may be missing", unit="shares"),
        Column("mark", "UInt64", "a number of 20 digits that identifies something"),
        Column("repeat", "UInt8", "a name that means something in R"),
        Column("capped", "Bool", "a truth value"),
        Column("venues", "Array(String)", "a list"),
    ),
    key=("mark",),
    order=("mark",),
    time="day",
    symbol="ticker",
    rhythm=Rhythm("never", 1),
)
DAY, NOON = date(2020, 1, 2), datetime(2020, 1, 2, 12, 0, 0, 1, tzinfo=UTC)
MOST = (1 << 64) - 1
ROWS: list[tuple[Any, ...]] = [
    (DAY, NOON, "NA", "000000017", "N/A", Decimal("0.0001"), 1, MOST, 1, True, ["NA"]),
    (DAY, NOON.replace(microsecond=123456), "TRUE", "012345678", "", Decimal(3), (1 << 53) + 1, 2, 0, False, []),
    (DAY, NOON.replace(microsecond=0), "1E5", "1E1234567", 'O"Brien, "x"', None, None, 3, 0, True, ["a", "b"]),
    (DAY, NOON.replace(microsecond=100), "", "00000000A", None, Decimal("12.5"), -5, 4, 0, False, ["", "NULL"]),
    (DAY, NOON.replace(microsecond=999999), "INF", "T", "line\nfeed", Decimal(1), 0, 5, 0, False, []),
    (DAY, NOON, "NULL", "nan", "ENEL AMÉRICAS »", Decimal(1), 0, 6, 0, False, []),
    (DAY, NOON, "-1", "0x1F", " blank ", Decimal(1), 0, 7, 0, False, []),
]  # fmt: skip
TEXTS = ("ticker", "cusip", "note")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def cells(world: World) -> AsyncIterator[World]:
    async with open_database(world, "snippets", [CELLS]) as cells:
        await publish(cells, CELLS, ROWS)
        yield cells


async def read_snippets(world: World, query: str = "") -> dict[str, str]:
    """The snippets on the page, by title."""
    _, text, _ = await world.get(f"/data/cells{query}")
    found = re.findall(
        r'<details><summary>([^<]+)</summary><pre tabindex="0"><code>(.*?)</code></pre>', text, re.DOTALL
    )
    return {title: html.unescape(code) for title, code in found}


def run_python(code: str) -> Any:
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102  the snippet of our own page
    return names["rows"]


def run_shell(command: str, folder: Path) -> None:
    subprocess.run(["/bin/sh", "-c", command], cwd=folder, check=True, capture_output=True, timeout=60)


def wanted(name: str) -> list[Any]:
    index = [column.name for column in CELLS.columns].index(name)
    return [row[index] for row in ROWS]


def test_every_snippet_has_a_test() -> None:
    question = filters.parse_question(CELLS, [])
    titles = [snippet.title for snippet in make_snippets(question, {"csv": "x", "parquet": "x"})]
    assert titles == ["curl", "pandas", "pandas, from CSV", "DuckDB", "R"]


@pytest.mark.asyncio(loop_scope="session")
async def test_curl_fetches_the_rows(cells: World, tmp_path: Path) -> None:
    await asyncio.to_thread(run_shell, (await read_snippets(cells))["curl"], tmp_path)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "cells.csv").read_text(), newline="")))
    assert [row["ticker"] for row in sorted(rows, key=lambda row: int(row["mark"]) % MOST)] == wanted("ticker")


@pytest.mark.asyncio(loop_scope="session")
async def test_pandas_reads_the_parquet_whole(cells: World) -> None:
    frame = await asyncio.to_thread(run_python, (await read_snippets(cells))["pandas"])
    rows = in_order(frame.to_dict("records"))
    for name in ("day", "ticker", "cusip", "mark", "repeat", "capped", "price"):
        assert [none_if_missing(row[name]) for row in rows] == wanted(name), name
    assert [none_if_missing(row["note"]) for row in rows] == wanted("note")
    assert [none_if_missing(row["count"]) for row in rows] == wanted("count")
    assert [row["at"].to_pydatetime() for row in rows] == wanted("at")
    assert [list(row["venues"]) for row in rows] == wanted("venues")


def in_order(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """In the order of ROWS: the first one has the largest mark."""
    return sorted(rows, key=lambda row: int(row["mark"]) % MOST)


def none_if_missing(value: Any) -> Any:
    return None if not isinstance(value, list) and pd.isna(value) else value


@pytest.mark.asyncio(loop_scope="session")
async def test_pandas_reads_the_csv_whole(cells: World) -> None:
    frame = await asyncio.to_thread(run_python, (await read_snippets(cells))["pandas, from CSV"])
    rows = in_order(frame.to_dict("records"))
    for name in ("ticker", "cusip", "mark", "repeat", "capped", "note", "count"):
        assert [none_if_missing(row[name]) for row in rows] == wanted(name), name
    assert [row["at"].to_pydatetime() for row in rows] == wanted("at")
    assert [row["day"].date() for row in rows] == wanted("day")
    prices = [None if pd.isna(row["price"]) else Decimal(str(row["price"])) for row in rows]
    assert prices == wanted("price")


@pytest.mark.asyncio(loop_scope="session")
async def test_duckdb_reads_the_parquet_whole(cells: World, tmp_path: Path) -> None:
    fetch, select = (await read_snippets(cells))["DuckDB"].split("\n")
    await asyncio.to_thread(run_shell, fetch.removeprefix("-- first, in a shell: "), tmp_path)
    with duckdb.connect() as database:
        database.execute(f"SET file_search_path = '{tmp_path}'")
        answer = database.execute(
            f"SELECT ticker, cusip, note, price, count, mark FROM ({select.rstrip(';')})"
        ).fetchall()
    rows = sorted(answer, key=lambda row: row[-1] % MOST)
    for index, name in enumerate(("ticker", "cusip", "note", "price", "count", "mark")):
        assert [row[index] for row in rows] == wanted(name), name


R_ANSWER = """
rows <- rows[order(match(rows$mark, c("18446744073709551615", 2:7))), ]
for (name in c("ticker", "cusip", "note", "mark", "at")) {
  cat(ifelse(is.na(rows[[name]]), "<missing>", paste0("|", gsub("\\n", "~", rows[[name]]))), sep = "\\n")
}
cat(class(rows$day), class(rows$price), sum(is.na(rows$price)), class(rows$capped), sum(rows$capped), "\\n")
"""


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.skipif(shutil.which("Rscript") is None, reason="there is no R: apt-get install r-base-core")
async def test_r_reads_the_csv_whole(cells: World, tmp_path: Path) -> None:
    (tmp_path / "read.R").write_text((await read_snippets(cells))["R"] + "\n" + R_ANSWER, encoding="utf-8")
    command = ["Rscript", "--vanilla", "--encoding=UTF-8", "read.R"]
    done = await asyncio.to_thread(
        subprocess.run, command, cwd=tmp_path, check=False, capture_output=True, timeout=120, env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    lines = done.stdout.decode().splitlines()
    times = [f"{moment:%Y-%m-%dT%H:%M:%S.%f}Z" for moment in wanted("at")]
    for place, values in enumerate([*map(wanted, TEXTS), list(map(str, wanted("mark"))), times]):
        told = ["<missing>" if value is None else "|" + value.replace("\n", "~") for value in values]
        assert lines[place * len(ROWS) : (place + 1) * len(ROWS)] == told
    assert lines[-1].split() == ["Date", "numeric", "1", "logical", "2"]


@pytest.mark.asyncio(loop_scope="session")
async def test_r_is_told_what_it_would_change(cells: World) -> None:
    """Holds where R is not installed: the options of the snippet, by its text."""
    code = (await read_snippets(cells))["R"]
    assert 'na.strings = "\\\\N"' in code
    assert "check.names = FALSE" in code
    classes = dict(re.findall(r'"(\w+)" = "(\w+)"', code))
    assert classes == {
        **dict.fromkeys(("at", *TEXTS, "mark", "venues"), "character"),
        "day": "Date",
        "capped": "logical",
    }


@pytest.mark.asyncio(loop_scope="session")
async def test_the_snippets_are_about_the_columns_of_the_file(cells: World) -> None:
    snippets = await read_snippets(cells, "?_cols=ticker,price&_receipt=1")
    classes = dict(re.findall(r'"(\w+)" = "(\w+)"', snippets["R"]))
    assert classes == {"ticker": "character", "_document": "character"}
    frame = await asyncio.to_thread(run_python, snippets["pandas, from CSV"])
    assert list(frame.columns) == ["ticker", "price", "_document", "_member", "_line"]
    assert in_order_of_lines(frame)["ticker"].tolist() == wanted("ticker")


def in_order_of_lines(frame: Any) -> Any:
    return frame.sort_values("_line")
