"""How the value of a setting is shown, in an error and by `check`: never so that a secret could be read.

Somebody may write a secret where its file, a list or a kind was expected. So a text is shown only if it is near a word
that was expected or too short to be a secret, a file only if its folder exists, and an address without what may be secret.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from spotlightd.redact import find_address_secrets, has_odd_signs, looks_random, mask_address
from spotlightd.secret import HIDDEN, LEAST_LETTERS
from spotlightd.settings.settings import Settings

NEAR = 0.6  # difflib's own measure of a typing error
FILE_SUFFIX = "_file"
FILE_SECTIONS = ("key_files", "password_files")


def describe_text(text: str, expected: Collection[str] = ()) -> str:
    """A text that is not what was expected, for an error."""
    is_harmless = len(text) < LEAST_LETTERS or is_near(text, expected)
    return repr(text) if is_harmless else f"(a text of {len(text)} characters, not shown: it may be a secret)"


def is_near(text: str, expected: Collection[str]) -> bool:
    """Whether the text is one of these with a typing error."""
    return bool(difflib.get_close_matches(text, expected, n=1, cutoff=NEAR))


def describe_names(names: Collection[str], expected: Collection[str]) -> str:
    """Names that are not among those that were expected, for an error."""
    return ", ".join(describe_text(name, expected) for name in sorted(names))


def describe_value(value: Any) -> str:
    """A value of a wrong type, for an error."""
    if isinstance(value, str):
        return describe_text(value)
    if isinstance(value, list | dict):
        return f"a {'list' if isinstance(value, list) else 'table'} of {len(value)}"
    return repr(value)


def describe_path(text: str) -> str:
    """A path, if it looks like one that was meant as one: its folder exists."""
    path = Path(text)
    is_meant = len(path.parts) > 1 + path.is_absolute() and os.path.isdir(path.parent)  # noqa: PTH112  never raises
    return text if is_meant or os.path.isfile(path) else describe_text(text)  # noqa: PTH113


def show_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings for `check`, as dataclasses' `asdict` gives them."""
    return {show_text(name): _show(name, value) for name, value in values.items()}


def find_secrets(settings: Settings) -> list[str]:
    """What may be secret in the addresses of the settings."""
    return [secret for text in _list_texts(asdict(settings)) if "://" in text for secret in find_address_secrets(text)]


def _list_texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _list_texts(item)


def _show(name: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        is_file = name in FILE_SECTIONS
        return {show_text(key): _show(f"{key}{FILE_SUFFIX}" if is_file else key, item) for key, item in value.items()}
    if isinstance(value, list):
        return [_show(name, item) for item in value]
    if not isinstance(value, str):
        return value
    return _show_file(value) if name.endswith(FILE_SUFFIX) and value else show_text(value)


def _show_file(text: str) -> str:
    return text if describe_path(text) == text else HIDDEN


def show_text(text: str) -> str:
    """A text that may be right, without what looks like a secret."""
    if "://" in text:
        return mask_address(text)
    return HIDDEN if looks_random(text) or has_odd_signs(text) else text
