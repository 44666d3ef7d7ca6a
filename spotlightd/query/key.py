"""The address of one row: its key values, joined by commas, in one segment of a path, as in `2021-01-27,36467W109`.

Characters that would end a segment, a value or a file name are written with a tilde (~t tilde, ~c comma, ~s slash, ~d
dot, ~e an empty value), so that no proxy and no suffix can misread them.
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
    return re.sub(r"[~,/.]", lambda match: _MARKS[match[0]], text) or "~e"


def split_key(dataset: Dataset, segment: str) -> tuple[str, ...]:
    """The key values as canonical texts. 404 when no row can have that segment."""
    parts = segment.split(",")
    names = ", ".join(dataset.key)
    if len(parts) != len(dataset.key):
        raise not_found(
            f"{segment!r} is no row of {dataset.name}: its key has {len(dataset.key)} parts",
            f"Give {names}, with commas.",
        )
    try:
        columns = map(dataset.column, dataset.key)
        return tuple(canonical(column, _unescape(part)) for column, part in zip(columns, parts, strict=True))
    except ValueError as error:
        raise not_found(f"{segment!r} is no row of {dataset.name}: {error}", f"Give {names}, with commas.") from None


def _unescape(part: str) -> str:
    return re.sub(r"~.?", lambda match: _unescape_mark(match[0]), part)


def _unescape_mark(mark: str) -> str:
    if mark not in _PLAIN:
        raise ValueError(f"{mark!r} is not an escape")
    return _PLAIN[mark]
