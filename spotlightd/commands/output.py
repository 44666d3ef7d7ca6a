"""What commands say: tables and sentences for people, JSON for programs, progress on the terminal."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as ProgressBar
from rich.table import Table

from spotlightd.ports.progress import Progress

WIDE = 1_000  # columns of a table that goes into a file or another program: nothing is folded there


@dataclass(frozen=True, slots=True)
class Out:
    """Where a command's words go: answers to stdout, everything else to stderr."""

    as_json: bool = False

    def table(self, names: Sequence[str], rows: Sequence[Sequence[Any]], *, title: str = "") -> None:
        """Rows for people as a table, for programs as a list of objects."""
        if self.as_json:
            self.value([dict(zip(names, row, strict=True)) for row in rows])
            return
        made = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
        for at, name in enumerate(names):
            right = any(isinstance(row[at], int | float | Decimal) for row in rows)
            made.add_column(name, justify="right" if right else "left", overflow="fold")
        for row in rows:
            made.add_row(*(shown(value) for value in row))
        width = None if sys.stdout.isatty() else WIDE
        Console(width=width, highlight=False, markup=False).print(made)

    def value(self, value: Any) -> None:
        """One value as JSON."""
        indent = None if self.as_json else 2
        print(json.dumps(_finite(value), default=_plain, ensure_ascii=False, indent=indent, allow_nan=False))

    def say(self, sentence: str, value: Mapping[str, Any] | None = None) -> None:
        """A sentence for people; its facts for programs."""
        if self.as_json:
            self.value(dict(value or {"says": sentence}))
        else:
            print(sentence)

    def note(self, sentence: str) -> None:
        """A remark beside the answer."""
        print(sentence, file=sys.stderr)

    def problem(self, error: Exception) -> None:
        """What went wrong, in a sentence; also as JSON when that was asked for."""
        print(f"spotlightd: {error}", file=sys.stderr)
        if self.as_json:
            self.value({"error": type(error).__name__, "says": str(error)})

    @contextmanager
    def progress(self, title: str) -> Iterator[Progress]:
        """A bar on the terminal while the block runs; silence elsewhere."""
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
                bar.update(task, description=f"{title} {step}", completed=done, total=total or None)

            yield advance


def shown(value: Any) -> str:
    """A value in a table for people."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, int):
        return f"{value:,}"
    return str(value)


def _finite(value: Any) -> Any:
    """JSON has no words for NaN and the infinities: null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    return [_finite(one) for one in value] if isinstance(value, list | tuple) else value


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, date | datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(type(value).__name__)
