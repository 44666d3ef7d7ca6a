"""Equity swaps on broad indexes and baskets under the rules of the CFTC."""

from __future__ import annotations

from spotlightd.sources.dtcc import repository

source = repository.declare("CFTC", "EQUITIES", "EQ", "Equities", minute=1)
