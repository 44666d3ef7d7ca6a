"""Who waits for what just came. While somebody watches, batches of streams are small and soon; else large and cheap."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class Audience:
    """The watchers as of now. A live page is one."""

    size: int = 0

    @contextmanager
    def join(self) -> Iterator[None]:
        """A watcher more while the block runs."""
        self.size += 1
        try:
            yield
        finally:
            self.size -= 1
