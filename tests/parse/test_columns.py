from __future__ import annotations

import pyarrow as pa
import pytest

from spotlightd import Column
from spotlightd.datasets.system import SYSTEM_DATASETS
from spotlightd.parse import columns
from spotlightd.sources.sec_ftd import sec_ftd

DECIMAL, TEXT = pa.decimal128(18, 4), pa.string()


def test_the_stored_columns_come_in_insert_order_with_their_arrow_types() -> None:
    assert columns.stored_schema(sec_ftd) == pa.schema(
        [
            pa.field("settlement_date", pa.date32(), nullable=False),
            pa.field("cusip", pa.binary(9), nullable=False),
            pa.field("symbol", pa.dictionary(pa.int32(), TEXT), nullable=False),
            pa.field("quantity", pa.uint64(), nullable=False),
            pa.field("description", TEXT, nullable=False),
            pa.field("price", DECIMAL, nullable=True),
            pa.field("load_id", pa.uint64(), nullable=False),
            pa.field("member", pa.uint16(), nullable=False),
            pa.field("line", pa.uint32(), nullable=False),
        ]
    )


def test_a_source_yields_all_but_the_load() -> None:
    names = [name for name in columns.stored_schema(sec_ftd).names if name != "load_id"]
    assert columns.parsed_schema(sec_ftd).names == names


@pytest.mark.parametrize(
    ("clickhouse_type", "arrow"),
    [
        ("UInt8", pa.uint8()),
        ("Int64", pa.int64()),
        ("Float64", pa.float64()),
        ("Bool", pa.bool_()),
        ("UUID", TEXT),
        ("Date", pa.date32()),
        ("DateTime64(6, 'UTC')", pa.timestamp("us", "UTC")),
        ("DateTime64(3,'UTC')", pa.timestamp("ms", "UTC")),
        ("Decimal(38, 10)", pa.decimal128(38, 10)),
        ("FixedString(64)", pa.binary(64)),
        ("Nullable(Decimal(18, 4))", DECIMAL),
        ("LowCardinality(Nullable(String))", pa.dictionary(pa.int32(), TEXT)),
        ("Array(UInt64)", pa.list_(pa.uint64())),
        ("Map(LowCardinality(String), String)", pa.map_(pa.dictionary(pa.int32(), TEXT), TEXT)),
    ],
)
def test_every_type_of_a_dataset_has_an_arrow_type(clickhouse_type: str, arrow: pa.DataType) -> None:
    column = Column("x", clickhouse_type, "x")
    assert columns.arrow_field(column) == pa.field("x", arrow, nullable="Nullable" in clickhouse_type)


@pytest.mark.parametrize("dataset", SYSTEM_DATASETS, ids=lambda dataset: dataset.name)
def test_the_system_datasets_have_a_schema(dataset: object) -> None:
    assert columns.stored_schema(dataset).names == [column.name for column in dataset.stored]  # type: ignore[attr-defined,arg-type]
