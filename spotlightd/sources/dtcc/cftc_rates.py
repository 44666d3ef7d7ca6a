"""Interest-rate swaps under the rules of the CFTC: 18,000 to 27,000 messages on a weekday."""

from __future__ import annotations

from spotlightd.sources.dtcc import repository

source = repository.declare("CFTC", "RATES", "IR", "Interest rates", minute=0)
