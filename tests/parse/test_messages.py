"""Wide tables of messages: printed values, lists, the map of the rest, and fields in order of preference. All constructed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spotlightd.errors import FormatError, SettingsError
from spotlightd.model.dataset import Column, Dataset, Rhythm
from spotlightd.model.provenance import Reject
from spotlightd.model.source import Rows
from spotlightd.parse.messages import grouped, printed
from spotlightd.parse.messages.table import Layout, Reader

AMOUNT, TIME, DAY = "Nullable(Decimal(38, 5))", "Nullable(DateTime64(6, 'UTC'))", "Nullable(Date)"
AMOUNTS, WORDS, CHOICE = "Array(Decimal(38, 5))", "Array(LowCardinality(String))", "Nullable(Bool)"
ISO, AMERICAN = printed.Formats(), printed.Formats("%m/%d/%Y", "%m/%d/%Y %H:%M:%S")


def convert(text: str, type_name: str, formats: printed.Formats = ISO) -> tuple[Any, set[str]]:
    """The value and its marks. ValueError when it is not valid."""
    texts = pa.array(["", text], pa.string()).dictionary_encode()
    converted = printed.convert(texts, Column("x", type_name, "a value"), formats)
    if converted.valid is not None and not converted.valid[1].as_py():
        raise ValueError(text)
    return converted.values[1].as_py(), {mark for mark, mask in converted.marks.items() if mask[1].as_py()}


@pytest.mark.parametrize(
    ("text", "type_name", "value", "marks"),
    [
        ("132,405,004+", AMOUNT, Decimal(132_405_004), {"capped"}),
        ("132405004+", AMOUNT, Decimal(132_405_004), {"capped"}),
        ("-20000000", AMOUNT, Decimal(-20_000_000), set()),
        ("-.5", AMOUNT, Decimal("-0.5"), set()),
        ("1,000.25", AMOUNT, Decimal("1000.25"), set()),
        ("99999", AMOUNT, Decimal(99_999), {"placeholder"}),
        ("99,999+", AMOUNT, Decimal(99_999), {"placeholder", "capped"}),
        ("9.99999", AMOUNT, Decimal("9.99999"), {"placeholder"}),
        ("99.99", AMOUNT, Decimal("99.99"), set()),
        ("", AMOUNT, None, set()),
        ("2026-11-27", DAY, date(2026, 11, 27), set()),
        ("9999-12-31", DAY, None, {"far_date"}),
        ("1969-12-31", DAY, None, {"far_date"}),
        ("2026-11-01T05:30:00Z", TIME, datetime(2026, 11, 1, 5, 30, tzinfo=UTC), set()),
        ("2026-11-01T06:30:00.25", TIME, datetime(2026, 11, 1, 6, 30, 0, 250_000, tzinfo=UTC), set()),
        ("0001-01-01T00:00:00Z", TIME, None, {"far_date"}),
        ("True", CHOICE, True, set()),
        ("N", CHOICE, False, set()),
        ("a;b", WORDS, ["a", "b"], set()),
        ("1.5;2+", AMOUNTS, [Decimal("1.5"), Decimal(2)], {"capped"}),
        ("", AMOUNTS, [], set()),
    ],
)
def test_a_printed_value_is_read_as_people_mean_it(text: str, type_name: str, value: Any, marks: set[str]) -> None:
    assert convert(text, type_name) == (value, marks)


@pytest.mark.parametrize(
    ("text", "type_name"),
    [
        ("1,23", AMOUNT), ("1e5", AMOUNT), ("0x1F", AMOUNT), ("+", AMOUNT), ("1.123456", AMOUNT), ("1++", AMOUNT),
        ("1" * 34, AMOUNT), ("NaN", AMOUNT), ("٣", AMOUNT), ("2026-02-30", DAY), ("20261127", DAY), ("2026-W48-5", DAY),
        ("2026-11-27T25:00:00Z", TIME), ("2026-11-27", TIME), ("2026-11-27T05:30:00+01:00", TIME), ("yes", CHOICE),
        ("1;;2", AMOUNTS), ("1;x", AMOUNTS),
    ],
)  # fmt: skip
def test_anything_else_is_not_valid(text: str, type_name: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        convert(text, type_name)


def test_other_repositories_print_days_and_times_otherwise() -> None:
    assert convert("11/27/2026", DAY, AMERICAN)[0] == date(2026, 11, 27)
    assert convert("11/27/2026 09:30:00", TIME, AMERICAN)[0] == datetime(2026, 11, 27, 9, 30, tzinfo=UTC)
    with pytest.raises(ValueError, match="2026-11-27"):
        convert("2026-11-27", DAY, AMERICAN)


@given(st.decimals(min_value=-(10**12), max_value=10**12, places=5), st.booleans(), st.booleans())
def test_any_amount_is_read_exactly(number: Decimal, separated: bool, capped: bool) -> None:
    text = f"{number:,}" if separated else f"{number:f}"
    value, marks = convert(text + "+" * capped, AMOUNT)
    assert value == number
    assert ("capped" in marks) is capped


def test_a_type_that_is_not_printed_is_refused_where_it_is_declared() -> None:
    with pytest.raises(SettingsError, match="not read from printed text"):
        convert("1", "UInt8")


@given(st.lists(st.lists(st.sampled_from(["", "a", "b"]), min_size=3, max_size=3), max_size=6))
def test_a_map_has_all_texts_that_are_not_empty_by_their_names(rows: list[list[str]]) -> None:
    columns = [
        grouped.Texts(name, pa.array([row[place] for row in rows], pa.string()).dictionary_encode(), None)
        for place, name in enumerate("xyz")
    ]
    built = [dict(row) for row in grouped.map_texts(columns, len(rows)).to_pylist()]
    assert built == [{name: text for name, text in zip("xyz", row, strict=True) if text} for row in rows]
    masks = {
        column.name: pa.array([bool(row[place]) for row in rows], pa.bool_()) for place, column in enumerate(columns)
    }
    assert grouped.list_names(masks, len(rows)).to_pylist() == [list(row) for row in built]


trades = Dataset(
    name="constructed_trades", title="Constructed trades", publisher="nobody", about="For tests.",
    columns=(
        Column("day", "Date", "the day of the file"),
        Column("id", "String", "its number"),
        Column("kind", "LowCardinality(String)", "its kind"),
        Column("name", "LowCardinality(String)", "its name"),
        Column("amount", AMOUNT, "an amount"),
        Column("amount_capped", "Bool", "whether it is larger"),
        Column("schema_version", "LowCardinality(String)", "the layout"),
        Column("flags", WORDS, "what is remarkable"),
        Column("other", "Map(LowCardinality(String), String)", "the rest"),
    ),
    key=("id",), order=("id",), time="day", rhythm=Rhythm("never", stale_days=0),
)  # fmt: skip
NEW = Layout("new", ("Id", "Long name"), {"id": ("Id",), "kind": ("Kind",), "name": ("Long name", "Short name"), "amount": ("Amount",)},
             words={"kind": {"N": "new", "": ""}})  # fmt: skip
OLD = Layout("old", ("ID_NUMBER",), {"id": ("ID_NUMBER",)})
READER = Reader(trades, (NEW, OLD), {"is_zero": lambda columns: pa.compute.equal(columns["amount"], 0)}, needed=("id",))


def read(text: str) -> tuple[list[dict[str, Any]], list[Reject]]:
    def pieces() -> Iterator[bytes]:
        yield text.encode()

    items = list(READER.read((piece for piece in pieces()), {"day": date(2026, 11, 27)}))
    rows = [
        row | {"other": dict(row["other"])}
        for item in items
        if isinstance(item, Rows)
        for row in item.columns.to_pylist()
    ]
    return rows, [item for item in items if isinstance(item, Reject)]


def test_the_first_field_that_is_not_empty_fills_the_column_and_what_it_hides_is_kept() -> None:
    rows, rejects = read('Id,Kind,Long name,SHORT NAME,Amount,Extra\n1,N,"A, B",b,0,\n2,,,b,"1,000+",x\n3,,,,,\n')
    assert rejects == []
    assert [row["name"] for row in rows] == ["A, B", "b", ""]
    assert [row["other"] for row in rows] == [{"SHORT NAME": "b"}, {"Extra": "x"}, {}]
    assert [row["kind"] for row in rows] == ["new", "", ""]
    assert [(row["amount"], row["amount_capped"]) for row in rows] == [(0, False), (1000, True), (None, False)]
    assert [row["flags"] for row in rows] == [["is_zero"], [], []]
    assert {(row["day"], row["schema_version"]) for row in rows} == {(date(2026, 11, 27), "new")}


def test_a_layout_is_known_by_its_header_and_fills_what_it_has() -> None:
    (row,), _ = read("ID_NUMBER,Kind\n1,N\n")
    assert (row["schema_version"], row["kind"], row["amount"], row["other"]) == ("old", "", None, {"Kind": "N"})


def test_a_row_without_what_is_needed_or_with_an_unknown_word_is_a_reject() -> None:
    rows, rejects = read("Id,Kind,Long name,Short name,Amount\n,N,a,b,1\n2,X,a,b,1\n3,N,a,b,1\n4,N,a,b,one\n")
    assert [row["id"] for row in rows] == ["3"]
    assert [(reject.line, reject.reason) for reject in rejects] == [
        (2, "Id is empty"), (3, "Kind is 'X', not one of N"),
        (5, "Amount is 'one', not a number that fits Nullable(Decimal(38, 5))"),
    ]  # fmt: skip
    assert rejects[1].text == "2,X,a,b,1"


def test_a_field_that_was_renamed_refuses_the_text() -> None:
    with pytest.raises(FormatError, match="marks of new, but lacks 'Amount'") as refused:
        read("\nId,Kind,Long name,Short name,Sum\n")
    assert refused.value.line == 2
