"""Takes secrets out of texts: those that this process knows, by their value, and others by their form.

By value: a publisher or a store may say our own key back, in an error, in an address or as a header. A secret is found as
it is, URL-encoded, as HTML or JSON, and in base64 at each of its three alignments (`user:password` of Basic
authentication has the secret in the middle). Where a text was cut, the beginning of a secret is enough.

By form: a password in an address, a token in its query, a header of authorization. So it is found when nobody knows it.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

HIDDEN = "(hidden)"
LEAST_LETTERS = 8  # a shorter one would hide ordinary words
LEAST_BEGINNING = 12  # letters of a secret that was cut off
_CUT = ("…", "...", "'", '"')  # what stands where a text was cut
_PLAIN = re.compile(r"[A-Za-z0-9._~-]+")
_RANDOM = re.compile(r"(?=.*[0-9])(?=.*[A-Za-z])[A-Za-z0-9+_=-]{20,}")
_ESCAPES = {"&": ("&amp;",), "<": ("&lt;",), ">": ("&gt;",), '"': ("&#34;", "&quot;", '\\"'), "'": ("&#39;", "&#x27;", "\\'"),
            "\\": ("\\\\",), "+": ("-",), "/": ("_", "\\/"), " ": ("+",)}  # fmt: skip

_NAMES = r"(?:password|passwd|secret|token|credentials?|signature|authorization|(?:api|access|private)[_-]?key)"
_SHORT_NAMES = r"(?:key|sig|auth|jwt|pwd|pass|sid|session|code)"
SECRET_NAME = re.compile(rf"(?i){_NAMES}$")
PARAMETER = re.compile(rf"(?i){_NAMES}$|^{_SHORT_NAMES}$")
_FORMS = (
    re.compile(rf"(?i)({_NAMES}[\"']?\s*[=:]\s*[\"']?)(?:(?:basic|bearer)\s+)?[^\s&\"',;)}}\]]+"),
    re.compile(rf"(?i)([?&]{_SHORT_NAMES}=)[^\s&\"']+"),
    re.compile(r"(://[^\s/:@?#]*:)[^\s@]+(?=@)"),
    re.compile(r"(://)[^\s/:@?#]{16,}(?=@)"),
)

Hide = Callable[[str], str]


@dataclass(frozen=True)
class Secret:
    """A secret that the process knows. Two of the same text are equal; neither shows it."""

    text: str = field(repr=False)

    @cached_property
    def _patterns(self) -> tuple[tuple[str, re.Pattern[str]], ...]:
        """Each form of it as a pattern, and the longest piece that all writings of this form share: it is searched first."""
        return tuple((max(_PLAIN.findall(form) or [""], key=len), _compile(form)) for form in _list_forms(self.text))

    def remove_from(self, text: str) -> str:
        for piece, pattern in self._patterns:
            if piece in text:
                text = pattern.sub(HIDDEN, text)
        return self._remove_beginning(text)

    def _remove_beginning(self, text: str) -> str:
        """Remove the beginning of the secret where the text was cut off."""
        at = text.find(self.text[:LEAST_BEGINNING])
        while at >= 0:
            length = _count_equal(self.text, text[at : at + len(self.text)])
            rest = text[at + length :]
            if length >= LEAST_BEGINNING and (not rest or rest.startswith(_CUT)):
                text = text[:at] + HIDDEN + rest
            at = text.find(self.text[:LEAST_BEGINNING], at + 1)
        return text


def remove_forms(text: str) -> str:
    """The text without what looks like a secret."""
    if "=" in text or ":" in text:  # every form needs one of them: most texts end here
        for pattern in _FORMS:
            text = pattern.sub(rf"\g<1>{HIDDEN}", text)
    return text


def hide_in(value: Any, hide: Hide) -> Any:
    """The value with `hide` done to each text in it, and without the values of fields that are named like a secret."""
    if isinstance(value, str):
        return hide(value)
    if isinstance(value, dict):
        return {name: HIDDEN if SECRET_NAME.search(str(name)) else hide_in(item, hide) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [hide_in(item, hide) for item in value]
    return value if isinstance(value, int | float | None) else hide(str(value))


def looks_random(text: str) -> bool:
    """Whether a text looks like a key that a machine made: one long word of letters and digits."""
    return _RANDOM.fullmatch(text) is not None


def mask_address(text: str) -> str:
    """An address without user, password, the values of its query and random words of its path: each may be a secret."""
    plain = re.sub(r"//\S*@", f"//{HIDDEN}@", text)
    place, mark, query = plain.partition("?")
    place = "/".join(HIDDEN if looks_random(part) else part for part in place.split("/"))
    return place + mark + re.sub(r"(^|&)([^&=#]*=)?[^&#]+", rf"\g<1>\g<2>{HIDDEN}", query)


def find_address_secrets(text: str) -> list[str]:
    """What of an address is a secret by its place, its name or its look: a user's name or a list of symbols is none, and
    would be hidden wherever it stands.
    """
    user = re.search(r"//([^\s?#]*)@", text)
    place, _, query = text[user.end() if user else 0 :].partition("?")
    pairs = [pair.rpartition("=") for pair in query.partition("#")[0].split("&")]
    parts = [user[1].partition(":")[2] or user[1]] if user else []
    parts += filter(looks_random, place.split("/"))
    parts += [value for name, _, value in pairs if PARAMETER.search(name) or looks_random(value)]
    return [part for part in parts if len(part) >= LEAST_LETTERS]


def _list_forms(secret: str) -> list[str]:
    """The secret itself, and what base64 makes of it after 0, 1 or 2 other bytes, less what depends on its neighbours."""
    body, forms = secret.encode(), [secret]
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + body).decode()
        forms.append(encoded[math.ceil(before * 8 / 6) : (before + len(body)) * 8 // 6])
    return forms


def _compile(form: str) -> re.Pattern[str]:
    """A pattern for that text, each letter as it is or escaped."""
    return re.compile("".join(letter if _PLAIN.fullmatch(letter) else _match_letter(letter) for letter in form))


def _match_letter(letter: str) -> str:
    percent = "".join(f"%{byte:02X}" for byte in letter.encode())
    escaped = {json.dumps(letter)[1:-1], letter.encode("unicode_escape").decode(), repr(letter.encode())[2:-1]}
    writings = {letter, percent, percent.lower(), *escaped, *_ESCAPES.get(letter, ())}
    return f"(?:{'|'.join(re.escape(writing) for writing in sorted(writings, key=len, reverse=True))})"


def _count_equal(first: str, second: str) -> int:
    pairs = zip(first, second, strict=False)
    return next((number for number, (letter, other) in enumerate(pairs) if letter != other), len(second))
