"""A request becomes a SELECT. Text of a reader is refused or bound, and never part of the statement."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spotlightd.model.dataset import Column, Dataset, Rhythm
from spotlightd.query import filters, select
from spotlightd.query import question as question_module
from spotlightd.query.errors import HttpProblem
from spotlightd.query.select import Query
from spotlightd.sql.visibility import Snapshot, visible_condition

EVERY_KIND = Dataset(
    name="kinds",
    title="Kinds",
    publisher="constructed",
    about="",
    columns=(
        Column("day", "Date", ""),
        Column("at", "DateTime64(6, 'UTC')", ""),
        Column("name", "LowCardinality(String)", ""),
        Column("code", "FixedString(4)", ""),
        Column("note", "Nullable(String)", ""),
        Column("amount", "UInt32", ""),
        Column("change", "Nullable(Int64)", ""),
        Column("price", "Nullable(Decimal(18, 4))", ""),
        Column("share", "Float64", ""),
        Column("capped", "Bool", ""),
        Column("venues", "Array(String)", ""),
    ),
    key=("day", "code"),
    order=("code", "day"),
    time="day",
    symbol="code",
    rhythm=Rhythm("never", 1),
)

NAMES = [column.name for column in EVERY_KIND.columns]
HOSTILE = (
    "1; DROP TABLE loads", "' OR 1=1 --", "\\' OR '1'='1", "{seq:UInt64}", "`name`", "/*", "\x00", "2021-01-01'",
    "x) OR (1=1", "🦊", "NULL", "nan", "1e999", "-1", "0x10", "९", "99999999999999999999", "",
)  # fmt: skip
KEYWORDS = {
    "SELECT", "FROM", "WHERE", "AND", "OR", "NOT", "ORDER", "BY", "DESC", "LIMIT", "GROUP", "IN", "BETWEEN", "DISTINCT", "LEFT",
    "ANY", "JOIN", "ON", "AS", "isNull", "isNaN", "ifNull", "if", "false", "has", "toString", "startsWith", "count",
    "positionCaseInsensitiveUTF8", "match", "concat", "trimRight", "load_id", "loads", "dataset", "document", "seq", "_load", "_document", "_member", "_line",
    "member", "line", "kinds", "String", "UInt8", "UInt32", "UInt64", "UInt16", "Int64", "Float64", "Date", "DateTime64", "UTC",
    "Decimal", "Bool", *NAMES,
}  # fmt: skip
SIGNS = re.compile(r"[\s,().{}:`<>=*]|'UTC'")

SNAPSHOT = Snapshot(7)


def statements(question: question_module.Question) -> list[Query]:
    return [
        select.select_page(question, SNAPSHOT, 100), select.select_count(question, SNAPSHOT), select.select_download(question, SNAPSHOT), select.select_loads_used(question, SNAPSHOT),
        *(select.select_facet(question, column, SNAPSHOT) for column in question.facets),
    ]  # fmt: skip


def unexpected_tokens(sql: str) -> list[str]:
    """Tokens of a statement that are neither declared names, nor keywords of SQL, nor numbers."""
    rest = sql.replace(visible_condition(EVERY_KIND), "")
    for literal in (select.FORMULA, r"'\''", r"'\0'"):
        rest = rest.replace(literal, "")
    tokens = re.findall(r"'UTC'|\w+|[^\w]", rest)
    return [
        token for token in tokens if not (token in KEYWORDS or SIGNS.fullmatch(token) or re.fullmatch(r"p?\d+", token))
    ]


def parse_or_refuse(pairs: list[tuple[str, str]]) -> question_module.Question | None:
    """The question, or None when it was refused with 400 and a detail."""
    try:
        return filters.parse_question(EVERY_KIND, pairs, most=1000)
    except HttpProblem as problem:
        refusal = problem
    assert refusal.status == 400
    assert refusal.detail
    return None


texts = st.one_of(
    st.sampled_from(HOSTILE),
    st.text(max_size=30),
    st.integers().map(str),
    st.dates().map(str),
    st.datetimes().map(lambda moment: moment.isoformat() + "Z"),
    st.decimals(allow_nan=True).map(str),
    st.sampled_from(["true", "false", "0", "1", "a,b", "1,2", "2021-01-01,2021-01-31", *NAMES]),
)
names = st.one_of(
    st.sampled_from(NAMES),
    st.sampled_from([f"{name}__{operator}" for name in NAMES for operator in filters.OPERATORS]),
    st.sampled_from(filters.RESERVED_PARAMETERS),
    st.sampled_from(["member", "line", "load_id", "line__gte"]),
    st.text(max_size=12),
    st.sampled_from(HOSTILE),
)


@given(st.lists(st.tuples(names, texts), max_size=6))
def test_any_parameters_are_refused_with_400_or_become_a_statement_without_text_of_the_reader(
    pairs: list[tuple[str, str]],
) -> None:
    question = parse_or_refuse(pairs)
    for query in statements(question) if question else []:
        assert unexpected_tokens(query.sql) == []
        assert set(re.findall(r"\{(\w+):", query.sql)) <= set(query.params)


@given(st.sampled_from([name for name in NAMES if name != "venues"]), st.booleans(), st.lists(texts, max_size=8))
def test_an_invented_cursor_is_refused_or_bound(name: str, down: bool, values: list[str]) -> None:
    mark = base64.urlsafe_b64encode(json.dumps(values).encode()).decode()
    question = parse_or_refuse([("_sort_desc" if down else "_sort", name), ("_next", mark)])
    assert question is None or unexpected_tokens(select.select_page(question, SNAPSHOT, 10).sql) == []


@given(st.text(max_size=40))
def test_a_cursor_of_noise_is_refused(text: str) -> None:
    question = parse_or_refuse([("_next", text)])
    assert question is None or not text or question.after


def get_refusal(pairs: list[tuple[str, str]], **options: Any) -> str:
    with pytest.raises(HttpProblem) as error:
        filters.parse_question(EVERY_KIND, pairs, **options)
    assert error.value.status == 400
    return error.value.detail


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("amount", "many", "amount: 'many' is not a whole number"),
        ("amount", "4294967296", "amount: 4294967296 is outside of 0 to 4294967295"),
        ("amount", "-1", "amount: -1 is outside of 0 to 4294967295"),
        ("price__gte", "1.23456", "price__gte: 1.23456 has more than 14 digits before or 4 after the point"),
        ("price__gte", "1,5", "price__gte: '1,5' is not a number like 12.5"),
        ("share", "inf", "share: 'inf' is not a finite number"),
        ("day", "27.01.2021", "day: '27.01.2021' is not a date like 2021-01-27"),
        (
            "at",
            "2021-01-27T10:00:00",
            "at: '2021-01-27T10:00:00' has no time zone: write Z for UTC, as in 2021-01-27T14:30:00Z",
        ),
        ("code", "TOO LONG", "code: 'TOO LONG' is longer than 4 characters"),
        ("capped", "yes", "capped: 'yes' is neither true nor false"),
        ("venues", "NYSE", "venues: 'eq' cannot filter venues"),
        ("day__between", "2021-01-01", "day__between: write two values with a comma between them, the lower first"),
        ("note__isnull", "maybe", "note__isnull: write 1 for empty, 0 for not empty"),
        ("nmae", "x", "nmae: kinds has no column 'nmae'; did you mean name?"),
        ("load_id", "1", "load_id: kinds has no column 'load_id'"),
        ("_sorted", "x", "_sorted: there is no such parameter; did you mean _sort?"),
        ("_sort", "venues", "_sort: venues is a list and has no order"),
        ("_size", "0", "_size: '0' is not a number of rows"),
        ("_facet", "venues", "_facet: venues is a list and cannot be counted"),
        ("_document", "abc", "_document: write the 64 hexadecimal digits of a document's SHA-256"),
        ("as_of", "yesterday", "as_of: 'yesterday' is not a date like 2021-01-27 or a time like 2021-01-27T14:30:00Z"),
    ],
)
def test_a_bad_value_is_named_with_its_parameter(name: str, text: str, message: str) -> None:
    assert get_refusal([(name, text)]) == message


def test_a_page_larger_than_allowed_is_refused_with_the_limit() -> None:
    assert get_refusal([("_size", "1001")], most=1000) == "_size: a page has at most 1,000 rows"


def test_a_day_as_of_means_its_end() -> None:
    question = filters.parse_question(EVERY_KIND, [("as_of", "2021-03-01")])
    assert question.as_of
    assert question.as_of.isoformat() == "2021-03-01T23:59:59.999999+00:00"


def test_a_plus_in_an_offset_may_have_become_a_blank() -> None:
    question = filters.parse_question(EVERY_KIND, [("as_of", "2021-03-01T12:00:00 02:00")])
    assert question.as_of
    assert question.as_of.isoformat() == "2021-03-01T10:00:00+00:00"


def test_a_form_without_script_becomes_a_permalink() -> None:
    sent = [
        ("symbol", "GME"),
        ("_filter_column", "quantity"),
        ("_filter_op", "gte"),
        ("_filter_value", "5"),
        ("as_of", ""),
    ]
    assert filters.fold_filter_form(sent) == [("symbol", "GME"), ("quantity__gte", "5")]
    assert filters.fold_filter_form([("symbol", "GME")]) is None
