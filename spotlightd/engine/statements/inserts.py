"""Where the inline data of an INSERT begin. Pure.

What stands behind the name of the format is data, whatever it looks like. So nothing may be appended to such a statement:
it would be stored as a row.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from spotlightd.engine.errors import SYNTAX, failure
from spotlightd.engine.statements.tokens import Token

_CLAUSES = ("FORMAT", "VALUES", "SELECT", "WITH", "FROM", "EXPLAIN", "WATCH")
_DATA_BEGIN = re.compile(r"[ \t\f]*\r?\n?")


@dataclass(frozen=True, slots=True)
class FormatClause:
    """Where the word FORMAT stands, and the name behind it."""

    start: int
    name: Token


def enter_insert(tokens: Iterator[Token], *prefixes: str) -> bool:
    """Read the tokens up to INTO, if the statement is an INSERT, alone or behind one of these words; else return False.

    Behind WITH and EXPLAIN the first of INSERT INTO, SELECT and FROM decides, because all else may be a name there.
    """
    before = next(tokens, None)
    if before is None or not before.is_word("INSERT", *prefixes):
        return False
    for token in tokens:
        if before.is_word("INSERT") and token.is_word("INTO"):
            return True
        if token.is_word("SELECT", "FROM") and not before.is_word("AS"):
            return False
        before = token
    return False


def find_format(tokens: Iterator[Token]) -> FormatClause | None:
    """The FORMAT clause of an INSERT whose tokens are read up to INTO, if data follow that name."""
    clause = _find_clause(tokens)
    name = next(tokens, None) if clause is not None and clause.is_word("FORMAT") else None
    return FormatClause(clause.start, name) if clause and name is not None and name.kind == "word" else None


def find_values(tokens: Iterator[Token]) -> Token | None:
    """The word VALUES of an INSERT whose tokens are read up to INTO."""
    clause = _find_clause(tokens)
    return clause if clause is not None and clause.is_word("VALUES") else None


def _find_clause(tokens: Iterator[Token]) -> Token | None:
    """The word that begins what is inserted."""
    before = _read_target(tokens)
    for token in tokens:
        if token.is_word(*_CLAUSES) and before is not None and before.text != ".":
            return token
        before = token
    return None


def find_data(text: str, stop: int, *, complete: bool) -> int | None:
    """Where data begin behind the name of the format, which ends at `stop`: spaces and one line end belong to the
    statement, all else is data. None while that is not decided, because more text may come.
    """
    if text.startswith(";", stop):
        raise failure(SYNTAX, "A semicolon stands between the name of the format and the data of INSERT: leave it out")
    gap = _DATA_BEGIN.match(text, stop)
    begin = gap.end() if gap else stop
    is_decided = complete or text[stop:begin].endswith("\n") or begin < len(text)
    return begin if is_decided else None


def _read_target(tokens: Iterator[Token]) -> Token | None:
    """The first token of the target's name, which may be any word: a table named `values` is no clause."""
    token = next(tokens, None)
    if token is not None and token.is_word("TABLE"):
        token = next(tokens, None)
    if token is not None and token.is_word("FUNCTION"):
        token = next(tokens, None)
    return token
