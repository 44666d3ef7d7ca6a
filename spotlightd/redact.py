"""Takes what looks like a secret out of texts: a password in an address, a token in its query, a header of authorization.

So it is found when nobody knows it. Secrets that this process knows are found by their value: spotlightd/secret.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from spotlightd.secret import HIDDEN, LEAST_LETTERS

_RANDOM = re.compile(
    r"(?=.*[0-9])(?=.*[A-Za-z])[A-Za-z0-9+_=-]{20,}|(?=.*[0-9])(?=.*[A-Z])(?=.*[a-z])[A-Za-z0-9+_=-]{12,}"
)
_ODD = re.compile(r"[^\w\s.:,/@*+()\[\]=%-]")  # no name, address, schedule or symbol has these; many passwords do

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
    """Whether a text looks like a key that a machine made: one long word of letters and digits, shorter if of both cases."""
    return _RANDOM.fullmatch(text) is not None


def has_odd_signs(text: str) -> bool:
    """Whether a text of 8 letters or more has signs that a password has and no name."""
    return len(text) >= LEAST_LETTERS and _ODD.search(text) is not None


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
