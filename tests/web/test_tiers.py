"""What a statement reads: hot rows, archived rows, or both, depending on its filters by time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from spotlightd.datasets import system
from spotlightd.datasets.bars import bars
from spotlightd.datasets.trades import trades
from spotlightd.query import filters, records, select
from spotlightd.sql.tiers import Archived, ArchivedPartitions
from spotlightd.sql.visibility import Snapshot, table_expression
from spotlightd.web.live import ticks
from spotlightd.web.symbol import minutes


def table(keys: Sequence[str], structure: str) -> str:
    assert structure.startswith("symbol LowCardinality(String)")
    return f"COLD({' '.join(keys)})"


def day(number: int) -> Archived:
    begin = datetime(2026, 3, number, tzinfo=UTC)
    last = begin + timedelta(days=1, microseconds=-1)
    bounds = {"received": (begin, last), "time": (begin - timedelta(minutes=5), last)}
    return Archived(trades, f"2026030{number}-0", (f"{number}.parquet",), 1000, bounds)


COLD = ArchivedPartitions({"trades": (day(1), day(2), day(3))}, table)
SNAPSHOT = Snapshot(7, archived=COLD)
HOT = "_partition_id NOT IN ('20260301-0', '20260302-0', '20260303-0')"


def page_sql(*pairs: tuple[str, str]) -> str:
    return select.select_page(filters.parse_question(trades, list(pairs)), SNAPSHOT, 100).sql


def test_without_a_filter_by_time_everything_is_read() -> None:
    sql = page_sql(("symbol", "AAPL"))
    assert HOT in sql
    assert "COLD(1.parquet 2.parquet 3.parquet)" in sql


def test_a_computed_column_is_computed_from_archived_rows_too() -> None:
    for pairs in ([("_cols", "symbol,uuid")], [("uuid", "61f0c404-5cb3-11e7-907b-a6006ad3dba0")], [("_sort", "uuid")]):
        sql = page_sql(*pairs)
        assert "reinterpretAsUUID(" in sql.replace(sql[sql.index(" FROM ") : sql.rindex(" AS trades")], "")


@pytest.mark.parametrize(
    ("pairs", "files"),
    [
        ([("received__gte", "2026-03-04T00:00:00Z")], ""),
        ([("time__gt", "2026-03-03T23:59:59.999999Z")], "COLD(3.parquet)"),
        ([("received__lt", "2026-03-01T00:00:00Z")], "COLD(1.parquet)"),
        ([("received__lt", "2026-02-28T00:00:00Z")], ""),
        ([("received__between", "2026-03-02T10:00:00Z,2026-03-02T11:00:00Z")], "COLD(2.parquet)"),
        ([("received__gte", "2026-03-02T10:00:00Z"), ("received__lte", "2026-03-03T00:00:00Z")], "COLD(2.parquet 3.parquet)"),
        ([("time", "2026-03-01T23:57:00Z")], "COLD(1.parquet 2.parquet)"),
        ([("price__gt", "100"), ("received__gte", "2026-03-03T00:00:00Z")], "COLD(3.parquet)"),
    ],
)  # fmt: skip
def test_filters_by_time_choose_the_files(pairs: list[tuple[str, str]], files: str) -> None:
    sql = page_sql(*pairs)
    assert HOT in sql
    assert (files in sql) if files else ("COLD" not in sql)


def test_without_archived_partitions_a_statement_reads_the_table_alone() -> None:
    question = filters.parse_question(trades, [("symbol", "AAPL")])
    sql = select.select_page(question, Snapshot(7), 100).sql
    assert "FROM `trades` WHERE" in sql
    assert "_partition_id" not in sql


def test_bars_of_now_do_not_touch_the_bucket() -> None:
    """Nothing is archived before its bars are made, and they are read instead."""
    window = minutes.window_ending("1d", datetime(2026, 3, 3, tzinfo=UTC), is_moved=False)
    for query in (minutes.newest_query("AAPL", None, SNAPSHOT), minutes.bars_query("AAPL", window, SNAPSHOT)):
        assert HOT in query.sql
        assert "COLD" not in query.sql


def test_bars_as_of_an_earlier_time_are_computed_from_archived_trades() -> None:
    earlier = Snapshot(3, as_of=datetime(2026, 3, 2, tzinfo=UTC), archived=COLD)
    assert "COLD(1.parquet 2.parquet 3.parquet)" in table_expression(bars, earlier)
    window = minutes.window_ending("1h", datetime(2026, 3, 1, 12, tzinfo=UTC), is_moved=True)
    assert "COLD(1.parquet)" in minutes.bars_query("AAPL", window, earlier).sql


def month(number: int, since: datetime, until: datetime) -> Archived:
    """Gaps that ended in that month of 2025, and began between those times."""
    ends = (datetime(2025, number, 1, tzinfo=UTC), datetime(2025, number + 1, 1, microsecond=0, tzinfo=UTC))
    bounds = {"until": (ends[0], ends[1] - timedelta(microseconds=1)), "since": (since, until)}
    return Archived(system.gaps, f"20250{number}-0", (f"{number}.parquet",), 10, bounds)


JANUARY = month(1, datetime(2024, 6, 1, tzinfo=UTC), datetime(2025, 1, 30, tzinfo=UTC))
MARCH = month(3, datetime(2025, 3, 1, tzinfo=UTC), datetime(2025, 5, 1, tzinfo=UTC))  # a clock was set back by a month
GAPS = Snapshot(0, archived=ArchivedPartitions({"gaps": (JANUARY, MARCH)}, lambda keys, _: f"COLD({' '.join(keys)})"))


@pytest.mark.parametrize(
    ("last", "files"),
    [
        (datetime(2024, 5, 1, tzinfo=UTC), ""),
        (datetime(2024, 9, 1, tzinfo=UTC), "COLD(1.parquet)"),
        (datetime(2025, 1, 15, tzinfo=UTC), "COLD(1.parquet)"),
        (datetime(2025, 2, 15, tzinfo=UTC), ""),
        (datetime(2025, 3, 1, tzinfo=UTC), "COLD(3.parquet)"),
        (datetime(2025, 4, 30, tzinfo=UTC), "COLD(3.parquet)"),
        (datetime(2025, 6, 1, tzinfo=UTC), ""),
    ],
)
def test_a_chart_looks_for_gaps_where_one_may_reach_into_its_time(last: datetime, files: str) -> None:
    sql = minutes.gaps_query("AAPL", minutes.window_ending("1h", last, is_moved=True), GAPS).sql
    assert "_partition_id NOT IN ('202501-0', '202503-0')" in sql
    assert (files in sql) if files else ("COLD" not in sql)


def test_frequent_queries_never_read_the_bucket() -> None:
    archived = Archived(system.runs, "202501-0", ("1.parquet",), 10, {"at": JANUARY.bounds["until"]})
    snapshot = Snapshot(
        0,
        archived=ArchivedPartitions(
            {"gaps": (JANUARY,), "runs": (archived,)}, lambda keys, _: f"COLD({' '.join(keys)})"
        ),
    )
    now = datetime(2026, 3, 1, tzinfo=UTC)
    for query in (
        ticks.gaps_query(now, snapshot),
        records.failed_runs(5, snapshot),
        records.last_runs(snapshot),
        records.runs("a" * 64, now, snapshot),
    ):
        assert "_partition_id NOT IN ('202501-0')" in query.sql
        assert "COLD" not in query.sql
    for fetched in (datetime(2025, 1, 5, tzinfo=UTC), None):
        assert "COLD(1.parquet)" in records.runs("a" * 64, fetched, snapshot).sql
