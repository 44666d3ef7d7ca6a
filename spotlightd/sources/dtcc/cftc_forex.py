"""Forwards and options of foreign exchange under the rules of the CFTC. The days of a weekend have a few hundred messages."""

from __future__ import annotations

from spotlightd.sources.dtcc import repository

source = repository.declare("CFTC", "FOREX", "FX", "Foreign exchange", minute=2)
