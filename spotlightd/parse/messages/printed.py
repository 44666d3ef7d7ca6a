"""Converts values as people print them to typed columns: `132,405,004+`, `TRUE` and `true`, `a;b;c`, `2026-11-27T09:30:00Z`.

A column comes as texts that are stored once each, so each different text is converted once. A text is valid when its pattern
matches; then the conversion cannot fail. What is remarkable about a valid text is a mark, not an error:

  capped       the number is printed with a plus sign: the true one is larger
  placeholder  nines only, at least five of them (six with a decimal point), so it means "not known"
  far_date     a day that a Date cannot hold, or a time before 1900 or after 2299; the value is null then
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spotlightd.errors import SettingsError
from spotlightd.model.dataset import Column
from spotlightd.parse import columns

_YES, _NO = ("TRUE", "true", "True", "Y"), ("FALSE", "false", "False", "N")
_DAYS = (datetime(1970, 1, 1, tzinfo=UTC), datetime(2149, 6, 6, tzinfo=UTC))
_TIMES = (datetime(1900, 1, 1, tzinfo=UTC), datetime(2299, 12, 31, tzinfo=UTC))
_PLACEHOLDER = r"^-?(9{5,}|9\.9{5,}|99\.9{4,}|999\.9{3,}|9{4}\.9{2,}|9{5,}\.9+)$"
_FRACTION = r"(?:\.(?P<fraction>[0-9]{1,6}))?Z?$"


@dataclass(frozen=True, slots=True)
class Formats:
    """How days and times are printed, as for strptime. A time may have a fraction of a second and a Z after that; all times
    are UTC.
    """

    days: str = "%Y-%m-%d"
    times: str = "%Y-%m-%dT%H:%M:%S"


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
    if pa.types.is_dictionary(columns.arrow_type(column.type)):
        return Converted(texts)
    distinct = _convert_distinct(texts.dictionary, column, formats)
    return Converted(
        distinct.values.take(texts.indices),
        None if distinct.valid is None else distinct.valid.take(texts.indices),
        {mark: mask.take(texts.indices) for mark, mask in distinct.marks.items()},
    )


def replace_words(texts: pa.DictionaryArray, words: Mapping[str, str]) -> Converted:
    """Each text replaced by the word for it. A text without one is not valid."""
    known = texts.dictionary.to_pylist()
    coded = pa.array([words.get(text, "") for text in known], pa.string())
    valid = pa.array([text in words for text in known], pa.bool_())
    values = pc.dictionary_encode(coded.take(texts.indices))
    return Converted(values, _simplify(valid.take(texts.indices)))


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


def _convert_distinct(texts: pa.StringArray, column: Column, formats: Formats) -> Converted:
    match column.kind:
        case "text" if column.type == "String":
            return Converted(texts)
        case "decimal" if column.is_nullable:
            return _read_numbers(texts, _inner(column.type))
        case "date" if column.is_nullable:
            return _read_days(texts, formats.days)
        case "time" if column.is_nullable:
            return _read_times(texts, formats.times, _inner(column.type))
        case "bool" if column.is_nullable:
            return _read_bools(texts)
        case "list":
            return _read_lists(texts, column.type.removeprefix("Array(").removesuffix(")"))
    raise SettingsError(f"column {column.name}: {column.type} is not read from printed text")


def _read_bools(texts: pa.StringArray) -> Converted:
    yes, no, empty = (pc.is_in(texts, pa.array(words)) for words in (_YES, _NO, ("",)))
    values = pc.if_else(empty, pa.scalar(None, pa.bool_()), yes)
    return Converted(values, _simplify(pc.or_(pc.or_(yes, no), empty)))


def _read_numbers(texts: pa.StringArray, type_name: str) -> Converted:
    empty = pc.equal(texts, "")
    plain = pc.replace_substring(pc.utf8_rtrim(texts, "+"), ",", "")
    matches = pc.match_substring_regex(texts, _number_pattern(type_name))
    values = pc.cast(pc.if_else(matches, plain, pa.scalar(None, pa.string())), columns.arrow_type(type_name))
    marks = {"capped": pc.ends_with(texts, "+"), "placeholder": pc.match_substring_regex(plain, _PLACEHOLDER)}
    return Converted(values, _simplify(pc.or_(matches, empty)), _keep_any(marks))


def _read_days(texts: pa.StringArray, day_format: str) -> Converted:
    """Writing a day back detects 2021-02-30."""
    empty = pc.equal(texts, "")
    times = pc.strptime(texts, day_format, "s", error_is_null=True)
    same = pc.fill_null(pc.equal(pc.strftime(times, day_format), texts), fill_value=False)
    inside = _is_between(times, _DAYS)
    values = pc.cast(pc.if_else(pc.and_(same, inside), times, pa.scalar(None, times.type)), pa.date32())
    marks = {"far_date": pc.and_(same, pc.invert(inside))}
    return Converted(values, _simplify(pc.or_(same, empty)), _keep_any(marks))


def _read_times(texts: pa.StringArray, time_format: str, type_name: str) -> Converted:
    empty = pc.equal(texts, "")
    parts = pc.extract_regex(texts, f"^(?P<whole>.*?){_FRACTION}")
    whole, fraction = pc.struct_field(parts, "whole"), pc.struct_field(parts, "fraction")
    times = pc.strptime(whole, time_format, "us", error_is_null=True)
    same = pc.fill_null(pc.equal(pc.strftime(pc.cast(times, pa.timestamp("s")), time_format), whole), fill_value=False)
    micros = pc.cast(pc.utf8_rpad(pc.coalesce(fraction, pa.scalar("")), 6, "0"), pa.int64())
    exact = pc.add(pc.cast(times, pa.int64()), micros)
    inside = _is_between(pc.cast(times, pa.timestamp("s")), _TIMES)
    values = pc.cast(pc.if_else(pc.and_(same, inside), exact, None), columns.arrow_type(type_name))
    marks = {"far_date": pc.and_(same, pc.invert(inside))}
    return Converted(values, _simplify(pc.or_(same, empty)), _keep_any(marks))


def _read_lists(texts: pa.StringArray, item_type: str) -> Converted:
    """Items divided by semicolons; an empty text is an empty list. A list with an item that is not valid is not valid."""
    lists = pc.split_pattern(pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts), ";")
    if item_type.startswith("LowCardinality("):
        return Converted(pa.ListArray.from_arrays(lists.offsets, pc.dictionary_encode(lists.values)))
    items = lists.values
    matches = pc.match_substring_regex(items, _number_pattern(item_type))
    plain = pc.replace_substring(pc.utf8_rtrim(items, "+"), ",", "")
    numbers = pc.cast(pc.if_else(matches, plain, pa.scalar("0")), columns.arrow_type(item_type))
    valid = pc.invert(_has_item(lists, pc.invert(matches)))
    marks = {"capped": _has_item(lists, pc.ends_with(items, "+"))}
    return Converted(pa.ListArray.from_arrays(lists.offsets, numbers), _simplify(valid), _keep_any(marks))


def _has_item(lists: pa.ListArray, mask: pa.BooleanArray) -> pa.BooleanArray:
    """Which lists have an item of the mask."""
    found = np.zeros(len(lists), bool)
    found[pc.list_parent_indices(lists).filter(mask).to_numpy()] = True
    return pa.array(found)


def _number_pattern(type_name: str) -> str:
    """With or without thousands separators, no exponent, a plus sign after it."""
    sized = re.search(r"Decimal\((\d+), ?(\d+)\)", type_name)
    if sized is None:
        raise SettingsError(f"{type_name} is not read from printed text")
    whole, fraction = int(sized[1]) - int(sized[2]), int(sized[2])
    grouped = f"[0-9]{{1,3}}(,[0-9]{{3}}){{1,{whole // 3 - 1}}}"
    return rf"^-?(([0-9]{{1,{whole}}}|{grouped})(\.[0-9]{{1,{fraction}}})?|\.[0-9]{{1,{fraction}}})\+?$"


def _is_between(times: pa.Array, bounds: tuple[datetime, datetime]) -> pa.BooleanArray:
    first, last = (pa.scalar(int(bound.timestamp()), pa.timestamp("s")) for bound in bounds)
    return pc.fill_null(pc.and_(pc.greater_equal(times, first), pc.less_equal(times, last)), fill_value=False)


def _inner(type_name: str) -> str:
    return type_name.removeprefix("Nullable(").removesuffix(")") if type_name.startswith("Nullable(") else type_name


def _keep_any(marks: Mapping[str, pa.BooleanArray]) -> dict[str, pa.BooleanArray]:
    return {mark: mask for mark, mask in marks.items() if pc.any(mask).as_py()}


def _simplify(valid: pa.BooleanArray) -> pa.BooleanArray | None:
    """None when all are valid, the common case."""
    return None if pc.all(valid).as_py() in (True, None) else valid
