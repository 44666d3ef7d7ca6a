"""A dataset as the reader sees it. DDL, insert order, Arrow schema, API names and the docs page all come from it.

Column types are the type names of ClickHouse, so that there is no second type system to keep in step. `TYPE` matches the
types that a source may use: a misspelt type fails where it is declared, and not when the first document arrives.

A dataset is sorted by what people look up, not in the publisher's order. Measured on three real half-months of fails to
deliver (benchmarks/flat.py): sorted by symbol, a row takes 9.5 bytes in all and the index finds one symbol; in the
publisher's order, by day, it takes 20.8 bytes and every symbol is a full scan. Sorting by
symbol makes the receipt dearer: 2.2 bytes a row instead of 0.3, because `line` no longer runs 1, 2, 3.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from string import Formatter
from typing import Literal

from spotlightd.errors import SettingsError

_PLAIN = (
    r"(?:U?Int(?:8|16|32|64)|Float64|String|FixedString\(\d+\)|Date|DateTime64\(\d, ?'UTC'\)|UUID|Bool"
    r"|Decimal\(\d+, ?\d+\))"
)
TYPE = re.compile(
    rf"^(?:{_PLAIN}|Nullable\({_PLAIN}\)|LowCardinality\((?:{_PLAIN}|Nullable\({_PLAIN}\))\)"
    rf"|Array\((?:{_PLAIN}|LowCardinality\({_PLAIN}\))\)|Map\(LowCardinality\(String\), ?String\))$"
)
PARTITION = re.compile(
    r"^(?:(?P<span>toYear|toYYYYMM|toYYYYMMDD)|(?P<decade>intDiv\(toYear))\((?P<column>\w+)\)(?(decade), 10\))$"
)
NAME = re.compile(r"^[a-z][a-z0-9_]{0,59}$")
GENERATION = "archive_generation"
RESERVED = frozenset({"archive_day", GENERATION, "as_of", "load_id", "member", "line"})
REBUILD_PREFIX, DRILL_PREFIX = "anew_", "drill_"
"""Prefixes of temporary tables that are created beside those of datasets. No dataset may have such a name."""


Kind = Literal["text", "integer", "decimal", "float", "date", "time", "list", "map", "bool"]
_KINDS: tuple[tuple[str, Kind], ...] = (
    ("Array(", "list"),
    ("Map(", "map"),
    ("UInt", "integer"),
    ("Int", "integer"),
    ("Decimal(", "decimal"),
    ("Float", "float"),
    ("DateTime64(", "time"),
    ("Date", "date"),
    ("Bool", "bool"),
)


_DELTA, _T64, _ZSTD = "Delta, ZSTD(1)", "T64, ZSTD(1)", "ZSTD(1)"
_T64_TYPE = re.compile(r"^(?:U?Int(?:8|16|32|64)|Decimal\((?:\d|1[0-8]), ?\d+\))$")


def _codec_of(type_name: str) -> str:
    """The codec of a column type, by what is smallest on real half-months of fails (benchmarks/flat.py): numbers of at most
    64 bits are cut to the bits that a block uses and then compressed (quantity 1.9 bytes a row, with ZSTD alone 2.2, with
    the engine's own LZ4 3.8), times are stored as differences, and everything else is compressed as it is.
    """
    inner = type_name.removeprefix("Nullable(").removesuffix(")") if type_name.startswith("Nullable(") else type_name
    if inner.startswith("DateTime64("):
        return _DELTA
    return _T64 if _T64_TYPE.match(inner) else _ZSTD


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name, ClickHouse type, meaning in one sentence, and unit (empty when there is none).

    `codec` is how it is compressed on disk, where the codec of its type does not suit it. `sql` is for a column that is not stored: the expression by which it is computed from the others when it is read.
    """

    name: str
    type: str
    meaning: str
    unit: str = ""
    codec: str = ""
    sql: str = ""

    def __post_init__(self) -> None:
        if not NAME.match(self.name):
            raise SettingsError(f"column name {self.name!r}: use lower case letters, digits and _")
        if not TYPE.match(self.type):
            raise SettingsError(f"column {self.name}: {self.type!r} is not a type that a dataset may use")

    @property
    def is_nullable(self) -> bool:
        return "Nullable(" in self.type

    @property
    def compression(self) -> str:
        """The codec of the column: the one that is declared, else that of its type."""
        return self.codec or _codec_of(self.type)

    @property
    def expression(self) -> str:
        """The column in a condition: its name, or the expression of a column that is not stored."""
        return f"CAST({self.sql} AS {self.type})" if self.sql else f"`{self.name}`"

    @property
    def select_item(self) -> str:
        """The column in a select list. It is called by its name there."""
        return f"{self.expression} AS `{self.name}`" if self.sql else f"`{self.name}`"

    @property
    def kind(self) -> Kind:
        """The kind of value, whatever its width. Pages and filters depend on it."""
        inner = self.type.replace("LowCardinality(", "").replace("Nullable(", "")
        return next((kind for start, kind in _KINDS if inner.startswith(start)), "text")


LOAD = Column(
    "load_id", "UInt64", "the load that brought the row; never shown outside this instance", codec="Delta, ZSTD(1)"
)
LINES = (
    Column("member", "UInt16", "file within the document, 0 for the first or only one", codec="ZSTD(1)"),
    Column("line", "UInt32", "line of that file, 1 for the first"),
)
CELLS = (
    Column("member", "UInt16", "page of the document, 1 for the first", codec="ZSTD(1)"),
    Column("line", "UInt32", "cell of that page in reading order, 1 for the first"),
)
"""The pointer of rows that were read from tables of a PDF. It has the names of LINES, so that receipts work the same."""


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often a publisher delivers data, as a phrase for people and as limits for the machine.

    `stale_days`: after that many days without newer data the dataset is shown as old. `rows`: the fewest and the most
    rows of one document; a load outside of these limits is refused.
    """

    description: str
    stale_days: int
    rows: tuple[int, int] = (1, 100_000_000)


@dataclass(frozen=True, slots=True)
class Retention:
    """How long rows stay in the warehouse, counted from the end of the day or month of their partition.

    `hot_days`: at least that many days; 0 = for ever. After that they are moved to the archive, and stay readable.
    The setting `archive.hot_days` can override it for each dataset.
    """

    hot_days: int = 0


def check_template(owner: str, sql: str) -> None:
    """SettingsError unless all braces of a template are plain names such as `{trades}`, or doubled."""
    try:
        fields = [field for field in Formatter().parse(sql) if field[1] is not None]
    except ValueError as error:
        raise SettingsError(f"{owner}: the braces of its SELECT do not match: {error}") from None
    for _, name, specification, conversion in fields:
        if specification or conversion or not NAME.match(name or ""):
            raise SettingsError(f"{owner}: {{{name}}} in its SELECT names no table: double the braces of a parameter")


@dataclass(frozen=True, slots=True)
class Dataset:
    """A table as the reader sees it.

    `key` identifies one row to a reader (in the address of its page); `order` is the sort order on disk; `time` is the
    column that makes a row new or old; `symbol` is the column with the ticker, if there is one. `by_load` datasets have
    `load_id` and a pointer and are read through `loads`; the others are records of this instance (documents, runs,
    rejects). The pointer leads to a line of a document, or to a frame of a stream. `derived` columns have `sql` and
    cost nothing on disk; a reader gets them by naming them. `notes` are cautions beside every table, chart and download.

    `reading` is for a dataset whose rows are computed: the SELECT of `columns` as of a publication. It is a template:
    `{seq}` stands for the number of the publication, any other `{name}` for the rows of that table; literal braces are
    doubled. `is_growing`: rows come in loads that are published already, so an answer can change without a publication.
    `computed_from`: the dataset that a reading computes its rows from.

    `key_may_repeat`: whether two visible documents may have rows with the same key. It is false for a balance or a price:
    then a document that brings such a key is refused. Streams are not concerned. `repeats_within`: how many days apart the
    documents may be that repeat a key on purpose, as a repository may send a message on two days. Such a key counts once: only
    the row of the last day is visible, of one day that of the newest load, whatever came first; the others are noted in
    `hidden_rows`, and are visible again when the document that has the last one is replaced by another without it.

    `apart`: a column whose values are never added up on a page, because rows that differ in it count the same things: the
    volume of a facility, and the consolidated volume that includes it.

    `partition` divides rows by day, month, year or decade of a column: `toYYYYMMDD(received)`, `toYYYYMM(at)`, `toYear(day)`,
    `intDiv(toYear(day), 10)`. Each partition has files of its own, which every look-up of a symbol opens: decades suit a
    dataset of a few million rows a year.
    Only such a dataset can be archived, one partition at a time. Its table has one more column, `archive_generation`:
    how often rows of that day were sealed before this row came. Only the column's default writes it.
    """

    name: str
    title: str
    publisher: str
    about: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    order: tuple[str, ...]
    time: str
    rhythm: Rhythm
    partition: str = ""
    retention: Retention = Retention()
    symbol: str = ""
    pointer: tuple[Column, ...] = LINES
    derived: tuple[Column, ...] = ()
    by_load: bool = True
    licence: str = ""
    notes: tuple[str, ...] = ()
    reading: str = ""
    is_growing: bool = False
    computed_from: str = ""
    key_may_repeat: bool = False
    repeats_within: int = 0
    apart: str = ""

    def __post_init__(self) -> None:
        if not NAME.match(self.name):
            raise SettingsError(f"dataset name {self.name!r}: use lower case letters, digits and _")
        names = [column.name for column in self.columns]
        reserved = RESERVED if self.by_load else {"archive_day", GENERATION}
        invalid = sorted({name for name in names if names.count(name) > 1 or name in reserved})
        if invalid:
            raise SettingsError(f"dataset {self.name}: column names used twice or reserved: {', '.join(invalid)}")
        references = {*self.key, *self.order, self.time, *filter(None, (self.symbol, self.apart))}
        known = {*names, *(column.name for column in self.pointer if self.by_load)}
        missing = sorted(references - known)
        if missing:
            raise SettingsError(
                f"dataset {self.name}: key, order, time, symbol or apart name no column: {', '.join(missing)}"
            )
        check_template(f"dataset {self.name}", self.reading)
        if self.retention.hot_days and self.split_by not in known:
            raise SettingsError(
                f"dataset {self.name}: only one with a partition by day, month or year can leave the disk"
            )

    @property
    def stored(self) -> tuple[Column, ...]:
        """All columns of the table in insert order: the reader's, then the receipt."""
        return (*self.columns, LOAD, *self.pointer) if self.by_load else self.columns

    @property
    def split_by(self) -> str:
        """The column whose day, month or year is the partition; empty without partitions."""
        match = PARTITION.match(self.partition)
        return match["column"] if match else ""

    @property
    def is_by_decade(self) -> bool:
        match = PARTITION.match(self.partition)
        return match is not None and match["decade"] is not None

    @property
    def readable(self) -> tuple[Column, ...]:
        """All columns of a row when it is read: those of the table, or of the reading."""
        return self.columns if self.reading else self.stored

    @property
    def has_receipts(self) -> bool:
        """Whether a row leads back to a place in a document or in a stream."""
        return self.by_load and not self.reading

    @property
    def is_citable(self) -> bool:
        """Whether a row has its own place in a document or in a stream, and is not derived from other rows."""
        return self.has_receipts and bool(self.pointer)

    def column(self, name: str) -> Column:
        """The stored column of that name. KeyError if there is none."""
        for column in self.stored:
            if column.name == name:
                return column
        raise KeyError(name)
