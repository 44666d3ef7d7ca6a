"""Commodity swaps under the rules of the CFTC."""

from __future__ import annotations

from spotlightd.sources.dtcc import repository

source = repository.declare("CFTC", "COMMODITIES", "CO", "Commodities", minute=3)
