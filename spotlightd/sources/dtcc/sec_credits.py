"""Credit derivatives on single names and narrow indexes under the rules of the SEC since 2022-02-14: about 2,400 messages a day."""

from __future__ import annotations

from spotlightd.sources.dtcc import repository

source = repository.declare("SEC", "CREDITS", "CR", "Single-name credit", minute=3)
