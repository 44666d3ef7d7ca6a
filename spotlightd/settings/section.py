"""How one setting is declared: its default and its description."""

from __future__ import annotations

from dataclasses import field
from typing import Any


def setting(default: Any, says: str) -> Any:
    """A settings field: its default, and one sentence for the operator (printed by `check` and docs/settings.md)."""
    if isinstance(default, list | dict):
        return field(default_factory=default.copy, metadata={"says": says})
    return field(default=default, metadata={"says": says})
