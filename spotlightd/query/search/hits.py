"""What a search found: one hit for each security, whatever its spellings and datasets. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from spotlightd.query.search.identity import is_one_security, make_key


@dataclass(frozen=True, slots=True)
class Hit:
    """A security that matches. `is_exact`: the text is the symbol, in some spelling, or the CUSIP. `spellings` are other
    symbols of the same security; `days` those of all datasets together.
    """

    symbol: str
    is_exact: bool
    name: str
    cusips: tuple[str, ...]
    newest: date
    days: int
    datasets: tuple[str, ...]
    spellings: tuple[str, ...] = ()


def make_hits(rows: Iterable[Sequence[Any]]) -> list[Hit]:
    """From the rows of `matches.select_matches`: exact ones first, then those with the most days."""
    groups = dict[str, list[Hit]]()
    for symbol, is_exact, name, cusips, newest, days, datasets in rows:
        hit = Hit(symbol, bool(is_exact), name, tuple(cusips), newest, days, tuple(datasets))
        groups.setdefault(make_key(symbol) or f"{symbol}/{cusips}", []).append(hit)
    hits = [hit for group in groups.values() for hit in join_spellings(group)]
    return sorted(hits, key=lambda hit: (not hit.is_exact, -hit.days, hit.symbol))


def join_spellings(group: Sequence[Hit]) -> Sequence[Hit]:
    """One hit for spellings with the same letters and digits, unless their CUSIPs say that they are different securities."""
    pairs = [(hit.symbol, cusip) for hit in group for cusip in hit.cusips]
    if len(group) == 1 or not is_one_security(pairs):
        return group
    main = max(group, key=lambda hit: (bool(hit.cusips), hit.days, hit.symbol))
    newest = max(group, key=lambda hit: (bool(hit.name), hit.newest))
    symbols = dict.fromkeys(hit.symbol for hit in group if hit.symbol != main.symbol)
    return [
        Hit(
            main.symbol, any(hit.is_exact for hit in group), main.name or newest.name, main.cusips,
            max(hit.newest for hit in group), sum(hit.days for hit in group),
            tuple(dict.fromkeys(name for hit in group for name in hit.datasets)), tuple(sorted(symbols)),
        )
    ]  # fmt: skip
