"""Run a source's `parse` in this process, checking what it yields: for the child, for `try`, and for golden cases."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pyarrow as pa

from spotlightd.errors import FormatError, SettingsError
from spotlightd.model.provenance import Body, Reject
from spotlightd.model.source import Batch, Rows
from spotlightd.model.stream import Stream
from spotlightd.parse import columns
from spotlightd.settings.sources import ParserSettings
from spotlightd.workers.loader import Blame

LIMITS = ParserSettings()


def parse_here(
    source: Batch | Stream, path: Path, name: str, limits: ParserSettings = LIMITS
) -> Generator[Rows | Reject, None, None]:
    """Rows and rejects of one document. FormatError also for a mistake in the source: then it names type and place."""
    if source.parse is None:
        raise SettingsError(f"stream {source.name} is decoded by the warehouse, not here")
    with Blame(lambda said: FormatError(f"a bug in the source {source.name}: {said}")):
        for found in source.parse(Body(path, name, limits)):
            yield found if isinstance(found, Reject) else _checked(found, source)


def _checked(found: Rows, source: Batch | Stream) -> Rows:
    """The rows with exactly the declared schema. TypeError, hence a bug, when they are not what was declared."""
    if found.dataset not in source.datasets:
        raise TypeError(f"rows of {found.dataset.name}, which is no dataset of this source")
    schema = columns.parsed(found.dataset)
    batch = found.columns
    if not isinstance(batch, pa.RecordBatch):
        raise TypeError(f"rows of {found.dataset.name} must be a pyarrow.RecordBatch, not {type(batch).__name__}")
    if batch.schema == schema:
        return found
    wrong = sorted(set(batch.schema.names) ^ set(schema.names))
    if wrong:
        raise TypeError(f"rows of {found.dataset.name} have columns too many or too few: {', '.join(wrong)}")
    for field in schema:
        column = batch.column(field.name)
        if column.type != field.type:
            raise TypeError(f"{found.dataset.name}.{field.name} is {column.type}, not {field.type}")
        if column.null_count and not field.nullable:
            raise TypeError(f"{found.dataset.name}.{field.name} has empty values, and is not Nullable")
    return Rows(found.dataset, pa.record_batch([batch.column(name) for name in schema.names], schema=schema))
