"""Values of query parameters as ClickHouse's client sends them without loss. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from spotlightd.model.ports import Value


def bound(params: Mapping[str, Value] | None) -> dict[str, Any]:
    """Parameters as the client sends them without loss: it cuts fractions of a second off a datetime."""
    return {name: _plain(value) for name, value in (params or {}).items()}


def _plain(value: Value) -> Any:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"a time without a zone cannot be asked for: {value}")
        return value.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ")
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value
