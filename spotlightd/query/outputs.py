"""The formats in which rows can be written: as downloads and by `spotlightd query`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Output:
    """One format: ClickHouse's name for it, its media type, and settings that make values exact and flat.

    `is_text`: a download in it becomes much smaller when it is compressed on its way.
    """

    format: str
    media_type: str
    settings: str
    is_text: bool = True


_NAMES = (
    "prefer_column_name_to_alias = 1"  # in a condition a column's name means what was published, not what is written
)
_EXACT = f"{_NAMES}, date_time_output_format = 'iso', output_format_decimal_trailing_zeros = 0"
_ARROW = (
    f"{_NAMES}, "
    "output_format_arrow_string_as_string = 1, output_format_arrow_fixed_string_as_fixed_byte_array = 0, "
    "output_format_arrow_low_cardinality_as_dictionary = 0, output_format_arrow_date_as_uint16 = 0, "
    "output_format_arrow_compression_method = 'none'"
)
_PARQUET = (
    f"{_NAMES}, "
    "output_format_parquet_row_group_size = 100000, max_threads = 1, output_format_parquet_string_as_string = 1, "
    "output_format_parquet_fixed_string_as_fixed_byte_array = 0, output_format_parquet_date_as_uint16 = 0"
)
_JSON = f"{_EXACT}, output_format_json_quote_64bit_integers = 0, output_format_json_quote_decimals = 0"
OUTPUTS = {
    "csv": Output("CSVWithNames", "text/csv; charset=utf-8", _EXACT),
    "json": Output("JSONEachRow", "application/json", f"{_JSON}, output_format_json_array_of_rows = 1"),
    "ndjson": Output("JSONEachRow", "application/x-ndjson", f"{_JSON}, output_format_json_array_of_rows = 0"),
    "arrow": Output("ArrowStream", "application/vnd.apache.arrow.stream", _ARROW, is_text=False),
    "parquet": Output("Parquet", "application/vnd.apache.parquet", _PARQUET, is_text=False),
}
"""By file name suffix."""
