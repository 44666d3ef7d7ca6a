from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spotlightd import Column, Dataset, FormatError, Reject, Rhythm, Rows, SettingsError
from spotlightd.parse import cells, delimited, lines

DATASET = Dataset(
    name="things",
    title="Things",
    publisher="nobody",
    about="constructed",
    columns=(
        Column("day", "Date", "a day"),
        Column("code", "FixedString(3)", "three letters"),
        Column("kind", "LowCardinality(String)", "few different texts"),
        Column("count", "UInt64", "a count"),
        Column("small", "Int16", "a small number"),
        Column("name", "String", "any text"),
        Column("price", "Nullable(Decimal(18, 4))", "a price"),
    ),
    key=("day", "code"),
    order=("day", "code"),
    time="day",
    rhythm=Rhythm("never", stale_days=1),
)
NAMES = ("Day", "Code", "Kind", "Count", "Small", "Name", "Price")
LAYOUT = delimited.Layout(
    dataset=DATASET,
    separator="|",
    take=dict(zip(NAMES, (column.name for column in DATASET.columns), strict=True)),
    nulls=("", "."),
    loose="Name",
    trailers=(delimited.Trailer("Records"), delimited.Trailer("Sum of counts", total="count")),
    strict=False,
)
HEADER = "|".join(NAMES)
GOOD = "2021-01-04|ABC|x|5|-7|a name|1.5"


def in_pieces(data: bytes, size: int = 1 << 18) -> Generator[bytes, None, None]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def read(
    text: str | bytes, layout: delimited.Layout = LAYOUT, size: int = 1 << 18
) -> tuple[list[dict[str, Any]], list[Reject]]:
    blocks = list(delimited.read(in_pieces(text.encode() if isinstance(text, str) else text, size), layout, member=3))
    rows = [row for block in blocks if isinstance(block, Rows) for row in block.columns.to_pylist()]
    return sorted(rows, key=lambda row: row["line"]), [block for block in blocks if isinstance(block, Reject)]


def lines_of(text: str) -> list[int]:
    return [row["line"] for row in read(text)[0]]


def refusal(text: str | bytes, layout: delimited.Layout = LAYOUT) -> tuple[str, int]:
    with pytest.raises(FormatError) as refused:
        read(text, layout)
    assert refused.value.member == 3
    return str(refused.value), refused.value.line


def test_a_line_becomes_a_row_of_typed_values_with_member_and_line() -> None:
    rows, rejects = read(f"{HEADER}\n{GOOD}\n")
    assert rejects == []
    assert rows == [
        {
            "day": date(2021, 1, 4),
            "code": b"ABC",
            "kind": "x",
            "count": 5,
            "small": -7,
            "name": "a name",
            "price": Decimal("1.5000"),
            "member": 3,
            "line": 2,
        }
    ]


def test_columns_are_found_by_name_in_any_order_and_dropped_ones_are_left_out() -> None:
    layout = replace(LAYOUT, drop=("Note",))
    text = "Note|" + "|".join(reversed(NAMES)) + "\nsecret|" + "|".join(reversed(GOOD.split("|"))) + "\n"
    assert [{**row, "line": 2} for row in read(text, layout)[0]] == read(f"{HEADER}\n{GOOD}\n")[0]


def test_line_numbers_are_those_of_the_file_whatever_stands_between() -> None:
    odd = f"\n{HEADER}\n\n\n{GOOD}\n   \nrubbish\n{GOOD}\n2021-01-04|ABC|x|5|-7|a | name|1.5\n\n{GOOD}"
    assert lines_of(odd) == [5, 8, 9, 11]
    assert [(reject.line, reject.text) for reject in read(odd)[1]] == [(7, "rubbish")]


@pytest.mark.parametrize("size", [1, 7, 4_096])
def test_line_numbers_do_not_depend_on_how_the_bytes_come(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "FIRST_BLOCK_BYTES", 50)
    monkeypatch.setattr(lines, "BLOCK_BYTES", 100)
    text = HEADER + "\n" + "".join(f"{GOOD}\n\nrubbish {n}\n" for n in range(200))
    rows, rejects = read(text, size=size)
    assert [row["line"] for row in rows] == [2 + 3 * n for n in range(200)]
    assert [(reject.line, reject.text) for reject in rejects] == [(4 + 3 * n, f"rubbish {n}") for n in range(200)]


def test_carriage_returns_and_nuls_are_taken_out_and_end_no_line() -> None:
    rows, rejects = read(f"\ufeff{HEADER}\r\n{GOOD}\r\r\n2021-01-04|A\0BC|x|\0\0005|-7|a\r name|\0.\r\n\0\0\n{GOOD}")
    assert rejects == []
    assert [row["line"] for row in rows] == [2, 3, 5]
    assert (rows[1]["code"], rows[1]["count"], rows[1]["name"], rows[1]["price"]) == (b"ABC", 5, "a name", None)


def test_latin_1_is_read_where_the_layout_says_so() -> None:
    layout = replace(LAYOUT, encoding="latin-1")
    text = f"{HEADER}\n2021-01-04|ABC|\xe9|5|-7|\xde\xff\xa0|1.5\n".encode("latin-1")
    assert [(row["kind"], row["name"]) for row in read(text, layout)[0]] == [("é", "Þÿ\xa0")]


def test_bytes_that_are_not_utf_8_are_refused_with_their_line() -> None:
    error, line = refusal(f"{HEADER}\n{GOOD}\n".encode() + b"\xff|\n")
    assert (error, line) == ("line 3 is not utf-8: invalid start byte", 3)


def test_quotes_are_plain_text() -> None:
    rows, rejects = read(f'{HEADER}\n2021-01-04|"BC|"|5|-7|he said "no|1.5\n{GOOD}\n')
    assert rejects == []
    assert [(row["code"], row["kind"], row["name"]) for row in rows[:1]] == [(b'"BC', '"', 'he said "no')]


def test_a_separator_inside_the_loose_field_stays_in_it() -> None:
    rows, rejects = read(f"{HEADER}\n2021-01-04|ABC|x|5|-7|a|b||c|1.5\n")
    assert rejects == []
    assert (rows[0]["name"], rows[0]["price"]) == ("a|b||c", Decimal("1.5000"))


def test_a_layout_without_a_loose_field_rejects_lines_with_too_many() -> None:
    rows, rejects = read(f"{HEADER}\n2021-01-04|ABC|x|5|-7|a|b|1.5\n", replace(LAYOUT, loose=""))
    assert (rows, [reject.reason for reject in rejects]) == ([], ["8 fields where the header has 7"])


def test_a_mended_line_that_is_wrong_all_the_same_is_rejected() -> None:
    rows, rejects = read(f"{HEADER}\n2021-01-04|ABC|x|5|five|a|b|1.5\n")
    assert rows == []
    assert [(reject.line, reject.text) for reject in rejects] == [(2, "2021-01-04|ABC|x|5|five|a|b|1.5")]
    assert rejects[0].reason == "Small is 'five', not a whole number that fits"


@pytest.mark.parametrize(
    ("field", "text"),
    [
        *[("Day", text) for text in ("", "2021-1-4", "2021-02-30", "20210104", "1969-12-31", "2149-06-07", "x")],
        *[("Code", text) for text in ("", "AB", "ABCD", "ÄBC")],
        *[("Count", text) for text in ("", "-1", "+1", "1.0", "1e2", "0x1F", " 5", "5 ", "1,000", "1" * 20, "٣")],
        *[("Small", text) for text in ("", "32768", "-32769", "--1", "-", "9" * 18)],
        *[("Price", text) for text in ("1,5", "1.00001", "1e2", "x", "-", "1.", "123456789012345", "NaN", "$1")],
    ],
)
def test_a_value_that_is_not_understood_rejects_its_line_and_no_other(field: str, text: str) -> None:
    fields = GOOD.split("|")
    fields[NAMES.index(field)] = text
    bad = "|".join(fields)
    rows, rejects = read(f"{HEADER}\n{GOOD}\n{bad}\n{GOOD}\n")
    assert [row["line"] for row in rows] == [2, 4]
    assert [(reject.member, reject.line, reject.text) for reject in rejects] == [(3, 3, bad)]
    assert rejects[0].reason.startswith(f"{field} is {text!r}, not ")


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("Day", "1970-01-01", date(1970, 1, 1)),
        ("Day", "2149-06-06", date(2149, 6, 6)),
        ("Count", "9" * 19, 10**19 - 1),
        ("Count", "007", 7),
        ("Small", "-32768", -32768),
        ("Small", "32767", 32767),
        ("Price", ".5", Decimal("0.5000")),
        ("Price", "-0.0001", Decimal("-0.0001")),
        ("Price", "99999999999999.9999", Decimal("99999999999999.9999")),
        ("Price", "", None),
        ("Price", ".", None),
        ("Kind", "", ""),
        ("Name", " padded ", " padded "),
    ],
)
def test_values_at_the_edge_are_understood(field: str, text: str, value: Any) -> None:
    fields = GOOD.split("|")
    fields[NAMES.index(field)] = text
    rows, rejects = read(f"{HEADER}\n{'|'.join(fields)}\n")
    assert rejects == []
    assert [row[LAYOUT.take[field]] for row in rows] == [value]


def test_a_line_of_separators_only_is_rejected_and_an_empty_one_is_not() -> None:
    rows, rejects = read(f"{HEADER}\n||||||\n\n{GOOD}\n")
    assert ([row["line"] for row in rows], [reject.line for reject in rejects]) == ([4], [2])


def test_a_rejected_line_is_kept_to_two_thousand_characters() -> None:
    assert len(read(f"{HEADER}\n{'é' * 5_000}\n")[1][0].text) == 2_000


def test_ten_thousand_rejects_are_kept_and_one_more_refuses_the_document() -> None:
    assert len(read(f"{HEADER}\n" + "rubbish\n" * 10_000)[1]) == 10_000
    error, line = refusal(f"{HEADER}\n{GOOD}\n" + "rubbish\n" * 10_001)
    assert error == (
        "too many lines cannot be read (10,001 so far); the first is line 3: 1 field where the header has 7"
    )
    assert line == 3


def test_many_bad_values_refuse_the_document_too() -> None:
    error, line = refusal(f"{HEADER}\n" + GOOD.replace("1.5", "1,5\n") * 30_000)
    assert "the first is line 2: Price is '1,5', not a number with a decimal point" in error
    assert line == 2


def test_a_line_of_more_than_a_mebibyte_is_refused() -> None:
    assert "longer than 1 MiB" in refusal(HEADER + "\n" + "x" * 10_000_000)[0]


def test_trailers_are_checked_and_never_loaded() -> None:
    rows, rejects = read(f"{HEADER}\n{GOOD}\n{GOOD}\nRecords 2\nSum of counts 10\n", replace(LAYOUT, strict=True))
    assert (len(rows), rejects) == (2, [])


@pytest.mark.parametrize(
    ("trailer", "error"),
    [
        ("Records 3", "line 4 says 'Records' 3, but the number of records is 2"),
        ("Records 1", "line 4 says 'Records' 1, but the number of records is 2"),
        ("Sum of counts 11", "line 4 says 'Sum of counts' 11, but the sum of count is 10"),
        ("Sum of counts 9", "line 4 says 'Sum of counts' 9, but the sum of count is 10"),
    ],
)
def test_a_trailer_off_by_one_refuses_the_document(trailer: str, error: str) -> None:
    assert refusal(f"{HEADER}\n{GOOD}\n{GOOD}\n{trailer}\n") == (error, 4)


def test_a_sum_is_right_beyond_sixty_four_bits() -> None:
    big = GOOD.replace("|5|", f"|{'9' * 19}|")
    read(f"{HEADER}\n{big}\n{big}\n{big}\nSum of counts {3 * (10**19 - 1)}\n")
    refusal(f"{HEADER}\n{big}\n{big}\n{big}\nSum of counts {3 * (10**19 - 1) - 2**64}\n")


def test_rejected_lines_count_as_records_and_may_only_lower_the_sum() -> None:
    text = f"{HEADER}\n{GOOD}\n{GOOD.replace('|5|', '|five|')}\nRecords 2\nSum of counts "
    assert len(read(text + "10\n")[1]) == 1
    assert refusal(text + "4\n") == ("line 5 says 'Sum of counts' 4, but the sum of count is 5", 5)


def test_what_only_looks_like_a_trailer_is_rejected() -> None:
    assert [reject.text for reject in read(f"{HEADER}\n{GOOD}\nRecords many\nRecords\n")[1]] == [
        "Records many",
        "Records",
    ]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"take": {"Day": "day"}}, "must name every column of the dataset once"),
        ({"loose": "Nom"}, "the loose field 'Nom' is neither taken nor dropped"),
    ],
)
def test_a_layout_that_cannot_work_fails_where_it_is_declared(change: dict[str, Any], error: str) -> None:
    with pytest.raises(SettingsError, match=error):
        replace(LAYOUT, **change)


@pytest.mark.parametrize("type_name", ["DateTime64(6, 'UTC')", "Bool", "UUID", "Array(String)", "LowCardinality(UUID)"])
def test_a_layout_for_a_type_that_is_not_read_from_text_fails_where_it_is_declared(type_name: str) -> None:
    column = Column("odd", type_name, "odd")
    dataset = replace(DATASET, columns=(*DATASET.columns, column))
    with pytest.raises(SettingsError, match="is not read from text"):
        replace(LAYOUT, dataset=dataset, take={**LAYOUT.take, "Odd": "odd"})


PLAIN = st.text(st.characters(exclude_characters="|\n\r\0\ufeff", exclude_categories=["Cs"]), max_size=12)
ROW = st.tuples(
    st.dates(date(1970, 1, 1), date(2149, 6, 6)).map(str),
    st.from_regex(r"[A-Z0-9]{3}", fullmatch=True),
    PLAIN,
    st.integers(0, 10**18).map(str),
    st.integers(-(2**15), 2**15 - 1).map(str),
    PLAIN | st.text("ab|", max_size=6),
    st.decimals(-(10**13), 10**13, places=4).map(lambda value: format(value, "f")) | st.sampled_from(["", "."]),
)
LINE = ROW | st.sampled_from([None, "rubbish", "a|b"])


@settings(max_examples=200, deadline=None)
@given(table=st.lists(LINE, max_size=30), end=st.sampled_from(["\n", "\r\n"]), block=st.integers(1, 400))
def test_any_table_written_as_text_reads_back_the_same_with_its_line_numbers(
    table: Sequence[tuple[str, ...] | str | None], end: str, block: int
) -> None:
    texts = ["" if row is None else row if isinstance(row, str) else "|".join(row) for row in table]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "FIRST_BLOCK_BYTES", block)
        patch.setattr(lines, "BLOCK_BYTES", block)
        rows, rejects = read(end.join([HEADER, *texts]), size=block)
    expected = {at: row for at, row in enumerate(table, 2) if isinstance(row, tuple)}
    assert {row["line"]: _printed(row) for row in rows} == {at: _values(row) for at, row in expected.items()}
    assert sorted((reject.line, reject.text) for reject in rejects) == [
        (at, row) for at, row in enumerate(table, 2) if isinstance(row, str)
    ]


def _printed(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[column.name] for column in DATASET.columns)


def _values(row: tuple[str, ...]) -> tuple[Any, ...]:
    day, code, kind, count, small, name, price = row
    worth = None if price in ("", ".") else Decimal(price)
    return date.fromisoformat(day), code.encode(), kind, int(count), int(small), name, worth


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=300) | st.text("|\n\r\0 .-1\xe9x", max_size=200).map(str.encode), header=st.booleans())
def test_random_bytes_give_rows_rejects_or_a_format_error_and_nothing_else(data: bytes, header: bool) -> None:
    layout = replace(LAYOUT, encoding="latin-1")
    try:
        rows, rejects = read(HEADER.encode() + b"\n" + data if header else data, layout)
    except FormatError:
        return
    places = [row["line"] for row in rows] + [reject.line for reject in rejects]
    assert len(places) == len(set(places))
    assert all(2 <= place <= data.count(b"\n") + 2 for place in places)


@settings(max_examples=100, deadline=None)
@given(texts=st.lists(st.text("0123456789.,-+eEx \xe9", max_size=8), min_size=1, max_size=20))
def test_what_is_valid_does_not_depend_on_the_lines_around_it(texts: list[str]) -> None:
    text_lines = [GOOD.replace("|5|", f"|{text}|").replace("1.5", text) for text in texts]
    together = {row["line"] for row in read("\n".join([HEADER, *text_lines]))[0]}
    alone = {at for at, line in enumerate(text_lines, 2) if read(f"{HEADER}\n{line}")[0]}
    assert together == alone


def test_a_day_later_is_another_line() -> None:
    days = [str(date(2021, 1, 1) + timedelta(days=n)) for n in range(500)]
    rows, _ = read("\n".join([HEADER, *(GOOD.replace("2021-01-04", day) for day in days)]))
    assert [str(row["day"]) for row in rows] == days


def test_rejects_are_cut_at_the_documented_limits() -> None:
    assert cells.make_reject(1, 2, "x" * 3_000, "why") == Reject(1, 2, "x" * 2_000, "why")
