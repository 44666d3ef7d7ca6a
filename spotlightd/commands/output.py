"""What commands print: tables and sentences for people, JSON for programs, progress on the terminal."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from rich.console import Console
from rich.markup import escape as escape_markup
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as ProgressBar
from rich.table import Table

from spotlightd.log import hide_known_secrets, hide_secrets
from spotlightd.ports.progress import Progress
from spotlightd.printable import LINES, escape_json, escape_text

FILE_WIDTH = 1_000  # characters per line of a table that goes to a file or another program: nothing is folded


@dataclass(frozen=True, slots=True)
class Out:
    """The output of a command: results go to stdout, everything else to stderr. Nothing of it is a secret of this process,
    and control characters in it are shown instead of printed.

    `file_mode` is the mode of a file that the caller named for a result: what the caller's umask allows.
    """

    as_json: bool = False
    file_mode: int = 0o600

    def table(self, names: Sequence[str], rows: Sequence[Sequence[Any]], *, title: str = "") -> None:
        """Print rows: a table for people, a list of objects for programs."""
        if self.as_json:
            self.value([dict(zip(names, row, strict=True)) for row in rows])
            return
        table = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
        for index, name in enumerate(names):
            is_number = any(isinstance(row[index], int | float | Decimal) for row in rows)
            table.add_column(name, justify="right" if is_number else "left", overflow="fold")
        for row in rows:
            table.add_row(*(escape_text(hide_known_secrets(format_cell(value))) for value in row))
        width = None if sys.stdout.isatty() else FILE_WIDTH
        Console(width=width, highlight=False, markup=False).print(table)

    def value(self, value: Any) -> None:
        """Print one value as JSON."""
        indent = None if self.as_json else 2
        text = json.dumps(_without_nan(value), default=_to_json, ensure_ascii=False, indent=indent, allow_nan=False)
        print(escape_json(hide_known_secrets(text)))

    def result(self, sentence: str, facts: Mapping[str, Any] | None = None) -> None:
        """Print the result: the sentence for people, the facts for programs."""
        if self.as_json:
            self.value(dict(facts or {"detail": sentence}))
        else:
            print(escape_text(hide_known_secrets(sentence), LINES))

    def note(self, sentence: str) -> None:
        """Print a remark beside the result."""
        print(escape_text(hide_secrets(sentence), LINES), file=sys.stderr)

    def error(self, error: Exception) -> None:
        """Print an error as a sentence; with --json also as JSON."""
        detail = hide_secrets(str(error))
        print(f"spotlightd: {escape_text(detail, LINES)}", file=sys.stderr)
        if self.as_json:
            self.value({"error": type(error).__name__, "detail": detail})

    @contextmanager
    def progress(self, title: str) -> Iterator[Progress]:
        """A progress bar while the block runs; nothing when stderr is not a terminal or with --json."""
        if self.as_json or not sys.stderr.isatty():
            yield lambda _step, _done, _total: None
            return
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with ProgressBar(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(title, total=None)

            def advance(step: str, done: int, total: int) -> None:
                bar.update(
                    task, description=f"{title} {escape_markup(escape_text(step))}", completed=done, total=total or None
                )

            yield advance


def format_cell(value: Any) -> str:
    """A value in a table for people."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S.%f}" if value.microsecond else f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, int):
        return f"{value:,}"
    return "" if value is None else str(value)


def _without_nan(value: Any) -> Any:
    """The value with null for NaN and the infinities, which JSON cannot express."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    return [_without_nan(item) for item in value] if isinstance(value, list | tuple) else value


def _to_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, date | datetime):
        return value.isoformat()
    if isinstance(value, Decimal | UUID | timedelta):
        return str(value)
    raise TypeError(type(value).__name__)
