"""A secret that this process knows, found in a text however that text was encoded.

A publisher, a venue or a store may say our own key back: as it is, URL-encoded, in JSON or HTML, in base64 at each of its
three alignments (`user:password` of Basic authentication has the secret in the middle), or several of these around each
other. So a text is decoded as often as it can be, and each reading is searched. That is cheap, because most texts have
nothing to decode. Only where a reading has the secret, a slow pattern looks for its writing in the text itself. If the
pattern finds none, the text is hidden whole.

The beginning of a secret is enough, because a text may have been cut off.
"""

from __future__ import annotations

import base64
import html
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from html.entities import codepoint2name
from urllib.parse import unquote

HIDDEN = "(hidden)"
LEAST_LETTERS = 8  # a shorter one would hide ordinary words
HEAD_LETTERS = 12  # so many letters from the beginning of a secret are enough
DECODED_TIMES = 3  # an address in JSON in an HTML page
_CUT = ("…", "...", "'", '"', "]", ")", " (")  # what stands behind a text that was cut
_WORDS = re.compile(r"[a-z_. -]*")  # the beginning of a secret that may also be that of a name
_BACKSLASHED = re.compile(r"\\+(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)
_CONTROL = {"n": "\n", "r": "\r", "t": "\t"}
_OTHER_WRITINGS = {" ": (r"\+",), "+": ("-",), "/": ("_",), "\n": (r"\\+n", " "), "\t": (r"\\+t",), "\r": (r"\\+r",)}
_WRAPPED = r"(?:\s|\\+[rn]|%0[AaDd])*"


@dataclass(frozen=True)
class Secret:
    """A secret that the process knows. Two of the same text are equal; neither shows it."""

    text: str = field(repr=False)

    def is_in(self, readings: Iterable[str]) -> bool:
        """Whether one of these readings of a text has it, or its beginning."""
        return any(needle in reading for reading in readings for needle in self._needles)

    def is_certainly_in(self, readings: Iterable[str]) -> bool:
        """Whether one has the whole of it, or a beginning that no name has by chance."""
        is_word = _WORDS.fullmatch(self.text[:HEAD_LETTERS]) is not None
        return any(self.text in reading for reading in readings) if is_word else self.is_in(readings)

    def remove_from(self, text: str) -> str:
        """The text without each writing of it."""
        for form in self._forms:
            text = form.remove_from(text)
        return text

    @cached_property
    def _forms(self) -> tuple[_Form, ...]:
        plain = dict.fromkeys((self.text, self.text.encode().decode("latin-1")))
        return (*(_Form(text) for text in plain), *(_Form(text, is_base64=True) for text in _to_base64(self.text)))

    @cached_property
    def _needles(self) -> tuple[str, ...]:
        """The beginnings to search for: all that decoding a text leaves of its writings."""
        heads = [text[:HEAD_LETTERS] for text in (*(form.text for form in self._forms), *list_readings(self.text))]
        found = dict.fromkeys(heads)
        for old, new in ((" ", "+"), ("\n", "\r\n"), ("\n", " "), ("+", "-"), ("/", "_"), ("+", " ")):
            found |= dict.fromkeys(head.replace(old, new) for head in tuple(found))
        return tuple(found)


@dataclass(frozen=True)
class _Form:
    """One text that stands for the secret: itself, or what base64 makes of it."""

    text: str = field(repr=False)
    is_base64: bool = False

    def remove_from(self, text: str) -> str:
        kept, position = list[str](), 0
        for match in self._head.finditer(text):
            end = self._find_end(text, match.end())
            if match.start() >= position and self._counts(text, match.start(), end):
                kept += [text[position : match.start()], HIDDEN]
                position = end
        return "".join([*kept, text[position:]])

    @cached_property
    def _letters(self) -> tuple[str, ...]:
        separator = _WRAPPED if self.is_base64 else ""
        patterns = {letter: _match_letter(letter) for letter in set(self.text)}
        return tuple((separator if number else "") + patterns[letter] for number, letter in enumerate(self.text))

    @cached_property
    def _head(self) -> re.Pattern[str]:
        return re.compile("".join(self._letters[:HEAD_LETTERS]))

    @cached_property
    def _rest(self) -> tuple[re.Pattern[str], ...]:
        return tuple(re.compile(letter) for letter in self._letters[HEAD_LETTERS:])

    def _find_end(self, text: str, position: int) -> int:
        """How far the text goes on as the secret does."""
        for letter in self._rest:
            match = letter.match(text, position)
            if match is None:
                break
            position = match.end()
        return position

    def _counts(self, text: str, start: int, end: int) -> bool:
        """Whether what was found is the secret. A beginning of plain words is, where the text was cut: a name may have it."""
        found = text[start:end]
        is_whole = len(found) >= len(self.text)
        return is_whole or not _WORDS.fullmatch(found) or not text[end:] or text.startswith(_CUT, end)


def remove_secrets(text: str, secrets: Iterable[Secret]) -> str:
    """The text without these secrets. `(hidden)` for all of it when a secret is in a writing that cannot be cut out."""
    readings = list_readings(text)
    for secret in secrets:
        if secret.is_in(readings):
            text = secret.remove_from(text)
            if secret.is_certainly_in(list_readings(text)):
                return HIDDEN
    return text


def list_readings(text: str) -> list[str]:
    """The text, and what it says when it is decoded once, twice and three times; without line breaks too, if it has some."""
    readings = [text]
    for _ in range(DECODED_TIMES):
        decoded = dict.fromkeys(_decode(readings[-1]))
        new = [reading for reading in decoded if reading not in readings]
        if not new:
            break
        readings += new
    return readings + [reading.replace("\r", "").replace("\n", "") for reading in readings if "\n" in reading]


def _decode(text: str) -> Iterator[str]:
    """The text decoded once in every way at once; as Latin-1 too, where its bytes are no UTF-8."""
    if "\\" in text:
        text = _BACKSLASHED.sub(_read_backslashed, text).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if "&" in text:
        text = html.unescape(text)
    if "%" not in text:
        yield text
        return
    decoded = unquote(text)
    if "\N{REPLACEMENT CHARACTER}" in decoded:
        yield unquote(text, encoding="latin-1")
    yield decoded


def _read_backslashed(match: re.Match[str]) -> str:
    number = match[1] or match[2] or match[3]
    if number is None:
        return _CONTROL.get(match[4], match[4])
    return chr(int(number, 16)) if int(number, 16) <= 0x10FFFF else match[0]  # noqa: PLR2004  the highest of Unicode


def _to_base64(secret: str) -> Iterator[str]:
    """What base64 makes of it behind 0, 1 or 2 other bytes, less what depends on its neighbours; as UTF-8 and Latin-1."""
    bodies = dict.fromkeys(secret.encode(encoding, "ignore") for encoding in ("utf-8", "latin-1"))
    for body in bodies:
        for before in range(3):
            encoded = base64.b64encode(bytes(before) + body).decode()
            form = encoded[math.ceil(before * 8 / 6) : (before + len(body)) * 8 // 6]
            if len(form) >= LEAST_LETTERS:
                yield form


def _match_letter(letter: str) -> str:
    """A pattern for the letter in every writing: escaped by backslashes, percent signs or HTML, also several times."""
    code, units = ord(letter), letter.encode("utf-16-be", "surrogatepass")
    percent, ampersand = "%(?:25)*", "&(?:amp;|#38;|#x26;)*"
    writings = [
        "".join(rf"\\+u{units[at : at + 2].hex()}" for at in range(0, len(units), 2)),
        rf"\\+U{code:08x}",
        rf"{ampersand}#0*{code};?",
        rf"{ampersand}#x0*{code:x};?",
        *(rf"{ampersand}{name};" for name in (codepoint2name.get(code), "apos" if letter == "'" else None) if name),
    ]
    for body in filter(None, (letter.encode(encoding, "ignore") for encoding in ("utf-8", "latin-1"))):
        writings += ["".join(f"{percent}{byte:02x}" for byte in body), "".join(rf"\\+x{byte:02x}" for byte in body)]
    writings += _OTHER_WRITINGS.get(letter, ())
    before = r"(?:\r|\\+r|(?i:%(?:25)*0d)|&#(?:13|x[dD]);)?" if letter == "\n" else ""
    return rf"{before}\\*(?:(?i:{'|'.join(writings)})|{re.escape(letter)})"  # a percent sign itself begins its other writings
