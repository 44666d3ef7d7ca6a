"""The words, literals, brackets and comments of a statement, as ClickHouse's lexer divides it. Pure.

A statement may hold bytes that are not UTF-8, in a literal or in inline data. Its text keeps them as lone surrogates, and
`encode` returns the same bytes again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""(?P<space>\s+|--[^\n]*|\#[ !][^\n]*|/\*.*?\*/)
      | (?P<text>'(?:[^'\\]++|\\.|'')*+'|"(?:[^"\\]++|\\.|"")*+"|`(?:[^`\\]++|\\.|``)*+`|\u2018[^\u2019]*+\u2019|\u201c[^\u201d]*+\u201d
               |\$(?P<tag>\w*)\$.*?\$(?P=tag)\$)
      | (?P<word>[A-Za-z_][\w$]*+)
      | (?P<number>\d\w*+)
      | (?P<open>[(\[{])
      | (?P<close>[)\]}])
      | (?P<end>;)
      | (?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Token:
    kind: str
    text: str
    start: int
    depth: int

    @property
    def stop(self) -> int:
        return self.start + len(self.text)

    def is_word(self, *words: str) -> bool:
        """Whether the token is one of these words, outside of all brackets."""
        return self.kind == "word" and self.depth == 0 and self.text.upper() in words


def read_tokens(text: str) -> Iterator[Token]:
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


def decode(raw: bytes) -> str:
    """The text of these bytes; a byte that is not UTF-8 becomes a lone surrogate."""
    return raw.decode("utf-8", errors="surrogateescape")


def encode(text: str) -> bytes:
    """The bytes that `decode` read."""
    return text.encode("utf-8", errors="surrogateescape")
