"""What a table of the report holds, by the words above it and the words of its header. Never by its page or its place.

Headers have one or two rows. In two rows the first names an error and spans the columns `Initial` and `Adjusted` below it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from spotlightd import FormatError
from spotlightd.parse.pdf.tables import Row, Table

ERRORS = (
    ("late", r"\blate\b"),
    ("rejection", r"\brejection"),
    ("interfirm_sent", r"\binter[\s-]?firm\b.*\bsent\b"),
    ("interfirm_received", r"\binter[\s-]?firm\b.*\breceived?\b"),
    ("intrafirm", r"\bintra[\s-]?firm\b"),
    ("exchange", r"\bexchange\b"),
    ("trade", r"\btrade\b"),
    ("overall", r"\boverall\b"),
)
STAGES = (("initial", r"\binitial\b"), ("adjusted", r"\badjusted\b"))
COUNTS = (
    ("processed", r"\bprocessed\b"),
    ("accepted", r"\baccepted\b"),
    ("late", r"\blate\b"),
    ("errors", r"\berrors?\b"),
)
FILLING = re.compile(r"\b(?:rates?|errors?|overall|records?|total|number|of|percent|rejections?)\b|[^a-z]")
"""Words of a header that change nothing. Any other word may mean something that nobody has thought of."""

PRODUCTS = (("equities", r"\bequit(?:y|ies)\b"), ("options", r"\boptions?\b"))


@dataclass(frozen=True, slots=True)
class Meaning:
    """What the columns of a table are: `counts` or rates, of which product, and each column after the date as (what, stage)."""

    counts: bool
    product: str
    columns: tuple[tuple[str, str], ...]


def read_meaning(table: Table, header: Sequence[Row], before: Meaning | None) -> Meaning:
    """The meaning of a table with that header. One without a header goes on with the table before it, as tables do that are
    broken over pages. FormatError when it says nothing that is known.
    """
    names = _column_names(header)
    if not names:
        if before is None:
            raise FormatError(f"page {table.page}: a table without a header goes on with no other", member=table.page)
        return before
    counts = any(re.search(r"\bprocessed\b", name) for name in names)
    columns = tuple(_read_column(table, name, counts=counts) for name in names[1:])
    product = _find(PRODUCTS, table.heading.lower())
    if product is None and before and (before.counts, before.columns) == (counts, columns):
        product = before.product
    if product is None:
        raise FormatError(
            f"page {table.page}: the heading {table.heading[-80:]!r} says neither equities nor options",
            member=table.page,
        )
    if len(set(columns)) != len(columns):
        raise FormatError(f"page {table.page}: two columns have one meaning: {', '.join(names)}", member=table.page)
    return Meaning(counts, product, columns)


def _column_names(header: Sequence[Row]) -> list[str]:
    """The words of each column from top to bottom, in lower case. A merged cell counts for all columns that it spans."""
    width = max(map(len, header), default=0)
    names = [""] * width
    for row in header:
        spanning = ""
        for index in range(width):
            cell = row[index] if index < len(row) else None
            spanning = cell.text if cell else spanning
            names[index] = f"{names[index]} {spanning}".strip()
    return [name.lower() for name in names]


def _read_column(table: Table, name: str, *, counts: bool) -> tuple[str, str]:
    """What a column is, and its stage. FormatError for one with an unknown word."""
    choices = COUNTS if counts else ERRORS
    what, stage = _find(choices, name), _find(STAGES, name)
    rest = functools.reduce(lambda text, choice: re.sub(choice[1], " ", text), (*choices, *STAGES), name)
    if what is None or FILLING.sub("", rest) or (counts and stage):
        raise FormatError(f"page {table.page}: the column {name!r} is not known", member=table.page)
    return what, stage or ""


def _find(choices: Sequence[tuple[str, str]], text: str) -> str | None:
    """The one choice whose words the text has. None if it has those of none, or of several."""
    found = [name for name, pattern in choices if re.search(pattern, text)]
    return found[0] if len(found) == 1 else None
