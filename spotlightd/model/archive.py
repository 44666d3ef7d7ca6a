"""What the archive is made of: fingerprints by which two copies of the same rows are known to be equal."""

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
"""All that shapes the file is said here, also where it is the engine's default today, so that equal rows make equal bytes
after an upgrade too, and every reader finds texts, dates and moments as such.

Row groups of some 50,000 rows: one symbol of a sorted day is read from the store in a few of them, and the verifier
needs little memory; wide rows make smaller ones. Dictionaries of at most 64 KiB instead of 1 MiB: those of moments and
numbers, which nearly all differ, only cost, in bytes and in time. No Bloom filters: files are sorted by what is looked up. Checksums of pages are what finds a flipped byte first.
Texts are marked as UTF-8 because readers want to know; one that is not is kept byte for byte all the same, and strict
readers refuse its column.
"""


def exported(columns: Sequence[Column], rows_of: str, order: Sequence[str]) -> str:
    """The SELECT whose Parquet is archived. `rows_of`: a table, and a WHERE if need be. `order` must leave no two rows
    equal, or equal only as a whole: then equal rows make equal bytes.
    """
    settings = ", ".join(f"{name} = {value!r}" for name, value in EXPORT_SETTINGS.items())
    names, keys = (", ".join(f"`{name}`" for name in some) for some in ([one.name for one in columns], order))
    return f"SELECT {names} FROM {rows_of} ORDER BY {keys} SETTINGS {settings}"


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Of some rows, whatever their order. `total` is the sum of the rows' hashes modulo 2^64, `mixed` their exclusive or;
    `low` and `high` are the least and greatest of the time column, in its own ticks since 1970 (days of a Date, units of
    a DateTime64). All zero when there is no row.
    """

    rows: int = 0
    total: int = 0
    mixed: int = 0
    low: int = 0
    high: int = 0

    def __add__(self, other: Fingerprint) -> Fingerprint:
        """Of the rows of both."""
        if not self.rows or not other.rows:
            return self if self.rows else other
        return Fingerprint(
            self.rows + other.rows, (self.total + other.total) % 2**64, self.mixed ^ other.mixed,
            min(self.low, other.low), max(self.high, other.high),
        )  # fmt: skip
