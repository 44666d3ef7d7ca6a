"""What files of daily short volume have in common, at FINRA and at the exchanges of NYSE: their names and their old header."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import replace

from spotlightd import Body, FormatError, Reject, Rows
from spotlightd.parse import delimited, lines

NAME = re.compile(r"([A-Za-z]+)shvol\d{8}\.txt")
EXEMPT = "short_exempt_volume"
LONGEST_HEADER = 1_000


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
