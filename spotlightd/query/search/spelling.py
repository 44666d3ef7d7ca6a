"""A search text as patterns that fold both sides: case, accents, separators, and letters that a publisher broke. Pure.

The text of the rows stays as it was published, and no folded copy of it is stored. Instead the pattern says, for each
character of the search, what may be printed for it:

- A symbol matches whatever separators it has: `BRK.B`, `BRK B`, `BRK-B`, `BRK/B` and `brkb` find each other, and so do the
  dashes and dots that word processors set.
- In a name, a character outside of ASCII or a question mark may stand for any letter. So `ENEL AMERICAS` finds
  `ENEL AMÉRICAS`, and also `ENEL AM»RICAS`, as the SEC printed it from 2019 to April 2020 with a byte of no charset. A
  letter of UTF-8 that was read as another charset is up to three such characters.
- Words of a name may be separated by other blanks and signs than those of the search. An apostrophe may be printed or
  typed, straight or curved, or be left out: `macys` finds `MACY'S`, and `macy's` finds `MACYS`.

The patterns are of RE2 and are bound as values. A name has two: `name` for plain text, which begins with the letters of the
search, so that a row that begins otherwise costs next to nothing; and `broken_name`, which is only tried on the few names
that have another character. On 7.5 million rows of fails a search takes 0.4 to 0.75 s of one core; without any fold it
takes 0.2 to 0.5 s, and with one pattern for all names 0.9 s.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

CUSIP_LENGTHS = (8, 9)
_SEPARATORS = frozenset(
    " .,-/_:&()^+*\\\u2212\u00b7\u2022\u00ad"
)  # the last four: minus, middle dot, bullet, soft hyphen
_APOSTROPHES = frozenset("'`\u2018\u2019\u02bc\u00b4")
_BETWEEN_LETTERS = "[ ']?"
_PRINTED_SEPARATOR = r"[ -/:-@\[-`{-~]"  # every sign of ASCII
_BROKEN_LETTER = r"[^ -~]{1,3}|\?"
_FEWEST_PLAIN = 2  # with fewer plain letters in a search, a wildcard for the others would find every name


@dataclass(frozen=True, slots=True)
class Patterns:
    """What a search looks for: `symbol` matches a whole symbol, `name` and `broken_name` the beginning of a name.

    `cusip` is what the search is as a CUSIP, or the first eight characters of one; empty when it cannot be one.
    """

    symbol: str
    name: str
    broken_name: str
    cusip: str


def read_search(text: str) -> Patterns | None:
    """The patterns of a search text; None when it has nothing but separators, which would find everything."""
    plain = _remove_accents(text)
    words = "".join(" " if _is_separator(character) else character for character in plain).split()
    joined = "".join(words)
    if not joined:
        return None
    symbol = f"{_PRINTED_SEPARATOR}*".join(map(re.escape, joined))
    has_plain_letters = sum(_is_plain(character) for character in joined) >= _FEWEST_PLAIN
    letter = _letter_pattern if has_plain_letters else re.escape
    between = f"{_PRINTED_SEPARATOR}+"
    is_cusip = joined.isascii() and joined.isalnum() and len(joined) in CUSIP_LENGTHS
    return Patterns(
        _or_as_typed(f"{_PRINTED_SEPARATOR}*{symbol}{_PRINTED_SEPARATOR}*", text, end="$"),
        _or_as_typed(between.join(_BETWEEN_LETTERS.join(map(re.escape, word)) for word in words), text),
        _or_as_typed(
            f"{_PRINTED_SEPARATOR}*{between.join(_BETWEEN_LETTERS.join(map(letter, word)) for word in words)}", text
        ),
        joined.upper() if is_cusip else "",
    )


def _or_as_typed(pattern: str, text: str, *, end: str = "") -> str:
    """The pattern; with the text itself as another choice if the fold lost it: a sharp s is two letters in the fold."""
    whole = f"(?i)^{pattern}{end}"
    return whole if re.search(whole, text) else f"(?i)^(?:{pattern}|{re.escape(text)}){end}"


def _remove_accents(text: str) -> str:
    """The text in small letters, and without apostrophes and the marks that Unicode can take off a letter."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    left_out = {character for character in decomposed if unicodedata.combining(character)} | _APOSTROPHES
    return "".join(character for character in decomposed if character not in left_out)


def _is_separator(character: str) -> bool:
    return character in _SEPARATORS or unicodedata.category(character) == "Pd"


def _is_plain(character: str) -> bool:
    return character.isascii() and character.isalnum()


def _letter_pattern(character: str) -> str:
    """What a name may have for that character of the search."""
    if _is_plain(character):
        return f"(?:{character}|{_BROKEN_LETTER})"
    return ".{1,3}" if not character.isascii() or character == "?" else re.escape(character)
