"""Just enough of ClickHouse's grammar to run a statement: what it does, its last FORMAT, where inline data begin.

Pure. This parser is no security check: the engine judges every statement, and reports what was misread as an error.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from spotlightd.engine.errors import NOT_IMPLEMENTED, SYNTAX, failure
from spotlightd.engine.statements.inserts import FormatClause, enter_insert, find_data, find_format, find_values
from spotlightd.engine.statements.tokens import Token, read_tokens

Kind = Literal["read", "load", "change", "session"]

_SESSION = frozenset({"SET", "USE"})
_QUERIES = frozenset({"SELECT", "WITH", "FROM"})
_READS = _QUERIES | frozenset({"SHOW", "DESC", "DESCRIBE", "EXISTS", "EXPLAIN", "CHECK", "VALUES"})


@dataclass(frozen=True, slots=True)
class Statement:
    """A parsed statement, by kind:

    read    `sql` without its FORMAT clause, `format` (empty: none was named), and `after`, the SETTINGS that followed it;
            `is_query` for a SELECT, in whatever form
    load    `sql` up to the word FORMAT, `format`, and `data`: the place in the text where inline data begin
    change  `sql` unchanged, and its `format`; its answer is small
    session `sql` unchanged: SET or USE, which change nothing but the session
    """

    kind: Kind
    sql: str
    format: str = ""
    after: str = ""
    data: int = 0
    is_query: bool = False


def parse_statement(text: str) -> Statement:
    """Parse one statement. StatementError for a second one behind a semicolon, as in ClickHouse's HTTP interface."""
    if (insert := parse_insert_head(text, complete=True)) is not None:
        return insert
    tokens = read_tokens(text)
    if enter_insert(tokens, "WITH", "EXPLAIN"):
        return _parse_other_insert(text, find_format(tokens))
    first = next((token for token in read_tokens(text) if token.kind == "word"), None)
    if first is None:
        raise failure(SYNTAX, "Empty query")
    return _parse_single(text, _choose_kind(text, first.text.upper()))


def parse_values_head(text: str) -> Statement | None:
    """The INSERT of the text, if its rows are VALUES: as data of the format Values; else None."""
    tokens = read_tokens(text)
    word = find_values(tokens) if enter_insert(tokens, "WITH") else None
    return None if word is None else Statement("load", text[: word.start].rstrip(), "Values", data=word.stop)


def _choose_kind(text: str, keyword: str) -> Kind:
    if keyword in _SESSION:
        return "session"
    if keyword not in _READS:
        return "change"
    words = list(read_tokens(text))
    inserts = any(word.is_word("INSERT") and behind.is_word("INTO") for word, behind in pairwise(words))
    return (
        "change" if inserts else "read"
    )  # beside a SELECT (PARALLEL WITH): what is appended to it may be taken for data


def parse_insert_head(text: str, *, complete: bool) -> Statement | None:
    """The INSERT of the text, if it names a format for the data that follow it; else None.

    While more text may come (not `complete`), None also when this is not decided yet.
    """
    tokens = read_tokens(text)
    clause = find_format(tokens) if enter_insert(tokens, "WITH") else None
    if clause is None:
        return None
    begin = find_data(text, clause.name.stop, complete=complete)
    return None if begin is None else Statement("load", text[: clause.start].rstrip(), clause.name.text, data=begin)


def _parse_other_insert(text: str, clause: FormatClause | None) -> Statement:
    """An INSERT without a format of its own, whose rows are VALUES or a query; or the explanation of any INSERT.

    Data behind an explained INSERT are left out: the engine would run what stands behind an empty line in them.
    """
    if clause is not None:
        return Statement("change", text[: clause.name.stop])
    statement = _parse_single(text, "change")
    before: Token | None = None
    for token in read_tokens(text):
        if token.text == "(" and before is not None and before.kind == "word" and before.text.lower() == "input":
            raise failure(NOT_IMPLEMENTED, "The embedded engine has no input(): send the data as an external table")
        before = token
    return statement


def _parse_single(text: str, kind: Kind) -> Statement:
    """The single statement of a text, without its closing semicolon; one that reads also without its FORMAT clause."""
    tokens = []
    ended: Token | None = None
    for token in read_tokens(text):
        if token.kind == "end" and token.depth == 0:
            ended = ended or token
        elif ended is not None:
            raise failure(SYNTAX, "Multi-statements are not allowed")
        else:
            tokens.append(token)
    sql = text[: ended.start] if ended else text
    clauses = [index for index in range(1, len(tokens) - 1) if _is_format_clause(tokens, index)]
    is_query = kind == "read" and (tokens[0].text == "(" or tokens[0].is_word(*_QUERIES))
    if not clauses:
        return Statement(kind, sql.rstrip(), is_query=is_query)
    clause, name = tokens[clauses[-1]], tokens[clauses[-1] + 1]
    if kind != "read":
        return Statement(kind, sql.rstrip(), name.text)
    return Statement(kind, sql[: clause.start].rstrip(), name.text, sql[name.stop :].strip(), is_query=is_query)


def _is_format_clause(tokens: list[Token], index: int) -> bool:
    """Whether a FORMAT clause begins at that token: the word, a name, and then nothing or SETTINGS."""
    is_last = index + 2 == len(tokens) or tokens[index + 2].is_word("SETTINGS")
    return tokens[index].is_word("FORMAT") and tokens[index + 1].kind == "word" and is_last
