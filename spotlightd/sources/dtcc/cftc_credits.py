"""Credit derivatives on indexes and baskets under the rules of the CFTC: 1,361 messages on 2026-07-15."""

from __future__ import annotations

from spotlightd.sources.dtcc import repository

source = repository.declare("CFTC", "CREDITS", "CR", "Credit", minute=1)
