"""Runs a source's `parse` in this process and checks what it yields. Used by the child, `try` and the golden cases."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from spotlightd.errors import FormatError, SettingsError
from spotlightd.model.provenance import Body, Reject
from spotlightd.model.source import Batch, Period, Rows
from spotlightd.model.stream import Stream
from spotlightd.parse import columns, outside
from spotlightd.settings.sources import ParserSettings
from spotlightd.workers.loader import AuthorErrors

LIMITS = ParserSettings()


class SourceBugError(FormatError):
    """A bug in the source: nobody knows what it left behind in its process."""


def parse_inline(
    source: Batch | Stream, path: Path, name: str, limits: ParserSettings = LIMITS, *, period: Period | None = None
) -> Generator[Rows | Reject, None, None]:
    """Rows and rejects of one document. A bug in the source is a SourceBugError with the exception's type and line.

    `period`: the days of the document; the source's rule for rows outside them is applied. None for a file that is only
    tried, and for frames.
    """
    if source.parse is None:
        raise SettingsError(f"stream {source.name} has no parser: the warehouse decodes it")
    checked = _parse_checked(source, source.parse, Body(path, name, limits))
    yield from outside.apply_rule(checked, source, period) if period and isinstance(source, Batch) else checked


def _parse_checked(
    source: Batch | Stream, parse: Callable[[Body], Iterator[Rows | Reject]], body: Body
) -> Iterator[Rows | Reject]:
    with AuthorErrors(lambda error: SourceBugError(f"a bug in the source {source.name}: {error}")):
        for item in parse(body):
            yield item if isinstance(item, Reject) else _check_rows(item, source)


def _check_rows(rows: Rows, source: Batch | Stream) -> Rows:
    """The rows in exactly the declared schema. TypeError, which counts as a bug, when they do not fit it."""
    if rows.dataset not in source.datasets:
        raise TypeError(f"rows of {rows.dataset.name}, which the source does not declare")
    schema = columns.parsed_schema(rows.dataset)
    batch = rows.columns
    if not isinstance(batch, pa.RecordBatch):
        raise TypeError(f"rows of {rows.dataset.name} must be a pyarrow.RecordBatch, not {type(batch).__name__}")
    if batch.schema == schema:
        return rows
    differences = sorted(set(batch.schema.names) ^ set(schema.names))
    if differences:
        raise TypeError(f"rows of {rows.dataset.name} have columns too many or too few: {', '.join(differences)}")
    for field in schema:
        column = batch.column(field.name)
        if column.type != field.type:
            raise TypeError(f"{rows.dataset.name}.{field.name} is {column.type}, not {field.type}")
        if column.null_count and not field.nullable:
            raise TypeError(f"{rows.dataset.name}.{field.name} has empty values, and is not Nullable")
    return replace(rows, columns=pa.record_batch([batch.column(name) for name in schema.names], schema=schema))
