"""What a search found: one hit for each security, whatever its spellings and datasets. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
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


def make_hits(rows: Iterable[Sequence[Any]], joined: Collection[str] = ()) -> list[Hit]:
    """From the rows of `matches.select_matches`: exact ones first, then those with the most days.

    Spellings become one hit only where `joined` has their datasets: the page of a symbol finds the rows of other spellings in
    these, and in no other one.
    """
    groups = dict[str, list[Hit]]()
    for symbol, is_exact, name, cusips, newest, days, datasets in rows:
        hit = Hit(symbol, bool(is_exact), name, tuple(cusips), newest, days, tuple(datasets))
        groups.setdefault(make_key(symbol) or f"{symbol}/{cusips}", []).append(hit)
    hits = [hit for group in groups.values() for part in _divide(group, joined) for hit in join_spellings(part)]
    return sorted(hits, key=lambda hit: (not hit.is_exact, -hit.days, hit.symbol))


def _divide(group: Sequence[Hit], joined: Collection[str]) -> Iterable[Sequence[Hit]]:
    """The spellings that may be put together, and each other one by itself."""
    known = {hit.symbol for hit in group if set(hit.datasets) <= set(joined)}
    parts = dict[str, list[Hit]]()
    for hit in group:
        parts.setdefault("" if hit.symbol in known else f"symbol {hit.symbol}", []).append(hit)
    return parts.values()


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
