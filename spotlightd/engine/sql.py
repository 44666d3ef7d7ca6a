"""Just enough of ClickHouse's grammar to serve a statement: its first word, its last FORMAT, where inline data begin.

Pure. Nothing is parsed for safety here: the engine judges every statement, and what is misread becomes its error.
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
_LONE = re.compile("[\ud800-\udfff]")
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

    def says(self, word: str) -> bool:
        """It is that word, outside of all brackets."""
        return self.kind == "word" and self.depth == 0 and self.text.upper() == word


@dataclass(frozen=True, slots=True)
class Statement:
    """What to do with a statement.

    read    `sql` without its FORMAT clause, `format` (empty: none was named), and `after`, the SETTINGS that followed it
    load    `sql` up to the word FORMAT, `format`, and `data`: the place in the text where inline data begin
    change  `sql` as it is; what it answers is small
    """

    kind: Kind
    sql: str
    format: str = ""
    after: str = ""
    data: int = 0


def statement(text: str) -> Statement:
    """Read one statement. A second one behind a semicolon is a failure, as it is at ClickHouse's own door.

    So is text that is not UTF-8 (its bytes come as lone surrogates).
    """
    _check(text)
    first = next((token for token in _tokens(text) if token.kind == "word"), None)
    if first is None:
        raise failure(SYNTAX, "Empty query")
    word = first.text.upper()
    if word == "INSERT":
        return load_head(text, complete=True) or _single(text, "change")
    if word not in _READS:
        return _single(text, "change")
    return _single(text, "read")


def load_head(text: str, *, complete: bool) -> Statement | None:
    """The INSERT that this text begins with, when data in a named format follow it.

    None when it has none, or, while more text may come (not `complete`), when that cannot be told yet.
    """
    before: Token | None = None
    for token in _tokens(text):
        if before is None and not token.says("INSERT"):
            return None
        if before is not None and before.says("FORMAT") and token.kind == "word":
            data = _data_begin(text, token.stop, complete=complete)
            _check(text[: token.stop])
            return None if data is None else Statement("load", text[: before.start].rstrip(), token.text, data=data)
        before = token
    return None


def _data_begin(text: str, stop: int, *, complete: bool) -> int | None:
    """Behind the format's name: blanks and one line end belong to the statement, all else is data."""
    gap = _DATA_BEGIN.match(text, stop)
    begin = gap.end() if gap else stop
    told = complete or text[stop:begin].endswith("\n") or (begin < len(text) and text[begin] != "\r")
    return begin if told else None


def _check(text: str) -> None:
    if _LONE.search(text):
        raise failure(SYNTAX, "The statement is not UTF-8")


def _single(text: str, kind: Kind) -> Statement:
    """The one statement of a text, its FORMAT clause and closing semicolon taken off."""
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
    at = next((at for at in range(len(tokens) - 2, 0, -1) if _formats(tokens, at)), None) if kind == "read" else None
    if at is None:
        return Statement(kind, sql.rstrip())
    return Statement(kind, sql[: tokens[at].start].rstrip(), tokens[at + 1].text, sql[tokens[at + 1].stop :].strip())


def _formats(tokens: list[Token], at: int) -> bool:
    """A FORMAT clause stands there: the word, a name, and then nothing or SETTINGS."""
    closing = at + 2 == len(tokens) or tokens[at + 2].says("SETTINGS")
    return tokens[at].says("FORMAT") and tokens[at + 1].kind == "word" and closing


def _tokens(text: str) -> Iterator[Token]:
    """The tokens that mean something, with their depth in brackets."""
    depth = 0
    for found in _TOKEN.finditer(text):
        kind = found.lastgroup or "other"
        kind = "text" if kind == "tag" else kind
        if kind == "space":
            continue
        if kind == "close":
            depth -= 1
        yield Token(kind, found[0], found.start(), depth)
        if kind == "open":
            depth += 1
