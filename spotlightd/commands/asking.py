"""How commands ask: as the explorer does, with its refusals told as errors of settings."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime

from spotlightd.model.cold import Archives
from spotlightd.model.dataset import Dataset
from spotlightd.model.errors import SettingsError
from spotlightd.model.ports import Limits, Warehouse
from spotlightd.model.provenance import Pin
from spotlightd.web import ask
from spotlightd.web.reader import Reader
from spotlightd.web.refusal import RefusalError

PATIENCE_SECONDS = 60.0


def reader(warehouse: Warehouse, archives: Archives) -> Reader:
    """A reader of one command: no limits but the warehouse's own."""
    return Reader(warehouse, Limits(), asyncio.Semaphore(4), PATIENCE_SECONDS, archives)


async def pinned(warehouse: Warehouse, archives: Archives, asked: datetime | None) -> Pin:
    """The publication that this command's queries share."""
    return await reader(warehouse, archives).pin(None, asked)


def moment_of(text: str) -> datetime | None:
    """The time of `--as-of`; None without one. SettingsError with a sentence."""
    try:
        return ask.instant("--as-of", text) if text else None
    except RefusalError as refusal:
        raise SettingsError(f"{refusal.says} {refusal.remedy}") from None


def understood(dataset: Dataset, pairs: Sequence[tuple[str, str]]) -> ask.Ask:
    """Conditions as in an address of the explorer. SettingsError with a sentence."""
    try:
        return ask.read(dataset, pairs)
    except RefusalError as refusal:
        raise SettingsError(f"{refusal.says} {refusal.remedy}") from None


def names(datasets: Sequence[Dataset]) -> str:
    return ", ".join(one.name for one in datasets)
