"""Converts values as people print them to typed columns: `132,405,004+`, `TRUE` and `true`, `a;b;c`, `2026-11-27T09:30:00Z`.

A column comes as texts that are stored once each, and each different text is read once, by plain Python: of a day of 30,000
messages that is two texts in a hundred, and of a slice of five messages nothing is cheaper. What is remarkable about a
text is a mark, not an error:

  capped       the number is printed with a plus sign: the true one is larger
  placeholder  nines only, at least five of them (six with a decimal point), so it means "not known"
  far_date     a day that a Date cannot hold, or a time before 1900 or after 2299; the value is null then
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from functools import cache, partial
from typing import Any

import pyarrow as pa

from spotlightd.errors import SettingsError
from spotlightd.model.dataset import Column
from spotlightd.parse import columns

CAPPED, PLACEHOLDER, FAR_DATE = "capped", "placeholder", "far_date"
ISO_DAYS, ISO_TIMES = "%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"
_CHOICES = {"": None} | dict.fromkeys(("TRUE", "true", "True", "Y"), True) | dict.fromkeys(("FALSE", "false", "False", "N"), False)  # fmt: skip
_DAYS = (date(1970, 1, 1), date(2149, 6, 6))
_YEARS = range(1900, 2300)
_PLACEHOLDER = re.compile(r"-?(9{5,}|9\.9{5,}|99\.9{4,}|999\.9{3,}|9{4}\.9{2,}|9{5,}\.9+)")
_ISO_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_ISO_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?")

Value = tuple[Any, Iterable[str]]
"""A value, and its marks."""


@dataclass(frozen=True, slots=True)
class Formats:
    """How days and times are printed, as for strptime. A time in the form of ISO 8601 may have a fraction of a second. Any time
    may end with a Z; all times are UTC.
    """

    days: str = ISO_DAYS
    times: str = ISO_TIMES


@dataclass(frozen=True, slots=True)
class Converted:
    """A converted column, null where a text is not valid. `valid` is a mask of the valid texts (None: all are); `marks` are
    masks of remarkable ones.
    """

    values: pa.Array
    valid: pa.BooleanArray | None = None
    marks: Mapping[str, pa.BooleanArray] = field(default_factory=dict)


def convert(texts: pa.DictionaryArray, column: Column, formats: Formats) -> Converted:
    """Texts of one column as its Arrow type. In a nullable column an empty text is null."""
    kind = columns.arrow_type(column.type)
    if pa.types.is_dictionary(kind):
        return Converted(texts)
    if pa.types.is_string(kind):
        return Converted(texts.dictionary.take(texts.indices))
    read, indices = _reader(column.type, formats), texts.indices
    values, invalid, marked = list[Any](), list[int](), dict[str, list[int]]()
    for place, text in enumerate(texts.dictionary.to_pylist()):
        try:
            value, marks = read(text)
        except ValueError:
            value, marks = None, ()
            invalid.append(place)
        values.append(value)
        for mark in marks:
            marked.setdefault(mark, []).append(place)
    return Converted(
        _build(values, kind, indices),
        _mask(invalid, len(values), indices, inverted=True) if invalid else None,
        {mark: _mask(places, len(values), indices) for mark, places in marked.items()},
    )


def replace_words(texts: pa.DictionaryArray, words: Mapping[str, str]) -> Converted:
    """Each text replaced by the word for it. A text without one is not valid."""
    known, indices = texts.dictionary.to_pylist(), texts.indices
    values = pa.array([words.get(text, "") for text in known], pa.string()).dictionary_encode()
    unknown = [place for place, text in enumerate(known) if text not in words]
    return Converted(
        pa.DictionaryArray.from_arrays(values.indices.take(indices), values.dictionary),
        _mask(unknown, len(known), indices, inverted=True) if unknown else None,
    )


def describe_error(name: str, text: str, column: Column, formats: Formats, words: Mapping[str, str]) -> str:
    """Why a text is not valid, for the reader of the reject."""
    expected = {
        "decimal": f"a number that fits {column.type}",
        "list": f"a list of values that fit {column.type}, divided by semicolons",
        "date": f"a day written as {formats.days}",
        "time": f"a time written as {formats.times}",
        "bool": "true or false",
    }.get(column.kind, "one of " + ", ".join(word for word in words if word))
    return f"{name} is {text[:80]!r}, not {expected}"


def _build(values: list[Any], kind: pa.DataType, indices: pa.Array) -> pa.Array:
    if not pa.types.is_list(kind):
        return pa.array(values, kind).take(indices)
    coded = pa.types.is_dictionary(kind.value_type)
    lists = pa.array(values, pa.list_(pa.string()) if coded else kind).take(indices)
    return pa.ListArray.from_arrays(lists.offsets, lists.values.dictionary_encode() if coded else lists.values)


def _mask(places: Iterable[int], count: int, indices: pa.Array, *, inverted: bool = False) -> pa.BooleanArray:
    chosen = [inverted] * count
    for place in places:
        chosen[place] = not inverted
    return pa.array(chosen).take(indices)


@cache
def _reader(type_name: str, formats: Formats) -> Callable[[str], Value]:
    """What reads one text of that type. It raises ValueError for a text that is not valid."""
    if type_name == "Array(LowCardinality(String))":
        return lambda text: (text.split(";") if text else [], ())
    if type_name.startswith("Array(Decimal("):
        return partial(_read_numbers, _number_pattern(type_name))
    inner = type_name.removeprefix("Nullable(").removesuffix(")")
    readers: dict[str, Callable[[str], Value]] = {
        "Decimal": lambda text: _read_number(_number_pattern(type_name), text),
        "Date": partial(_read_day, formats.days),
        "DateTime64": partial(_read_time, formats.times),
        "Bool": _read_choice,
    }
    read = readers.get(inner.partition("(")[0])
    if read is None or not type_name.startswith("Nullable("):
        raise SettingsError(f"{type_name} is not read from printed text")
    return lambda text: read(text) if text else (None, ())


def _read_choice(text: str) -> Value:
    if text not in _CHOICES:
        raise ValueError(text)
    return _CHOICES[text], ()


def _read_number(pattern: re.Pattern[str], text: str) -> Value:
    if not pattern.fullmatch(text):
        raise ValueError(text)
    plain = text.replace(",", "")
    marks = [CAPPED] if plain.endswith("+") else []
    plain = plain.rstrip("+")
    if "99" in plain and _PLACEHOLDER.fullmatch(plain):
        marks.append(PLACEHOLDER)
    return Decimal(plain), marks


def _read_numbers(pattern: re.Pattern[str], text: str) -> Value:
    """A list with an item that is not valid is not valid."""
    items = [_read_number(pattern, item) for item in text.split(";")] if text else []
    return [number for number, _ in items], {mark for _, marks in items for mark in marks}


def _read_day(form: str, text: str) -> Value:
    if form == ISO_DAYS:
        if not _ISO_DAY.fullmatch(text):
            raise ValueError(text)
        day = date.fromisoformat(text)
    else:
        day = datetime.strptime(text, form).date()  # noqa: DTZ007  # only its day is used
    return (day, ()) if _DAYS[0] <= day <= _DAYS[1] else (None, (FAR_DATE,))


def _read_time(form: str, text: str) -> Value:
    text = text.removesuffix("Z")
    if form == ISO_TIMES:
        if not _ISO_TIME.fullmatch(text):
            raise ValueError(text)
        moment = datetime.fromisoformat(text)
    else:
        moment = datetime.strptime(text, form)  # noqa: DTZ007  # Arrow takes it for UTC, which it is
    return (moment, ()) if moment.year in _YEARS else (None, (FAR_DATE,))


@cache
def _number_pattern(type_name: str) -> re.Pattern[str]:
    """With or without thousands separators, no exponent, a plus sign after it."""
    sized = re.search(r"Decimal\((\d+), ?(\d+)\)", type_name)
    if sized is None:
        raise SettingsError(f"{type_name} is not read from printed text")
    whole, fraction = int(sized[1]) - int(sized[2]), int(sized[2])
    grouped = rf"[0-9]{{1,3}}(?:,[0-9]{{3}}){{1,{whole // 3 - 1}}}"
    return re.compile(rf"-?(?:(?:[0-9]{{1,{whole}}}|{grouped})(?:\.[0-9]{{1,{fraction}}})?|\.[0-9]{{1,{fraction}}})\+?")
