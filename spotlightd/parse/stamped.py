"""Reads the daily lists of exchanges: a header, one security a line, and a last line that is the time of their making.

The lists have a few dozen lines, so they are read line by line. The separator is the one that the header has: `|`, or `,`
where somebody sent commas. The last line is fourteen digits (`20260727230005`), in the exchange's own time. A list that ends
otherwise was cut off on its way.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from spotlightd.errors import FormatError
from spotlightd.model.provenance import Reject
from spotlightd.parse.cells import make_reject
from spotlightd.parse.new_york import NEW_YORK

STAMP_DIGITS = 14
STAMP_FORMAT = "%Y%m%d%H%M%S"
_BOM = "\ufeff"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a list: its number, its text, and its fields by the names of the header."""

    line: int
    text: str
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class StampedList:
    """`printed_at` is the time in the last line, None where the publisher writes none; `last_line` is the number of that
    line, else of the last one. `rejects` are lines with another number of fields than the header.
    """

    entries: Sequence[Entry]
    printed_at: datetime | None
    last_line: int
    rejects: Sequence[Reject] = field(default=())


def read_list(path: Path, required: Collection[str], *, dropped: Collection[str] = (), loose: str = "", is_stamped: bool = True,
              time_zone: ZoneInfo = NEW_YORK) -> StampedList:  # fmt: skip
    """The entries of a list. FormatError for another header, for a list without its last line, and for one that goes on after it.

    `required` are the fields that the header must have, in any order; `dropped` those that it may have besides. `loose` is the
    one field that may hold the separator itself.
    """
    lines = [(number, text) for number, text in _number_lines(path) if text.strip()]
    if not lines:
        raise FormatError("the list is empty: there is not even a header")
    separator, names = _read_header(lines[0], required, dropped)
    printed_at, last_line, body = None, lines[-1][0], lines[1:]
    if is_stamped:
        printed_at, body = _read_stamp(lines, time_zone), lines[1:-1]
    entries, rejects = list[Entry](), list[Reject]()
    for number, text in body:
        if _is_stamp(text):
            raise FormatError(f"there are lines after the time in line {number}", line=number)
        fields = _split(text, separator, names, loose)
        if fields is None:
            count = text.count(separator) + 1
            reason = f"{count} field{'s' * (count != 1)} where the header has {len(names)}"
            rejects.append(make_reject(0, number, text, reason))
        else:
            entries.append(Entry(number, text, fields))
    return StampedList(entries, printed_at, last_line, rejects)


def _number_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines without their ends. Bytes that are no UTF-8 are read as latin-1, which keeps each of them."""
    raw = path.read_bytes()
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    for number, line in enumerate(text.removeprefix(_BOM).split("\n"), 1):
        yield number, line.rstrip("\r")


def _read_header(
    line: tuple[int, str], required: Collection[str], dropped: Collection[str]
) -> tuple[str, Sequence[str]]:
    number, text = line
    separator = "|" if "|" in text else ","
    names = [name.strip() for name in text.split(separator)]
    errors = [f"{name[:80]!r} is not known" for name in dict.fromkeys(names) if name not in (*required, *dropped)]
    errors += [f"{name!r} is missing" for name in required if name not in names]
    errors += [f"{name!r} appears twice" for name in required if names.count(name) > 1]
    if errors:
        message = f"the header is not the expected one: {', '.join(errors[:8])}; line {number} reads {text[:200]!r}"
        raise FormatError(message, line=number)
    return separator, names


def _is_stamp(text: str) -> bool:
    digits = text.strip()
    return len(digits) == STAMP_DIGITS and digits.isascii() and digits.isdigit()


def _read_stamp(lines: Sequence[tuple[int, str]], time_zone: ZoneInfo) -> datetime:
    number, text = lines[-1]
    if len(lines) == 1 or not _is_stamp(text):
        message = (
            f"the last line is not the time of the list, such as 20260727230005, but {text[:80]!r}: the list is cut off"
        )
        raise FormatError(message, line=number)
    return read_time(text.strip(), STAMP_FORMAT, time_zone, line=number)


def read_time(text: str, form: str, time_zone: ZoneInfo = NEW_YORK, *, line: int = 0) -> datetime:
    """A time that an exchange writes without a zone, aware. FormatError when there is no such time."""
    try:
        return datetime.strptime(text, form).replace(tzinfo=time_zone)
    except ValueError:
        raise FormatError(f"{text[:80]!r} is not a time", line=line) from None


def _split(text: str, separator: str, names: Sequence[str], loose: str) -> dict[str, str] | None:
    """The fields by name; None when there are more or fewer than in the header, and the loose one does not explain it."""
    fields = text.split(separator)
    extra = len(fields) - len(names)
    if extra < 0 or (extra and not loose):
        return None
    if extra:
        start = names.index(loose)
        end = start + extra + 1
        fields = [*fields[:start], separator.join(fields[start:end]), *fields[end:]]
    return {name: value.strip() for name, value in zip(names, fields, strict=True)}
