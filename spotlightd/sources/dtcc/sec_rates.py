"""Rate derivatives that are security-based, under the rules of the SEC since 2022-02-14: few, and none on many days."""

from __future__ import annotations

from spotlightd.sources.dtcc import repository

source = repository.declare("SEC", "RATES", "IR", "Interest rates", minute=4)
