"""Just enough of ClickHouse's grammar to run a statement: its first word, its last FORMAT, where inline data begins.

Pure. This parser is no security check: the engine judges every statement, and reports what was misread as an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from spotlightd.engine.errors import SYNTAX, failure

Kind = Literal["read", "load", "change"]

_TOKEN = re.compile(
    r"""(?P<space>\s+|--[^\n]*|\#[ !][^\n]*|/\*.*?\*/)
      | (?P<text>'(?:[^'\\]++|\\.|'')*+'|"(?:[^"\\]++|\\.|"")*+"|`(?:[^`\\]++|\\.|``)*+`|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$)
      | (?P<word>[A-Za-z_]\w*+)
      | (?P<number>\d\w*+)
      | (?P<open>[(\[{])
      | (?P<close>[)\]}])
      | (?P<end>;)
      | (?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
_READS = frozenset({"SELECT", "WITH", "FROM", "SHOW", "DESC", "DESCRIBE", "EXISTS", "EXPLAIN", "CHECK", "VALUES"})
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_DATA_BEGIN = re.compile(r"[ \t]*(?:\r?\n)?")


@dataclass(frozen=True, slots=True)
class Token:
    kind: str
    text: str
    start: int
    depth: int

    @property
    def stop(self) -> int:
        return self.start + len(self.text)

    def is_word(self, word: str) -> bool:
        """Whether the token is that word, outside of all brackets."""
        return self.kind == "word" and self.depth == 0 and self.text.upper() == word


@dataclass(frozen=True, slots=True)
class Statement:
    """A parsed statement, by kind:

    read    `sql` without its FORMAT clause, `format` (empty: none was named), and `after`, the SETTINGS that followed it
    load    `sql` up to the word FORMAT, `format`, and `data`: the place in the text where inline data begins
    change  `sql` unchanged; its answer is small
    """

    kind: Kind
    sql: str
    format: str = ""
    after: str = ""
    data: int = 0


def parse_statement(text: str) -> Statement:
    """Parse one statement. StatementError for a second one behind a semicolon, as in ClickHouse's HTTP interface, and for
    text that is not UTF-8 (its bytes arrive as lone surrogates).
    """
    _check_utf8(text)
    first = next((token for token in _tokens(text) if token.kind == "word"), None)
    if first is None:
        raise failure(SYNTAX, "Empty query")
    keyword = first.text.upper()
    if keyword == "INSERT":
        return parse_insert_head(text, complete=True) or _parse_single(text, "change")
    return _parse_single(text, "read" if keyword in _READS else "change")


def parse_insert_head(text: str, *, complete: bool) -> Statement | None:
    """The INSERT at the start of the text, if it names a format for the data that follows it; else None.

    While more text may come (not `complete`), None also when this is not decided yet.
    """
    before: Token | None = None
    for token in _tokens(text):
        if before is None and not token.is_word("INSERT"):
            return None
        if before is not None and before.is_word("FORMAT") and token.kind == "word":
            data = _data_begin(text, token.stop, complete=complete)
            _check_utf8(text[: token.stop])
            return None if data is None else Statement("load", text[: before.start].rstrip(), token.text, data=data)
        before = token
    return None


def _data_begin(text: str, stop: int, *, complete: bool) -> int | None:
    """Where data begins behind the format's name: spaces and one line end belong to the statement, all else is data."""
    gap = _DATA_BEGIN.match(text, stop)
    begin = gap.end() if gap else stop
    is_decided = complete or text[stop:begin].endswith("\n") or (begin < len(text) and text[begin] != "\r")
    return begin if is_decided else None


def _check_utf8(text: str) -> None:
    if _LONE_SURROGATE.search(text):
        raise failure(SYNTAX, "The statement is not UTF-8")


def _parse_single(text: str, kind: Kind) -> Statement:
    """The single statement of a text, without its FORMAT clause and closing semicolon."""
    tokens = []
    ended: Token | None = None
    for token in _tokens(text):
        if token.kind == "end" and token.depth == 0:
            ended = ended or token
        elif ended is not None:
            raise failure(SYNTAX, "Multi-statements are not allowed")
        else:
            tokens.append(token)
    sql = text[: ended.start] if ended else text
    clauses = (
        [index for index in range(1, len(tokens) - 1) if _is_format_clause(tokens, index)] if kind == "read" else []
    )
    if not clauses:
        return Statement(kind, sql.rstrip())
    clause, name = tokens[clauses[-1]], tokens[clauses[-1] + 1]
    return Statement(kind, sql[: clause.start].rstrip(), name.text, sql[name.stop :].strip())


def _is_format_clause(tokens: list[Token], index: int) -> bool:
    """Whether a FORMAT clause begins at that token: the word, a name, and then nothing or SETTINGS."""
    is_last = index + 2 == len(tokens) or tokens[index + 2].is_word("SETTINGS")
    return tokens[index].is_word("FORMAT") and tokens[index + 1].kind == "word" and is_last


def _tokens(text: str) -> Iterator[Token]:
    """The tokens except white space and comments, with their depth in brackets."""
    depth = 0
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or "other"
        kind = "text" if kind == "tag" else kind
        if kind == "space":
            continue
        if kind == "close":
            depth -= 1
        yield Token(kind, match[0], match.start(), depth)
        if kind == "open":
            depth += 1
