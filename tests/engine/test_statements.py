"""How statements and requests are parsed, tested without an engine."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as some

from spotlightd.engine.errors import StatementError
from spotlightd.engine.requests.options import make_set_clause, parse_options, quote
from spotlightd.engine.statements.statement import parse_insert_head, parse_statement
from spotlightd.engine.statements.tokens import decode, encode

TEXT = some.text(alphabet=some.characters(exclude_categories=["Cs"]), max_size=40)
ANY_FORMAT = some.sampled_from(["CSV", "JSONEachRow", "Native", "Arrow"])


@pytest.mark.parametrize(
    ("text", "kind", "form"),
    [
        ("SELECT 1", "read", ""),
        ("select 1 format JSON", "read", "JSON"),
        ("SELECT 1\n FORMAT  Native ;  ", "read", "Native"),
        ("-- FORMAT CSV\n/* FORMAT TSV */ SELECT 1 -- FORMAT XML", "read", ""),
        ("SELECT 'FORMAT CSV'", "read", ""),
        ("SELECT a AS format FROM t", "read", ""),
        ("SELECT 1 FORMAT JSON SETTINGS max_threads = 1", "read", "JSON"),
        ("(SELECT 1) UNION ALL (SELECT 2) FORMAT CSV", "read", "CSV"),
        ("WITH 1 AS x SELECT x FORMAT TSV", "read", "TSV"),
        ("SELECT $tag$ FORMAT CSV $tag$", "read", ""),
        ("SHOW TABLES", "read", ""),
        ("EXPLAIN SELECT 1", "read", ""),
        ("INSERT INTO t VALUES (1)", "change", ""),
        ("INSERT INTO t SELECT 1", "change", ""),
        ("INSERT INTO t (format) FORMAT CSV\n1", "load", "CSV"),
        ("INSERT INTO t SELECT a AS format FROM x", "change", ""),
        ("INSERT INTO format FORMAT CSV 1", "load", "CSV"),
        ("INSERT INTO TABLE d.format FORMAT CSV 1", "load", "CSV"),
        ("INSERT INTO FUNCTION null('a String') FORMAT TSV 1", "load", "TSV"),
        ("INSERT INTO t (a) SETTINGS max_threads = 1 FORMAT TSV 1; 2", "load", "TSV"),
        ("WITH 1 AS y INSERT INTO t FORMAT TSV\n1; 2", "load", "TSV"),
        ("WITH {SELECT:Int32} AS y INSERT INTO t FORMAT TSV\n1", "load", "TSV"),
        ("WITH (SELECT 1) AS select, 2 AS insert INSERT INTO t FORMAT TSV\n1", "load", "TSV"),
        ("WITH insert AS (SELECT 13 AS n) SELECT * FROM insert FORMAT TSV", "read", "TSV"),
        ("WITH 13 AS insert SELECT insert", "read", ""),
        ("FROM t SELECT 1 FORMAT TSV", "read", "TSV"),
        ("SELECT \u2018; FORMAT TSV\u2019 FORMAT CSV", "read", "CSV"),
        ("EXPLAIN INSERT INTO t FORMAT TSV\n1\n\nDROP TABLE t", "change", ""),
        ("EXPLAIN SELECT 1 FORMAT TSV", "read", "TSV"),
        ("SELECT 1 PARALLEL WITH INSERT INTO t VALUES (1)", "change", ""),
        ("KILL QUERY WHERE 1 TEST\n FORMAT Native", "change", "Native"),
        ("SET max_threads = 1", "session", ""),
        ("USE system", "session", ""),
        ("CREATE TABLE t (a UInt8) ENGINE = Memory", "change", ""),
        ("ALTER TABLE t DROP COLUMN format", "change", ""),
    ],
)
def test_the_first_word_and_the_last_clause_give_kind_and_format(text: str, kind: str, form: str) -> None:
    parsed = parse_statement(text)
    assert (parsed.kind, parsed.format) == (kind, form)


def test_settings_behind_the_format_are_kept() -> None:
    parsed = parse_statement("SELECT 1 FORMAT JSON SETTINGS max_threads = 1")
    assert (parsed.sql, parsed.after) == ("SELECT 1", "SETTINGS max_threads = 1")


@pytest.mark.parametrize("text", ["SELECT 1; SELECT 2", "SELECT 1; DROP TABLE t", "DROP TABLE a; DROP TABLE b;"])
def test_a_second_statement_is_refused(text: str) -> None:
    with pytest.raises(StatementError, match="Multi-statements"):
        parse_statement(text)


@pytest.mark.parametrize("text", ["", "  ", "-- nothing", "/* nothing */", ";"])
def test_an_empty_statement_is_refused(text: str) -> None:
    with pytest.raises(StatementError, match="Empty query"):
        parse_statement(text)


@given(TEXT, ANY_FORMAT)
def test_no_literal_can_pass_for_a_format_or_a_second_statement(text: str, form: str) -> None:
    parsed = parse_statement(f"SELECT {quote(text)} FORMAT {form}")
    assert (parsed.sql, parsed.format) == (f"SELECT {quote(text)}", form)


HEADS = some.sampled_from(["INSERT INTO t (a, b)", "WITH (SELECT 1) AS y INSERT INTO FUNCTION null('a Int8')"])


@given(some.binary(max_size=60), ANY_FORMAT, HEADS, some.integers(min_value=0, max_value=160))
def test_wherever_a_body_is_cut_its_data_begin_at_the_same_byte(data: bytes, form: str, sql: str, cut: int) -> None:
    whole = f"{sql} FORMAT {form}\n".encode() + data
    head = parse_insert_head(whole[:cut].decode("utf-8", "surrogateescape"), complete=False)
    if head is not None:
        text = whole[:cut].decode("utf-8", "surrogateescape")
        rest = text[head.data :].encode("utf-8", "surrogateescape") + whole[cut:]
        assert (head.sql, head.format, rest) == (sql, form, data)


@pytest.mark.parametrize(
    ("gap", "data"), [(" ", "1"), ("\t \r\n", "1"), ("\n", "\n1"), ("\r", "1"), ("\f\n", " 1"), ("", "")]
)
def test_spaces_and_one_line_end_stand_between_the_format_and_the_data(gap: str, data: str) -> None:
    text = f"INSERT INTO t FORMAT CSV{gap}{data}"
    assert text[parse_statement(text).data :] == data


def test_a_semicolon_before_the_data_is_refused_as_in_clickhouse() -> None:
    with pytest.raises(StatementError, match="semicolon"):
        parse_statement("INSERT INTO t FORMAT CSV;\n1")


@given(some.binary(max_size=60))
def test_a_statement_keeps_its_bytes(raw: bytes) -> None:
    assert encode(decode(raw)) == raw


@given(TEXT)
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(StatementError):
        assert parse_statement(text).kind in {"read", "load", "change", "session"}


def test_parameters_are_sorted_into_transport_settings_and_values() -> None:
    options = parse_options(
        {"query": "x", "max_threads": "1", "param_a": "b", "database": "d", "wait_end_of_query": "1", "query_id": "q"},
        {},
    )
    assert (options.settings, options.values, options.database) == ({"max_threads": "1"}, {"a": "b"}, "d")
    assert (options.whole, options.query_id, options.format) == (True, "q", "TabSeparated")


@pytest.mark.parametrize("name", ["a b", "x = 1, y", "é", "a" * 201, "a-b"])
def test_a_setting_with_an_invalid_name_is_refused(name: str) -> None:
    with pytest.raises(StatementError) as raised:
        parse_options({name: "1"}, {})
    assert raised.value.code == 115


@given(TEXT)
def test_a_setting_stays_inside_its_quotes(text: str) -> None:
    clause = make_set_clause({"log_comment": text})
    assert parse_statement(clause + " FORMAT CSV").sql.startswith("SET log_comment = '")
