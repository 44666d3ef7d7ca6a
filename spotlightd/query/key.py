"""The address of one row: its key values, joined by commas, in one segment of a path.

`2021-01-27,36467W109` is what it looks like; characters that would end a segment, a value or a file name are written
with a tilde (~t tilde, ~c comma, ~s slash, ~d dot, ~e an empty value), so that no proxy and no suffix can mistake them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from spotlightd.model.dataset import Dataset
from spotlightd.query.errors import not_found
from spotlightd.query.values import canonical, to_text

_MARKS = {"~": "~t", ",": "~c", "/": "~s", ".": "~d"}
_PLAIN = {mark: plain for plain, mark in _MARKS.items()} | {"~e": ""}


def join_key(values: Sequence[Any]) -> str:
    """The key's segment of an address, before percent-encoding."""
    return ",".join(_escape(to_text(value) or "") for value in values)


def _escape(text: str) -> str:
    if text and _MARKS.keys().isdisjoint(text):
        return text
    return re.sub(r"[~,/.]", lambda found: _MARKS[found[0]], text) or "~e"


def split_key(dataset: Dataset, segment: str) -> tuple[str, ...]:
    """The key values as canonical texts. 404 when the segment names no row that could exist."""
    parts = segment.split(",")
    names = ", ".join(dataset.key)
    if len(parts) != len(dataset.key):
        raise not_found(
            f"{segment!r} is no row of {dataset.name}: its key has {len(dataset.key)} parts",
            f"Give {names}, with commas.",
        )
    try:
        return tuple(canonical(dataset.column(n), _unescape(p)) for n, p in zip(dataset.key, parts, strict=True))
    except ValueError as problem:
        raise not_found(f"{segment!r} is no row of {dataset.name}: {problem}", f"Give {names}, with commas.") from None


def _unescape(part: str) -> str:
    return re.sub(r"~.?", lambda found: _unescape_mark(found[0]), part)


def _unescape_mark(mark: str) -> str:
    if mark not in _PLAIN:
        raise ValueError(f"{mark!r} is no mark of ours")
    return _PLAIN[mark]
