"""Builds rows of a dataset from the wide tables of publishers, whose columns change from year to year.

A `Layout` says which field fills which column. Fields that fill no column go to the map `other` by the publisher's own name,
unless they are empty; so a field that is new loses nothing. A field that a layout takes and the header lacks is a
FormatError: it was renamed. The dataset has the columns `schema_version`, `flags` (Array) and `other` (Map).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spotlightd.errors import FormatError
from spotlightd.model.dataset import Dataset
from spotlightd.model.provenance import Reject
from spotlightd.model.source import Rows
from spotlightd.parse import columns
from spotlightd.parse.cells import MOST_ERRORS, make_reject
from spotlightd.parse.messages import grouped, printed, quoted

FEW_ROWS = 100
Columns = Mapping[str, pa.Array]
Rule = Callable[[Columns], pa.BooleanArray]


@dataclass(frozen=True, slots=True)
class Layout:
    """One version of a publisher's table.

    version  what `schema_version` says
    marks    fields by which a header of this version is recognised
    take     column → the fields that can fill it, in order of preference: the first that is not empty does
    words    column → the publisher's word → the value
    formats  how days and times are printed
    """

    version: str
    marks: tuple[str, ...]
    take: Mapping[str, tuple[str, ...]]
    words: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    formats: printed.Formats = printed.Formats()


class Reader:
    """Reads texts of several layouts into one dataset. `rules`: flag → which rows get it, from the columns. A row whose
    `needed` column is empty is a reject.
    """

    def __init__(
        self, dataset: Dataset, layouts: Sequence[Layout], rules: Mapping[str, Rule], needed: tuple[str, ...] = ()
    ) -> None:
        self.dataset, self.layouts, self.rules, self.needed = dataset, layouts, rules, needed
        self.columns = {column.name: column for column in dataset.columns}
        self.schema = columns.parsed_schema(dataset)
        self._empty: dict[tuple[str, int], pa.Array] = {}

    def make_empty(self, column: pa.Field, count: int) -> pa.Array:
        """The column without values: nulls, or the empty value of its type. Those of few rows are made once, for slices have
        few.
        """
        if count > FEW_ROWS:
            return _repeat(column, None, count)
        if (column.name, count) not in self._empty:
            self._empty[column.name, count] = _repeat(column, None, count)
        return self._empty[column.name, count]

    def read(
        self, pieces: Generator[bytes, None, None], constants: Mapping[str, Any], *, member: int = 0
    ) -> Generator[Rows | Reject, None, None]:
        """Rows and rejects of one text. `constants` are values that no field has, such as the publisher's name."""
        header, items = quoted.open_text(pieces, member=member)
        table = _Table(self, _recognise(header, self.layouts), header, constants)
        for item in items:
            if isinstance(item, Reject):
                yield item
            else:
                yield from table.convert(item)


def _recognise(header: quoted.Header, layouts: Sequence[Layout]) -> Layout:
    """The layout of a header. FormatError if it has the marks of none, or lacks a field that its layout takes."""
    found = next((layout for layout in layouts if all(header.has(mark) for mark in layout.marks)), None)
    if found is None:
        known = "; ".join(f"{layout.version} has {' and '.join(map(repr, layout.marks))}" for layout in layouts)
        start = ", ".join(header.names)[:200]
        raise FormatError(
            f"the header is of no known version ({known}): {start!r}", member=header.member, line=header.line
        )
    missing = [name for names in found.take.values() for name in names if not header.has(name)]
    if missing:
        names = ", ".join(repr(name) for name in dict.fromkeys(missing[:8]))
        raise FormatError(
            f"the header has the marks of {found.version}, but lacks {names}", member=header.member, line=header.line
        )
    return found


@dataclass(frozen=True, slots=True)
class _Table:
    """A text of one layout."""

    reader: Reader
    layout: Layout
    header: quoted.Header
    constants: Mapping[str, Any]

    def convert(self, fields: quoted.Fields) -> Generator[Rows | Reject, None, None]:
        block = _Block(self, fields)
        for name in self.layout.take:
            block.fill(name)
        batch, valid = block.build()
        if valid is not None:
            yield from block.rejects()
            batch = batch.filter(valid)
        if batch.num_rows:
            yield Rows(self.reader.dataset, batch, fields.block.texts)


@dataclass(slots=True)
class _Block:
    """The columns of a block while they are made. `kept` are the texts that go to `other`: the field and the mask of rows."""

    table: _Table
    fields: quoted.Fields
    arrays: dict[str, pa.Array] = field(default_factory=dict)
    flags: dict[str, pa.BooleanArray] = field(default_factory=dict)
    masks: list[pa.BooleanArray] = field(default_factory=list)
    errors: dict[int, str] = field(default_factory=dict)
    kept: list[tuple[int, pa.BooleanArray]] = field(default_factory=list)

    def fill(self, name: str) -> None:
        """Convert the column of that name, and note what is remarkable or wrong in it."""
        layout, column = self.table.layout, self.table.reader.columns[name]
        texts = self._choose(layout.take[name])
        words = layout.words.get(name)
        if not words and name not in self.table.reader.needed and quoted.is_blank(texts):
            return
        converted = printed.replace_words(texts, words) if words else printed.convert(texts, column, layout.formats)
        self.arrays[name] = converted.values
        if converted.valid is not None:
            self._note_errors(name, texts, converted.valid)
        if name in self.table.reader.needed and texts.dictionary.index("").as_py() >= 0:
            self._note_errors(name, texts, pc.not_equal(pc.cast(texts, pa.string()), ""))
        for mark, mask in converted.marks.items():
            if mark == "capped" and f"{name}_capped" in self._names:
                self.arrays[f"{name}_capped"] = mask
            else:
                self.flags[f"{mark}:{name}"] = mask
            if mark == "far_date":
                self.kept.append((self.table.header.place(layout.take[name][0]), mask))

    def build(self) -> tuple[pa.RecordBatch, pa.BooleanArray | None]:
        """The rows, and which of them are valid (None: all)."""
        reader, count = self.table.reader, len(self.fields.lines)
        schema = reader.schema
        values = {
            **self.table.constants,
            "schema_version": self.table.layout.version,
            "member": self.table.header.member,
        }
        self.arrays["line"] = pa.array(self.fields.lines)
        for column in schema:
            if column.name in values:
                self.arrays[column.name] = _repeat(column, values[column.name], count)
            elif column.name not in self.arrays and column.name not in ("flags", "other"):
                self.arrays[column.name] = reader.make_empty(column, count)
        for flag, rule in reader.rules.items():
            mask = pc.fill_null(rule(self.arrays), fill_value=False)
            if pc.any(mask).as_py():
                self.flags[flag] = mask
        self.arrays["flags"] = grouped.list_names(self.flags, count)
        self.arrays["other"] = grouped.map_texts(self._list_others(), count)
        batch = pa.record_batch([self.arrays[name] for name in schema.names], schema=schema)
        return batch, reduce(pc.and_, self.masks) if self.masks else None

    def rejects(self) -> Iterable[Reject]:
        numbers = {index: int(self.fields.lines[index]) for index in sorted(self.errors)}
        texts = self.fields.block.texts(numbers.values())
        for (index, number), text in zip(numbers.items(), texts, strict=True):
            yield make_reject(self.table.header.member, number, text, self.errors[index])

    @property
    def _names(self) -> set[str]:
        return set(self.table.reader.columns)

    def _choose(self, names: Sequence[str]) -> pa.DictionaryArray:
        """For each row the text of the first of these fields that is not empty. What it hides goes to `other`, unless the
        field has a column of its own.
        """
        chosen = self.fields.columns[self.table.header.place(names[0])]
        for name in names[1:]:
            place = self.table.header.place(name)
            texts = self.fields.columns[place]
            if quoted.is_blank(texts):
                continue
            if quoted.is_blank(chosen):
                chosen = texts
                continue
            first, second = pc.cast(chosen, pa.string()), pc.cast(texts, pa.string())
            has_first = pc.not_equal(first, "")
            hidden = pc.and_(has_first, pc.not_equal(second, ""))
            if (name,) not in self.table.layout.take.values() and pc.any(hidden).as_py():
                self.kept.append((place, hidden))
            chosen = pc.dictionary_encode(pc.if_else(has_first, first, second))
        return chosen

    def _list_others(self) -> list[grouped.Texts]:
        taken = {self.table.header.place(name) for names in self.table.layout.take.values() for name in names}
        others = [
            grouped.Texts(name, self.fields.columns[place], None)
            for place, name in enumerate(self.table.header.names)
            if place not in taken and not quoted.is_blank(self.fields.columns[place])
        ]
        kept = [
            grouped.Texts(self.table.header.names[place], self.fields.columns[place], mask) for place, mask in self.kept
        ]
        return [*others, *kept]

    def _note_errors(self, name: str, texts: pa.DictionaryArray, valid: pa.BooleanArray) -> None:
        layout, column = self.table.layout, self.table.reader.columns[name]
        self.masks.append(valid)
        source = " or ".join(layout.take[name])
        for index in np.flatnonzero(~valid.to_numpy(zero_copy_only=False))[:MOST_ERRORS].tolist():
            text = texts[index].as_py()
            reason = printed.describe_error(source, text, column, layout.formats, layout.words.get(name, {}))
            self.errors.setdefault(index, reason if text else f"{source} is empty")


def _repeat(column: pa.Field, value: Any, count: int) -> pa.Array:
    """A column of one value; without one, of nulls or of the type's empty value."""
    kind = column.type
    if value is None and column.nullable:
        return pa.nulls(count, kind)
    if pa.types.is_dictionary(kind):
        return pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), count), pa.array([value or ""]))
    if pa.types.is_list(kind):
        return pa.ListArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), count + 1), pa.array([], kind.value_type))
    if value is None:
        value = False if pa.types.is_boolean(kind) else ""
    return pa.repeat(pa.scalar(value, kind), count)
