"""A dataset as the reader sees it. DDL, insert order, Arrow schema, API names and the docs page all come from it.

Column types are ClickHouse's own words, so there is no second type system to keep in step; `TYPE` lists the words
that a source may use, and a misspelt one fails where it is declared, not when the first document arrives.

Why a dataset is sorted by what people look up and not in the publisher's order: measured on three real half-months of
fails to deliver (benchmarks/flat.py), a row sorted by symbol takes 16.6 bytes in all and one symbol is found by the
index; in the publisher's order, by day, it takes 35.6 bytes and every symbol is a full scan. The price is the pointer:
there `line` runs 1, 2, 3 and the whole receipt costs 0.3 bytes a row; sorted by symbol it costs 2.2.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from spotlightd.errors import SettingsError

_PLAIN = (
    r"(?:U?Int(?:8|16|32|64)|Float64|String|FixedString\(\d+\)|Date|DateTime64\(\d, ?'UTC'\)|UUID|Bool"
    r"|Decimal\(\d+, ?\d+\))"
)
TYPE = re.compile(
    rf"^(?:{_PLAIN}|Nullable\({_PLAIN}\)|LowCardinality\((?:{_PLAIN}|Nullable\({_PLAIN}\))\)"
    rf"|Array\((?:{_PLAIN}|LowCardinality\({_PLAIN}\))\))$"
)
PARTITION = re.compile(r"^(?P<span>toYear|toYYYYMM|toYYYYMMDD)\((?P<column>\w+)\)$")
NAME = re.compile(r"^[a-z][a-z0-9_]{0,59}$")
GENERATION = "archive_generation"
RESERVED = frozenset({"archive_day", GENERATION, "as_of", "load_id", "member", "line"})
ANEW, DRILL = "anew_", "drill_"
"""How names of tables begin that we make beside those of datasets, and throw away: no dataset may be called so."""


Kind = Literal["text", "integer", "decimal", "float", "date", "time", "list", "bool"]
_KINDS: tuple[tuple[str, Kind], ...] = (
    ("Array(", "list"),
    ("UInt", "integer"),
    ("Int", "integer"),
    ("Decimal(", "decimal"),
    ("Float", "float"),
    ("DateTime64(", "time"),
    ("Date", "date"),
    ("Bool", "bool"),
)


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name, ClickHouse type, meaning in one sentence, and unit (empty when it has none)."""

    name: str
    type: str
    meaning: str
    unit: str = ""
    codec: str = ""

    def __post_init__(self) -> None:
        if not NAME.match(self.name):
            raise SettingsError(f"column name {self.name!r}: use lower case letters, digits and _")
        if not TYPE.match(self.type):
            raise SettingsError(f"column {self.name}: {self.type!r} is not a type that a dataset may use")

    @property
    def nullable(self) -> bool:
        return "Nullable(" in self.type

    @property
    def kind(self) -> Kind:
        """What a reader can do with the value, whatever its width: what pages and filters ask for."""
        inner = self.type.replace("LowCardinality(", "").replace("Nullable(", "")
        return next((kind for start, kind in _KINDS if inner.startswith(start)), "text")


@dataclass(frozen=True, slots=True)
class Derived:
    """A column that is not stored but computed from the others when it is asked for. `sql` is the expression."""

    name: str
    type: str
    meaning: str
    sql: str


LOAD = Column(
    "load_id", "UInt64", "the load that brought the row; never shown outside this instance", codec="Delta, ZSTD(1)"
)
LINES = (
    Column("member", "UInt16", "which file of the archive the row stands in, 0 for the first", codec="ZSTD(1)"),
    Column("line", "UInt32", "which line of that file, 1 for the first", codec="T64, ZSTD(1)"),
)


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often a publisher brings news, as a sentence for people and bounds for the machine.

    `stale_days`: after so many days without newer data the dataset is shown as old. `rows`: fewest and most rows
    that one document brings; outside of it the load is refused.
    """

    says: str
    stale_days: int
    rows: tuple[int, int] = (1, 100_000_000)


@dataclass(frozen=True, slots=True)
class Retention:
    """How long rows stay in the warehouse, counted from the end of the day or month that they are partitioned by.

    `hot_days`: for so many days at least; 0 = for ever. After that they are moved to the archive, and stay readable.
    Settings (`archive.hot_days`) can say otherwise for each dataset.
    """

    hot_days: int = 0


@dataclass(frozen=True, slots=True)
class Dataset:
    """A table as the reader sees it.

    `key` names one row to a reader (in the address of its page); `order` is how rows lie on disk; `time` is the column
    by which a row is new or old; `symbol` the column that a ticker is looked up in, if there is one. `by_load` datasets
    carry `load_id` and a pointer and are read through `loads`; the others are our own records (documents, runs, rejects).
    The pointer leads to a line of a document, or to a frame of a stream. `derived` columns cost nothing on disk.
    `notes` are cautions shown beside every table, chart and download.

    `reading` is for a dataset whose rows are not the table's: a SELECT of `columns`, true at `{seq:UInt64}`, with names of
    tables, and nothing else, in back quotes. `grows`: rows come in loads that are published already, so that an answer
    can be another though nothing was published since. `made_of`: the dataset that a reading computes its rows from.

    `partition`: rows are kept apart by day, month or year of a column: `toYYYYMMDD(received)`, `toYYYYMM(at)`, `toYear(day)`. Only such a
    dataset can be archived, one partition at a time: its table has one more column, `archive_generation`, which says
    how often rows of that day were sealed before this one came. Nobody writes it: the column's default does.
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
    derived: tuple[Derived, ...] = ()
    by_load: bool = True
    licence: str = ""
    notes: tuple[str, ...] = ()
    reading: str = ""
    grows: bool = False
    made_of: str = ""

    def __post_init__(self) -> None:
        if not NAME.match(self.name):
            raise SettingsError(f"dataset name {self.name!r}: use lower case letters, digits and _")
        names = [column.name for column in self.columns]
        taken = sorted(
            {name for name in names if names.count(name) > 1}
            | (RESERVED if self.by_load else {"archive_day", GENERATION}).intersection(names)
        )
        if taken:
            raise SettingsError(f"dataset {self.name}: column names used twice or reserved: {', '.join(taken)}")
        asked = (*self.key, *self.order, self.time, *([self.symbol] if self.symbol else []))
        known = {*names, *(column.name for column in self.pointer if self.by_load)}
        missing = sorted(set(asked) - known)
        if missing:
            raise SettingsError(f"dataset {self.name}: key, order, time or symbol name no column: {', '.join(missing)}")
        if self.retention.hot_days and self.split_by not in known:
            raise SettingsError(
                f"dataset {self.name}: only one with a partition by day, month or year can leave the disk"
            )

    @property
    def stored(self) -> tuple[Column, ...]:
        """All columns of the table, in insert order: the reader's, then the receipt."""
        return (*self.columns, LOAD, *self.pointer) if self.by_load else self.columns

    @property
    def split_by(self) -> str:
        """The column whose day, month or year tells the partition; empty for a dataset that has none."""
        found = PARTITION.match(self.partition)
        return found["column"] if found else ""

    @property
    def readable(self) -> tuple[Column, ...]:
        """All columns of a row as it is read: those of the table, or of the reading."""
        return self.columns if self.reading else self.stored

    @property
    def receipted(self) -> bool:
        """Whether a row leads back to a place in a document or in a stream."""
        return self.by_load and not self.reading

    def column(self, name: str) -> Column:
        """The stored column of that name. KeyError if there is none."""
        for column in self.stored:
            if column.name == name:
                return column
        raise KeyError(name)
