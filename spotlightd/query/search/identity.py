"""What is known of a symbol's security from `securities`: other spellings, its CUSIPs, other symbols of these.

Two spellings are taken for one security only when nothing speaks against it: they have the same letters and digits, and no
two of them have different CUSIPs. So `BRK/B` of a list without CUSIPs is `BRKB` of the fails, but if `BRKB` and `BR.KB` had two
CUSIPs, none of the spellings would be put together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from spotlightd.datasets.securities import securities
from spotlightd.query.reader import Reader
from spotlightd.query.select import Query
from spotlightd.sql.visibility import Snapshot, published_condition

MOST_ROWS = 200


@dataclass(frozen=True, slots=True)
class Sighting:
    """A symbol and a CUSIP that were printed together (`cusip` is empty where none was), and by which datasets."""

    symbol: str
    key: str
    cusip: str
    name: str
    first_day: date
    last_day: date
    days: int
    datasets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Identity:
    """What is known of `symbol`.

    `spellings` are those of the same security, itself included, each with the datasets that have it. `holders` are the CUSIPs
    that had the symbol, in the order of their first day. `other_symbols` had one of these CUSIPs. `lookalikes` have the same
    letters and digits, but cannot be told to be the same security.
    """

    symbol: str
    spellings: tuple[Sighting, ...]
    holders: tuple[Sighting, ...]
    other_symbols: tuple[Sighting, ...]
    lookalikes: tuple[Sighting, ...]

    def symbol_in(self, dataset: str) -> str:
        """The symbol that the dataset has for the security: this one, or else the spelling that it has on most days."""
        found = [sighting for sighting in self.spellings if dataset in sighting.datasets]
        if not found or any(sighting.symbol == self.symbol for sighting in found):
            return self.symbol
        return max(found, key=lambda sighting: (sighting.last_day, sighting.days, sighting.symbol)).symbol

    @property
    def other_spellings(self) -> tuple[Sighting, ...]:
        return tuple(sighting for sighting in self.spellings if sighting.symbol != self.symbol)

    @property
    def has_shared_days(self) -> bool:
        """Whether two CUSIPs had the symbol at the same time."""
        return any(
            earlier.last_day >= later.first_day for earlier, later in zip(self.holders, self.holders[1:], strict=False)
        )


def make_key(symbol: str) -> str:
    """The symbol's letters and digits in capitals, as `securities` computes it."""
    return "".join(character for character in symbol if character.isascii() and character.isalnum()).upper()


async def find_identity(reader: Reader, symbol: str, snapshot: Snapshot) -> Identity:
    """What is known of the symbol by then; nothing where `securities` has no publication."""
    if securities.name not in snapshot.published:
        return Identity(symbol, (), (), (), ())
    return make_identity(symbol, (await reader.rows(known_securities(symbol, snapshot))).rows)


def known_securities(symbol: str, snapshot: Snapshot) -> Query:
    """All spellings of the symbol, and all symbols of the CUSIPs that it had."""
    visible = published_condition(securities)
    sql = (
        "SELECT part.symbol, part.symbol_key, part.cusip, argMaxIf(part.name, part.last_seen, part.name != ''), "
        "min(part.first_seen), max(part.last_seen), sum(part.days), arraySort(groupUniqArrayArray(part.datasets)) "
        f"FROM securities AS part WHERE {visible} AND (part.symbol_key = {{key:String}} AND part.symbol != '' "
        "OR part.cusip != '' AND part.cusip IN ("
        f"SELECT cusip FROM securities WHERE {visible} AND symbol_key = {{key:String}} AND symbol = {{symbol:String}})) "
        f"GROUP BY part.symbol, part.symbol_key, part.cusip ORDER BY 5, 1, 3 LIMIT {MOST_ROWS:d}"
    )
    return Query(sql, {"key": make_key(symbol), "symbol": symbol, "seq": snapshot.seq})


def make_identity(symbol: str, rows: Iterable[Sequence[Any]]) -> Identity:
    """From the rows of `known_securities`."""
    sightings = [
        Sighting(name, key, cusip, title, first, last, days, tuple(datasets))
        for name, key, cusip, title, first, last, days, datasets in rows
    ]
    key = make_key(symbol)
    spelled = tuple(sighting for sighting in sightings if sighting.key == key)
    exact = tuple(sighting for sighting in spelled if sighting.symbol == symbol)
    is_one = is_one_security((sighting.symbol, sighting.cusip) for sighting in spelled)
    holders = tuple(sighting for sighting in (spelled if is_one else exact) if sighting.cusip)
    cusips = {sighting.cusip for sighting in holders}
    return Identity(
        symbol,
        spelled if is_one else exact,
        _join_same(holders),
        tuple(sighting for sighting in sightings if sighting.key != key and sighting.cusip in cusips),
        () if is_one else tuple(sighting for sighting in spelled if sighting.symbol != symbol),
    )


def is_one_security(spelled: Iterable[tuple[str, str]]) -> bool:
    """Whether nothing speaks against it that these spellings, each with a CUSIP or none, are one security."""
    cusips = dict[str, set[str]]()
    for symbol, cusip in spelled:
        if cusip:
            cusips.setdefault(symbol, set()).add(cusip)
    return not cusips or bool(set.intersection(*cusips.values()))


def _join_same(holders: Sequence[Sighting]) -> tuple[Sighting, ...]:
    """One entry for each CUSIP, by its first day: several spellings may have had it."""
    joined = dict[str, Sighting]()
    for holder in sorted(holders, key=lambda sighting: sighting.last_day):
        earlier = joined.get(holder.cusip, holder)
        joined[holder.cusip] = Sighting(
            holder.symbol, holder.key, holder.cusip, holder.name or earlier.name, min(earlier.first_day, holder.first_day),
            holder.last_day, holder.days, holder.datasets,
        )  # fmt: skip
    return tuple(sorted(joined.values(), key=lambda sighting: (sighting.first_day, sighting.last_day)))
