"""A dataset's bare name means its visible rows; everything else of the operator's SQL is left as it is."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from spotlightd.commands.output import Out, format_cell
from spotlightd.commands.read.query import with_visible
from spotlightd.datasets.system import SYSTEM_DATASETS
from spotlightd.datasets.trades import trades
from spotlightd.sources.sec_ftd import sec_ftd
from spotlightd.sql.visibility import Snapshot

DATASETS = (sec_ftd, *SYSTEM_DATASETS)
VIEW = "WITH sec_ftd AS (SELECT settlement_date, cusip, symbol, quantity, description, price, load_id, member, line FROM db.sec_ftd WHERE load_id IN ("


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1 FROM sec_ftd",
        "SELECT 1 FROM `sec_ftd`",
        'SELECT 1 FROM "sec_ftd"',
        "/* why */ SELECT 1 FROM sec_ftd",
        "select 1\nfrom sec_ftd",
        "-- why\nSELECT 1 FROM sec_ftd",
        "SELECT 1 FROM loads, sec_ftd",
    ],
)
def test_a_dataset_is_narrowed_to_what_is_visible(sql: str) -> None:
    text, params = with_visible(sql, DATASETS, "db", Snapshot(7))
    assert text.startswith(VIEW)
    assert text.endswith(sql)
    assert params == {"seq": 7}


def test_a_with_clause_of_the_operator_is_appended_to_ours() -> None:
    text, _ = with_visible("WITH x AS (SELECT 1) SELECT * FROM sec_ftd, x", DATASETS, "db", Snapshot(7))
    assert text.startswith(VIEW)
    assert text.count("WITH") == 1
    assert text.endswith(",  x AS (SELECT 1) SELECT * FROM sec_ftd, x")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1",
        "SELECT * FROM loads",
        "SELECT * FROM db.sec_ftd",
        "SELECT * FROM db.`sec_ftd`",
        "SELECT * FROM `db`.`sec_ftd`",
        "DESCRIBE sec_ftd",
        "SELECT * FROM sec_ftd_current",
    ],
)
def test_what_names_no_dataset_or_names_the_whole_table_is_left_alone(sql: str) -> None:
    assert with_visible(sql, DATASETS, "db", Snapshot(7)) == (sql, {})


def test_a_computed_column_is_there_when_the_sql_names_it() -> None:
    named, _ = with_visible("SELECT uuid, symbol FROM trades", (trades,), "db", Snapshot(7))
    assert (
        "CAST(reinterpretAsUUID(sipHash128(source, epoch, partition, offset, frame_index)) AS UUID) AS `uuid` FROM db.trades"
        in named
    )
    unnamed, _ = with_visible("SELECT * FROM trades", (trades,), "db", Snapshot(7))
    assert "reinterpretAsUUID" not in unnamed


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (datetime(2021, 1, 27, 14, 30, 5, tzinfo=UTC), "2021-01-27 14:30:05"),
        (datetime(2021, 1, 27, 14, 30, 5, 1, tzinfo=UTC), "2021-01-27 14:30:05.000001"),
        (datetime(2021, 1, 27, 14, 30, 5, 120_000, tzinfo=UTC), "2021-01-27 14:30:05.120000"),
        (Decimal("0.00000001"), "0.00000001"),
        (Decimal("1E+3"), "1000"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (1_000_000, "1,000,000"),
        (None, ""),
        ("NA", "NA"),
        ("007", "007"),
    ],
)
def test_a_cell_shows_the_whole_value(value: Any, text: str) -> None:
    assert format_cell(value) == text


def test_a_program_gets_the_whole_value(capsys: pytest.CaptureFixture[str]) -> None:
    at = datetime(2021, 1, 27, 14, 30, 5, 1, tzinfo=UTC)
    Out(as_json=True).table(["at", "id", "price"], [[at, UUID(int=1), Decimal("0.00000001")]])
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["at"], row["id"]) == ("2021-01-27T14:30:05.000001+00:00", str(UUID(int=1)))
    assert Decimal(row["price"]) == Decimal("0.00000001")
