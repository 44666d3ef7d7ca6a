"""`_safe=1`: no text of a csv begins with what a spreadsheet takes for a formula. The plain csv stays exact."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
import pytest_asyncio

from spotlightd.model.dataset import Column
from tests.web.world import FAILS, World, open_database, publish

pytestmark = pytest.mark.asyncio(loop_scope="session")
FORMULAS = replace(
    FAILS,
    name="formulas",
    columns=(
        *FAILS.columns, Column("note", "Nullable(String)", "a text that may be missing"),
        Column("change", "Int32", "a number that may begin with a sign"), Column("words", "Array(String)", "a list"),
    ),
)  # fmt: skip
TEXTS = ("=1+1", "+A", "-A", "@A", "\tA", "\rA", "A=", " =A", "'=A", "", "=", "-1", '="', "=a\nb")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def formulas(world: World) -> AsyncIterator[World]:
    async with open_database(world, "formulas", [FORMULAS]) as formulas:
        rows = [
            (
                date(2021, 1, 4),
                "=" + str(number).zfill(8),
                text,
                number,
                text,
                Decimal(1),
                text or None,
                -number,
                [text],
            )
            for number, text in enumerate(TEXTS)
        ]
        await publish(formulas, FORMULAS, rows)
        yield formulas


async def read_csv(world: World, query: str) -> list[dict[str, Any]]:
    status, text, _ = await world.get(f"/data/formulas.csv?{query}")
    assert status == 200, text
    return sorted(csv.DictReader(io.StringIO(text, newline="")), key=lambda row: int(row["quantity"]))


def to_safe(text: str) -> str:
    return f"'{text}" if text[:1] in {"=", "+", "-", "@", "\t", "\r"} else text


async def test_texts_that_begin_like_a_formula_get_a_quote(formulas: World) -> None:
    plain, safe = [await read_csv(formulas, query) for query in ("", "_safe=1")]
    assert [row["symbol"] for row in plain] == list(TEXTS)
    for name in ("symbol", "description", "note", "cusip"):
        assert [row[name] for row in safe] == [to_safe(row[name]) for row in plain], name
    for name in ("settlement_date", "quantity", "price", "change", "words"):
        assert [row[name] for row in safe] == [row[name] for row in plain], name
    assert [row["note"] for row in safe].count(r"\N") == 1
    assert [row["change"] for row in safe][-1] == str(-(len(TEXTS) - 1))


@pytest.mark.parametrize("query", ["symbol=-1", "symbol__startswith=-1", "symbol__in=-1,x", "_sort=symbol&symbol=-1"])
async def test_filters_and_order_mean_the_published_text(formulas: World, query: str) -> None:
    assert [row["symbol"] for row in await read_csv(formulas, f"{query}&_safe=1")] == ["'-1"]


async def test_the_receipt_comes_with_it(formulas: World) -> None:
    rows = await read_csv(formulas, "_safe=1&_receipt=1&_size=100")
    assert [int(row["_line"]) for row in rows] == list(range(1, len(TEXTS) + 1))


@pytest.mark.parametrize(
    "path", ["/data/formulas.parquet?_safe=1", "/data/formulas.json?_safe=1", "/data/formulas.csv?_safe=yes"]
)
async def test_only_a_csv_has_that_form(formulas: World, path: str) -> None:
    status, text, _ = await formulas.get(path)
    assert status == 400
    assert "_safe" in json.loads(text)["error"]["detail"]


@pytest.mark.parametrize("path", ["/data/sec_ftd?symbol=GME", "/s/GME"])
async def test_the_page_offers_it_beside_the_plain_one(world: World, path: str) -> None:
    _, text, _ = await world.get(path)
    assert 'href="/data/sec_ftd.csv?symbol=GME" download' in text
    assert 'href="/data/sec_ftd.csv?symbol=GME&amp;_safe=1" download>csv for spreadsheets</a>' in text
