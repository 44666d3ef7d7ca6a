"""How long the kill loops are: short in `make test`, long in `make soak`, which sets SPOTLIGHTD_KILLS."""

from __future__ import annotations

import os


def choose_kills(short: int) -> int:
    """The number of kills of a loop: `short`, or what `make soak` asks for."""
    return int(os.environ.get("SPOTLIGHTD_KILLS", short))
