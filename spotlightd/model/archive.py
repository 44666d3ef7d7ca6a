"""What the archive is made of: fingerprints by which two copies of the same rows are known to be equal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from spotlightd.model.dataset import Column


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Of some rows, whatever their order. `total` is the sum of the rows' hashes modulo 2^64, `mixed` their exclusive or;
    `low` and `high` are the least and greatest of the time column, in its own ticks since 1970 (days of a Date, units of
    a DateTime64). All zero when there is no row.
    """

    rows: int = 0
    total: int = 0
    mixed: int = 0
    low: int = 0
    high: int = 0

    def __add__(self, other: Fingerprint) -> Fingerprint:
        """Of the rows of both."""
        if not self.rows or not other.rows:
            return self if self.rows else other
        return Fingerprint(
            self.rows + other.rows, (self.total + other.total) % 2**64, self.mixed ^ other.mixed,
            min(self.low, other.low), max(self.high, other.high),
        )  # fmt: skip


class Verifier(Protocol):
    """Reads Parquet files by other code than wrote them, apart from the daemon, with limits of memory and time."""

    async def fingerprint(self, path: Path, columns: Sequence[Column], time: str) -> Fingerprint:
        """Of a local file, which must hold exactly these columns. StoreError when it is not such a file, or beyond the
        limits.
        """
