"""The SQL that creates tables and views, tested without an engine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spotlightd.clients.clickhouse import ddl
from spotlightd.datasets.bars import bars
from spotlightd.datasets.system import SYSTEM_DATASETS, documents, loads, runs
from spotlightd.datasets.trades import trades
from spotlightd.model import bucket
from spotlightd.model.dataset import Column, Dataset, Rhythm
from spotlightd.sources.sec_ftd import sec_ftd
from spotlightd.sql.visibility import visible_condition

FAILS = Dataset(
    name="fails",
    title="Constructed: the broker's fails",
    publisher="nobody",
    about="For tests.",
    columns=(
        Column("day", "Date", "settlement day", codec="DoubleDelta, ZSTD(1)"),
        Column("price", "Nullable(Decimal(18, 4))", "the day's close", unit="USD"),
    ),
    key=("day",),
    order=("day",),
    time="day",
    rhythm=Rhythm("never", stale_days=0),
    partition="toYYYYMM(day)",
)


def test_a_table_has_every_stored_column_with_its_meaning_unit_and_codec() -> None:
    assert ddl.create_table(FAILS, "spotlightd") == (
        "CREATE TABLE IF NOT EXISTS spotlightd.fails\n"
        "(\n"
        "    day Date CODEC(DoubleDelta, ZSTD(1)) COMMENT 'settlement day',\n"
        "    price Nullable(Decimal(18, 4)) CODEC(T64, ZSTD(1)) COMMENT 'the day\\'s close (USD)',\n"
        "    load_id UInt64 CODEC(Delta, ZSTD(1)) COMMENT 'the load that brought the row; never shown outside this instance',\n"
        "    member UInt16 CODEC(ZSTD(1)) COMMENT 'file within the document, 0 for the first or only one',\n"
        "    line UInt32 CODEC(T64, ZSTD(1)) COMMENT 'line of that file, 1 for the first',\n"
        "    archive_generation UInt16 DEFAULT 0 COMMENT 'how often rows of this partition were sealed before',\n"
        "    INDEX by_load load_id TYPE minmax GRANULARITY 1\n"
        ")\n"
        "ENGINE = MergeTree\n"
        "PARTITION BY (toYYYYMM(day), archive_generation)\n"
        "ORDER BY (day)\n"
        "SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1\n"
        "COMMENT 'Constructed: the broker\\'s fails'"
    )


@pytest.mark.parametrize(
    ("type_name", "codec"),
    [
        ("Date", "ZSTD(1)"), ("FixedString(9)", "ZSTD(1)"), ("String", "ZSTD(1)"), ("LowCardinality(String)", "ZSTD(1)"),
        ("UInt64", "T64, ZSTD(1)"), ("Nullable(Int8)", "T64, ZSTD(1)"), ("Nullable(Decimal(18, 4))", "T64, ZSTD(1)"),
        ("Decimal(19, 4)", "ZSTD(1)"), ("Decimal(38, 18)", "ZSTD(1)"), ("Float64", "ZSTD(1)"), ("Bool", "ZSTD(1)"),
        ("DateTime64(6, 'UTC')", "Delta, ZSTD(1)"), ("Nullable(DateTime64(3, 'UTC'))", "Delta, ZSTD(1)"),
        ("Array(UInt64)", "ZSTD(1)"), ("LowCardinality(UInt8)", "ZSTD(1)"), ("UUID", "ZSTD(1)"),
    ],
)  # fmt: skip
def test_a_column_that_names_no_codec_has_that_of_its_type(type_name: str, codec: str) -> None:
    assert Column("value", type_name, "a value").compression == codec
    assert Column("value", type_name, "a value", codec="LZ4").compression == "LZ4"


@pytest.mark.parametrize("dataset", [*SYSTEM_DATASETS, sec_ftd, trades, bars], ids=lambda dataset: dataset.name)
def test_no_column_repeats_the_codec_of_its_type(dataset: Dataset) -> None:
    assert [
        column.name
        for column in dataset.stored
        if column.codec and replace(column, codec="").compression == column.codec
    ] == []


def test_a_dataset_without_partition_has_none() -> None:
    assert "PARTITION" not in ddl.create_table(loads, "spotlightd")


def test_rows_for_a_sealed_partition_get_the_next_generation() -> None:
    assert ddl.alter_generation(FAILS, {202601: 1, 202602: 2}, "spotlightd") == (
        "ALTER TABLE spotlightd.fails MODIFY COLUMN archive_generation UInt16 DEFAULT "
        "transform(toYYYYMM(day), [202601, 202602], [1, 2], 0) "
        "COMMENT 'how often rows of this partition were sealed before'"
    )


def test_the_unpinned_view_says_that_it_can_tear() -> None:
    view = ddl.create_current_view(FAILS, "spotlightd")
    assert view.startswith(
        "CREATE OR REPLACE VIEW spotlightd.fails_current AS\nSELECT day, price, load_id, member, line\n"
    )
    assert "can miss or mix loads" in view
    assert "{seq" not in view


def test_records_that_leave_have_a_view_of_all_of_them_and_others_need_none() -> None:
    view = ddl.create_view(runs, "spotlightd")
    assert view.startswith("CREATE OR REPLACE VIEW spotlightd.runs_all AS\nSELECT id, at, source, url,")
    assert "\nFROM spotlightd.runs\n" in view
    assert ddl.create_view(documents, "spotlightd") == ""
    assert ddl.create_view(FAILS, "spotlightd") == ddl.create_current_view(FAILS, "spotlightd")


def test_the_pin_binds_the_sequence_and_names_the_dataset() -> None:
    condition = visible_condition(FAILS)
    assert "dataset = 'fails'" in condition
    assert "{seq:UInt64}" in condition
    assert visible_condition(loads) == "1"


def test_a_text_stays_inside_its_quotes() -> None:
    assert bucket.quote("it's \\ '; DROP TABLE t; --") == "'it\\'s \\\\ \\'; DROP TABLE t; --'"
