"""What can be drawn of a dataset that knows symbols: an amount for each day, and its worth where prices are known.

Which column is which is told by units and kinds, so that a new dataset gets its symbol page without a line here. All
sums are over the rows of one day: several securities may have traded under one symbol.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from spotlightd.model.dataset import Column, Dataset
from spotlightd.query import records
from spotlightd.query.select import Query
from spotlightd.sql.visibility import Snapshot, table_expression, visible_condition

MOST_DAYS = 20_000
_NAMES = ("description", "name", "company", "security_name", "issuer")
_MONEY = ("USD", "EUR", "GBP")


@dataclass(frozen=True, slots=True)
class Measure:
    """`amount`: what is drawn (None: the number of rows). `price`: worth of one unit, in `price.unit`."""

    amount: Column | None = None
    price: Column | None = None
    name: Column | None = None
    cusip: Column | None = None

    @property
    def title(self) -> str:
        return self.amount.name.replace("_", " ") if self.amount else "rows"

    @property
    def unit(self) -> str:
        return self.amount.unit if self.amount else "rows"


def daily_datasets(datasets: Iterable[Dataset]) -> list[Dataset]:
    """Those that have a chart by day. Trades have not: their days are drawn by the minute, from the bars."""
    return [one for one in datasets if one.symbol and one.by_load and not one.is_growing]


def searchable_datasets(datasets: Iterable[Dataset]) -> list[Dataset]:
    """Those in which a symbol is looked for: each once, so not in what another one is made of."""
    able = [one for one in datasets if one.symbol and one.by_load]
    return [one for one in able if one.name not in {other.computed_from for other in able}]


def find_measure(dataset: Dataset) -> Measure:
    numbers = [column for column in dataset.columns if column.kind in ("integer", "decimal", "float")]
    amounts = [column for column in numbers if column.unit and column.unit not in _MONEY]
    prices = [column for column in numbers if column.unit in _MONEY and column.kind == "decimal"]
    named = {column.name: column for column in dataset.columns}
    name = next((named[one] for one in _NAMES if one in named), None)
    amount = amounts[0] if amounts else None
    whole = amount is not None and amount.kind in ("integer", "decimal")
    return Measure(amount, prices[0] if prices and whole else None, name, named.get("cusip"))


def _amount(measure: Measure) -> str:
    return f"sum(`{measure.amount.name}`)" if measure.amount else "count()"


def _worth(measure: Measure) -> str:
    """The sum of amount times price over the rows that have a price; 128 bits, since 64 overflow."""
    if not (measure.amount and measure.price):
        return "NULL"
    scale = measure.price.type.rpartition(",")[2].strip(" )")
    return f"sumOrNull(toDecimal128(`{measure.amount.name}`, 0) * toDecimal128(`{measure.price.name}`, {scale}))"


def _unpriced(measure: Measure) -> str:
    return f"countIf(isNull(`{measure.price.name}`))" if measure.price else "0"


def daily_series(dataset: Dataset, symbol: str, pin: Snapshot) -> Query:
    """By day: amount, worth, rows without a price, rows, and the key of one row."""
    measure, day = find_measure(dataset), f"toDate(`{dataset.time}`)"
    keys = ", ".join(f"any(`{name}`)" for name in dataset.key)
    sql = (
        f"SELECT {day}, {_amount(measure)}, {_worth(measure)}, {_unpriced(measure)}, count(), {keys} "
        f"FROM {table_expression(dataset, pin)} WHERE {visible_condition(dataset)} AND `{dataset.symbol}` = {{symbol:String}} "
        f"GROUP BY {day} ORDER BY {day} LIMIT {MOST_DAYS:d}"
    )
    return Query(sql, {"seq": pin.seq, "symbol": symbol})


def keys_of_day(dataset: Dataset, symbol: str, day: date, pin: Snapshot) -> Query:
    """The keys of one symbol's rows on one day: two at most, since one and several is all that is asked."""
    keys = ", ".join(f"`{name}`" for name in dataset.key)
    sql = (
        f"SELECT {keys} FROM {table_expression(dataset, pin)} WHERE {visible_condition(dataset)} AND `{dataset.symbol}` = {{symbol:String}} "
        f"AND toDate(`{dataset.time}`) = {{day:Date}} LIMIT 2"
    )
    return Query(sql, {"seq": pin.seq, "symbol": symbol, "day": day.isoformat()})


def symbol_titles(dataset: Dataset, symbol: str, pin: Snapshot) -> Query:
    """Names and CUSIPs that stood with the symbol, the newest first, with their last day."""
    measure = find_measure(dataset)
    parts = [f"`{column.name}`" if column else "''" for column in (measure.name, measure.cusip)]
    sql = (
        f"SELECT {', '.join(parts)}, max(toDate(`{dataset.time}`)), count() FROM {table_expression(dataset, pin)} "
        f"WHERE {visible_condition(dataset)} AND `{dataset.symbol}` = {{symbol:String}} GROUP BY {', '.join(parts)} "
        f"ORDER BY max(toDate(`{dataset.time}`)) DESC, count() DESC LIMIT 8"
    )
    return Query(sql, {"seq": pin.seq, "symbol": symbol})


def superseded_amounts(dataset: Dataset, symbol: str, pin: Snapshot) -> Query:
    """By superseded load and day: the amount that was published before."""
    day = f"toDate(`{dataset.time}`)"
    gone = "SELECT arrayJoin(supersedes) FROM loads WHERE dataset = {dataset:String} AND seq <= {seq:UInt64}"
    sql = (
        f"SELECT {day}, {_amount(find_measure(dataset))} FROM {table_expression(dataset, pin)} "
        f"WHERE load_id IN ({gone}) AND `{dataset.symbol}` = {{symbol:String}} GROUP BY load_id, {day} ORDER BY load_id"
    )
    return Query(sql, {"seq": pin.seq, "symbol": symbol, "dataset": dataset.name})


def largest_amounts(dataset: Dataset, load_id: int, limit: int, pin: Snapshot, *, by_worth: bool = False) -> Query:
    """The symbols with the largest amount, or worth, on one day, out of one load: symbol, amount or worth, day, name."""
    measure, day = find_measure(dataset), f"toDate(`{dataset.time}`)"
    name = f"any(`{measure.name.name}`)" if measure.name else "''"
    ranked = _worth(measure) if by_worth else _amount(measure)
    sql = (
        f"SELECT symbol_, max(ranked_), argMax(day_, ranked_), argMax(name_, ranked_) FROM ("
        f"SELECT `{dataset.symbol}` AS symbol_, {day} AS day_, {ranked} AS ranked_, {name} AS name_ FROM {records.unarchived_rows(dataset, pin)} "
        f"WHERE load_id = {{load:UInt64}} AND `{dataset.symbol}` != '' GROUP BY `{dataset.symbol}`, {day}) "
        f"WHERE isNotNull(ranked_) GROUP BY symbol_ ORDER BY max(ranked_) DESC, symbol_ LIMIT {limit:d}"
    )
    return Query(sql, {"load": load_id})


def matching_symbols(dataset: Dataset, text: str, pin: Snapshot, limit: int) -> Query:
    """Symbols that a reader may mean: the symbol itself, a CUSIP of 8 or 9 characters, the beginning of a name."""
    measure = find_measure(dataset)
    tests = [f"`{dataset.symbol}` = {{upper:String}}"]
    if measure.cusip and len(text) in (8, 9):
        tests.append(f"startsWith(`{measure.cusip.name}`, {{upper:String}})")
    if measure.name:
        tests.append(f"startsWith(upper(`{measure.name.name}`), {{upper:String}})")
    exact = tests[:-1] if measure.name else tests
    name = f"argMax(`{measure.name.name}`, `{dataset.time}`)" if measure.name else "''"
    cusip = f"argMax(`{measure.cusip.name}`, `{dataset.time}`)" if measure.cusip else "''"
    day = f"toDate(`{dataset.time}`)"
    sql = (
        f"SELECT `{dataset.symbol}`, max({' OR '.join(exact)}), {name}, {cusip}, max({day}), uniqExact({day}) "
        f"FROM {table_expression(dataset, pin)} WHERE {visible_condition(dataset)} AND ({' OR '.join(tests)}) AND `{dataset.symbol}` != '' "
        f"GROUP BY `{dataset.symbol}` ORDER BY 2 DESC, 6 DESC, 1 LIMIT {limit:d}"
    )
    return Query(sql, {"upper": text.upper(), "seq": pin.seq})
