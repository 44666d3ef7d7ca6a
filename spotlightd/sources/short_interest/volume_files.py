"""What files of daily short volume have in common, at FINRA and at the exchanges of NYSE: their names and their old header."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

from spotlightd import Body, FormatError, Reject, Rows
from spotlightd.parse import delimited, lines

NAME = re.compile(r"([A-Za-z]+)shvol\d{8}\.txt")
EXEMPT = "short_exempt_volume"
LONGEST_HEADER = 1_000


def reread_volumes(text: str, columns: Sequence[str]) -> dict[str, Any]:
    """One line as a row, field by field, for an audit; `columns` in the order of the newest header. Old lines have a field less."""
    texts = text.split("|")
    if len(texts) < len(columns):
        columns = [column for column in columns if column != EXEMPT]
    fields = dict(zip(columns, texts, strict=True))
    day = fields["trade_date"]
    return {
        "trade_date": date(int(day[:4]), int(day[4:6]), int(day[6:])),
        "symbol": fields["symbol"],
        "short_volume": Decimal(fields["short_volume"]),
        EXEMPT: Decimal(fields[EXEMPT]) if EXEMPT in fields else None,
        "total_volume": Decimal(fields["total_volume"]),
        "market": fields["market"],
    }


def read_volumes(body: Body, layout: delimited.Layout, facilities: Collection[str]) -> Iterator[Rows | Reject]:
    """The rows of a file whose name tells the facility. Old files have no exempt volume: then it is empty."""
    name = NAME.fullmatch(body.name)
    if name is None or name[1] not in facilities:
        raise FormatError(f"{body.name} is not the name of a file of short volume: it tells no known facility")
    with body.path.open("rb") as file:
        header = file.readline(LONGEST_HEADER)
    constants = {"facility": name[1].upper()}
    field = next(field for field, column in layout.take.items() if column == EXEMPT)
    if field.encode() in header:
        yield from delimited.read(lines.read_file(body.path), replace(layout, constants=constants))
        return
    take = {other: column for other, column in layout.take.items() if other != field}
    yield from delimited.read(
        lines.read_file(body.path), replace(layout, take=take, constants={**constants, EXEMPT: ""})
    )
