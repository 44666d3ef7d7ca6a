"""How one setting is declared: its default and its description."""

from __future__ import annotations

from dataclasses import field
from typing import Any


def setting(default: Any, description: str) -> Any:
    """A field of a settings section: its default, and one phrase for the operator, which docs/settings.md shows."""
    metadata = {"description": description}
    if isinstance(default, list | dict):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)
