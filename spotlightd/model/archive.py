"""The Parquet export of a partition, and the fingerprint that shows that two copies of rows are equal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from spotlightd.model.dataset import Column

EXPORT_SETTINGS: Mapping[str, int | str] = {
    "max_threads": 2,
    "output_format_parquet_parallel_encoding": 1,
    "output_format_parquet_compression_method": "zstd",
    "output_format_parquet_row_group_size": 50_000,
    "output_format_parquet_row_group_size_bytes": 32 << 20,
    "output_format_parquet_data_page_size": 1 << 20,
    "output_format_parquet_batch_size": 1_024,
    "output_format_parquet_max_dictionary_size": 64 << 10,
    "output_format_parquet_write_page_index": 1,
    "output_format_parquet_write_checksums": 1,
    "output_format_parquet_write_bloom_filter": 0,
    "output_format_parquet_string_as_string": 1,
    "output_format_parquet_fixed_string_as_fixed_byte_array": 1,
    "output_format_parquet_date_as_uint16": 0,
    "output_format_parquet_datetime_as_uint32": 0,
}
"""Every setting that shapes the file, even where it equals the engine's default today. Equal rows therefore make equal
bytes after an upgrade too, and every reader finds texts, dates and times as such.

Row groups have some 50,000 rows: one symbol of a sorted day is read from the store in a few of them, and the verifier
needs little memory. Wide rows make smaller groups. Dictionaries have at most 64 KiB instead of 1 MiB: for times and
numbers, which are nearly all different, larger ones only cost bytes and time. There are no Bloom filters, because files
are sorted by what is looked up. Page checksums find a flipped byte first. Texts are marked as UTF-8 because readers
need to know; a text that is not UTF-8 is stored byte for byte all the same, and strict readers refuse its column.
"""


def export_select(columns: Sequence[Column], rows_of: str, order: Sequence[str]) -> str:
    """The SELECT whose Parquet output is archived. `rows_of` is a table, with a WHERE if needed. Rows that are equal in
    `order` must be equal in all columns: then equal rows make equal bytes.
    """
    settings = ", ".join(f"{name} = {value!r}" for name, value in EXPORT_SETTINGS.items())
    names = ", ".join(f"`{column.name}`" for column in columns)
    keys = ", ".join(f"`{name}`" for name in order)
    return f"SELECT {names} FROM {rows_of} ORDER BY {keys} SETTINGS {settings}"


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The fingerprint of some rows, in any order. `total` is the sum of the rows' hashes modulo 2^64, `mixed` their
    exclusive or. `low` and `high` are the least and greatest value of the time column, in its own ticks since 1970
    (days of a Date, units of a DateTime64). All are zero when there is no row.
    """

    rows: int = 0
    total: int = 0
    mixed: int = 0
    low: int = 0
    high: int = 0

    def __add__(self, other: Fingerprint) -> Fingerprint:
        """The fingerprint of the rows of both."""
        if not self.rows or not other.rows:
            return self if self.rows else other
        return Fingerprint(
            self.rows + other.rows, (self.total + other.total) % 2**64, self.mixed ^ other.mixed,
            min(self.low, other.low), max(self.high, other.high),
        )  # fmt: skip
