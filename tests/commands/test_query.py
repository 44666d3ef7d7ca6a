"""A dataset's bare name means its visible rows; everything else of the operator's SQL is left as it is."""

from __future__ import annotations

import pytest

from spotlightd.commands.read.query import with_visible
from spotlightd.datasets.system import SYSTEM_DATASETS
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
