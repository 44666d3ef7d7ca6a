"""Equity swaps on single names and narrow baskets under the rules of the SEC since 2022-02-14.

A basket prints its identifiers as one list: ten ISINs of 2024, one of them GameStop's. Negative notionals occur: -20000000.
"""

from __future__ import annotations

from spotlightd.sources.dtcc import repository

source = repository.declare("SEC", "EQUITIES", "EQ", "Equities", minute=4)
