"""The port for the progress of long work: the terminal draws it, the ledger keeps it, a test collects it."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""(step, done, total): what is being done, how much of it is done, and how much there is; a total of 0 is not known."""
