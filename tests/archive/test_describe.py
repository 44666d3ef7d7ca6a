"""The footer of a file describes its columns, and the rows stay unchanged."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.datasets.system import SYSTEM_DATASETS
from spotlightd.errors import StoreError
from spotlightd.flows.archive.export import total_order
from spotlightd.flows.archive.parquet import KEY, hash_file, write_description
from spotlightd.model.archive import export_select
from spotlightd.model.dataset import Column, Dataset, Rhythm
from spotlightd.runtime.catalog import load_catalog

PLAIN = (
    "UInt8", "Int16", "UInt32", "Int64", "Float64", "String", "FixedString(5)", "Date", "DateTime64(3, 'UTC')",
    "DateTime64(6, 'UTC')", "DateTime64(9, 'UTC')", "UUID", "Bool", "Decimal(9, 2)", "Decimal(18, 4)", "Decimal(38, 18)",
)  # fmt: skip
TYPES = (
    *PLAIN, *(f"Nullable({name})" for name in PLAIN), "LowCardinality(String)", "LowCardinality(Nullable(String))",
    "Array(UInt32)", "Array(LowCardinality(String))",
)  # fmt: skip
EVERY = Dataset(
    name="every_type", title="constructed", publisher="nobody", about="One column of each type.",
    columns=tuple(Column(f"c{at}", type_name, f"meaning of {at}", unit="m" * (at % 2)) for at, type_name in enumerate(TYPES)),
    key=("c0",), order=("c0",), time="c9", rhythm=Rhythm("never", 0), by_load=False,
)  # fmt: skip


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize(
    "dataset", [EVERY, *SYSTEM_DATASETS, *load_catalog().datasets], ids=lambda dataset: dataset.name
)
async def test_every_dataset_can_be_described_and_reads_as_before(
    warehouse: ClickHouse, tmp_path: Path, dataset: Dataset
) -> None:
    path = tmp_path / "file.parquet"
    await warehouse.execute("DROP TABLE IF EXISTS described")
    columns = ", ".join(f"{column.name} {column.type}" for column in dataset.stored)
    await warehouse.execute(f"CREATE TABLE described ({columns}) ENGINE = Memory")
    await warehouse.execute(
        f"INSERT INTO described SELECT * FROM generateRandom('{columns.replace(chr(39), chr(92) + chr(39))}', 7) LIMIT 100"
    )
    async with warehouse.stream(
        export_select(dataset.stored, "described", total_order(dataset, dataset.stored)), "Parquet"
    ) as chunks:
        path.write_bytes(b"".join([chunk async for chunk in chunks]))
    before = pq.read_table(path)
    write_description(path, dataset, dataset.stored, "20260301-0", ["constructed 1"])
    assert pq.read_table(path).equals(before)
    schema = pq.read_schema(path)
    assert schema.metadata[KEY].startswith(b'{"dataset": "' + dataset.name.encode())
    first = dataset.stored[0]
    assert schema.field(first.name).metadata[b"meaning"] == first.meaning.encode()
    assert hash_file(path)[1] == path.stat().st_size


def test_a_file_of_other_columns_is_not_described(tmp_path: Path) -> None:
    path = tmp_path / "file.parquet"
    pq.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(StoreError, match="cannot be described"):
        write_description(path, EVERY, EVERY.stored, "20260301-0", [])
