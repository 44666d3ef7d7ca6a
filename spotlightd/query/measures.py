"""The charts of a dataset with symbols: an amount for each day, and its value where prices are known.

Units and kinds of the columns decide which column is drawn, so that a new dataset gets its symbol page without code.
Several securities may trade under one symbol, and on the day of a merger two of them do. They are told apart by their
CUSIPs: no sum is over the rows of more than one security. A dataset may name another column whose values are told apart
(`apart`), such as the facility that reported a volume. Without either, the rows of a day are summed.
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
    """`amount` is the column that is drawn (None: the number of rows), `price` the value of one unit, in `price.unit`.

    `apart` is the column that tells apart what has one symbol and is never added up: the dataset's own, or the CUSIP.
    """

    amount: Column | None = None
    price: Column | None = None
    name: Column | None = None
    cusip: Column | None = None
    apart: Column | None = None

    @property
    def apart_title(self) -> str:
        """What a reader calls the values of `apart`."""
        return "CUSIP" if self.apart == self.cusip else self.apart.name.replace("_", " ") if self.apart else ""

    @property
    def title(self) -> str:
        return self.amount.name.replace("_", " ") if self.amount else "rows"

    @property
    def unit(self) -> str:
        return self.amount.unit if self.amount else "rows"


def daily_datasets(datasets: Iterable[Dataset]) -> list[Dataset]:
    """The datasets with a chart by day. Trades have none: their days are drawn by the minute, from the bars. What is read
    from other rows has none either.
    """
    return [
        dataset
        for dataset in datasets
        if dataset.symbol and dataset.by_load and not (dataset.is_growing or dataset.reading)
    ]


def searchable_datasets(datasets: Iterable[Dataset]) -> list[Dataset]:
    """The datasets that a symbol is searched in. A dataset that another one is computed from is left out, and so is what is computed
    whenever it is read: its symbols are those of its rows.
    """
    candidates = [
        dataset
        for dataset in datasets
        if dataset.symbol and dataset.by_load and (dataset.is_growing or not dataset.computed_from)
    ]
    origins = {dataset.computed_from for dataset in candidates}
    return [dataset for dataset in candidates if dataset.name not in origins]


def find_measure(dataset: Dataset) -> Measure:
    """The columns to draw, by their units and names."""
    numbers = [column for column in dataset.columns if column.kind in ("integer", "decimal", "float")]
    amounts = [column for column in numbers if column.unit and column.unit not in _MONEY]
    prices = [column for column in numbers if column.unit in _MONEY and column.kind == "decimal"]
    by_name = {column.name: column for column in dataset.columns}
    title = next((by_name[name] for name in _NAMES if name in by_name), None)
    amount = amounts[0] if amounts else None
    whole = amount is not None and amount.kind in ("integer", "decimal")
    cusip = by_name.get("cusip")
    return Measure(amount, prices[0] if prices and whole else None, title, cusip, by_name.get(dataset.apart, cusip))


def _amount(dataset: Dataset, measure: Measure) -> str:
    return _add_up(dataset, f"`{measure.amount.name}`") if measure.amount else "count()"


def _value(dataset: Dataset, measure: Measure) -> str:
    """The sum of amount times price over the rows with a price, in 128 bits, because 64 overflow."""
    if not (measure.amount and measure.price):
        return "CAST(NULL AS Nullable(Float64))"  # an untyped NULL in a tuple is Arrow that nobody can read
    scale = measure.price.type.rpartition(",")[2].strip(" )")
    worth = f"toDecimal128(`{measure.amount.name}`, 0) * toDecimal128(`{measure.price.name}`, {scale})"
    return _add_up(dataset, worth, suffix="OrNull")


def _add_up(dataset: Dataset, number: str, suffix: str = "") -> str:
    """The sum of a number over a group of rows; the largest when rows of one key are among them, because they say the same
    thing twice.
    """
    total = f"sum{suffix}({number})"
    return total if dataset.key_may_repeat else f"if({_repeats(dataset)} > 0, max{suffix}({number}), {total})"


def _repeats(dataset: Dataset) -> str:
    """How many rows of a group have the key of another one of it."""
    if dataset.key_may_repeat:
        return "0"
    unknown = ", ".join(f"`{name}`" for name in unknown_keys(dataset))
    return f"count() - uniqExact({unknown})" if unknown else "count() - 1"


def _unpriced(measure: Measure) -> str:
    return f"countIf(isNull(`{measure.price.name}`))" if measure.price else "0"


def _part(measure: Measure) -> str:
    """What tells apart the rows of one symbol that are not added up; the same for all rows where nothing does."""
    return f"`{measure.apart.name}`" if measure.apart else "''"


def unknown_keys(dataset: Dataset) -> tuple[str, ...]:
    """The key columns of a row that its symbol, its day and what tells it apart do not tell."""
    known = {
        dataset.symbol,
        dataset.apart or "cusip",
        *((dataset.time,) if dataset.column(dataset.time).kind == "date" else ()),
    }
    return tuple(name for name in dataset.key if name not in known)


def daily_history(dataset: Dataset, symbol: str, snapshot: Snapshot) -> Query:
    """By day and security (or facility), what is visible and what was published before, in one reading of the symbol's rows.

    The columns: the superseded load, 0 for what is visible; day, what tells it apart, amount, value, rows without a price, rows, names, how
    many rows repeat the key of another one, and `unknown_keys` of one row. What is visible comes first, by day and within it the largest amount first; then each superseded
    load, the oldest first.
    """
    measure, day = find_measure(dataset), f"toDate(`{dataset.time}`)"
    part, amount = _part(measure), _amount(dataset, measure)
    names = f"groupUniqArray(`{measure.name.name}`)" if measure.name else "['']"
    keys = "".join(f", any(`{name}`)" for name in unknown_keys(dataset))
    published, superseded = (
        f"load_id IN (SELECT {column} FROM loads WHERE dataset = '{dataset.name}' AND seq <= {{seq:UInt64}})"
        for column in ("load_id", "arrayJoin(supersedes)")
    )
    sql = (
        f"SELECT if({superseded}, load_id, 0) AS _superseded, {day}, {part}, {amount}, {_value(dataset, measure)}, "
        f"{_unpriced(measure)}, count(), {names}, {_repeats(dataset)}{keys} "
        f"FROM {table_expression(dataset, snapshot)} WHERE {published} AND `{dataset.symbol}` = {{{dataset.name}_symbol:String}} "
        f"GROUP BY _superseded, {day}, {part} ORDER BY _superseded, {day}, {amount} DESC, {part} "
        f"LIMIT {MOST_DAYS:d} BY _superseded"
    )
    return Query(sql, {"seq": snapshot.seq, f"{dataset.name}_symbol": symbol})


def keys_of_day(dataset: Dataset, symbol: str, day: date, snapshot: Snapshot) -> Query:
    """The keys of one symbol's rows on one day, two at most: enough to tell one row from several."""
    keys = ", ".join(f"`{name}`" for name in dataset.key)
    sql = (
        f"SELECT {keys} FROM {table_expression(dataset, snapshot)} WHERE {visible_condition(dataset)} AND `{dataset.symbol}` = {{symbol:String}} "
        f"AND toDate(`{dataset.time}`) = {{day:Date}} LIMIT 2"
    )
    return Query(sql, {"seq": snapshot.seq, "symbol": symbol, "day": day.isoformat()})


def largest_amounts(dataset: Dataset, load_id: int, limit: int, snapshot: Snapshot, *, by_value: bool = False) -> Query:
    """The symbols with the largest amount, or value, of one security on one day of one load: symbol, amount or value, day,
    name.
    """
    measure, day = find_measure(dataset), f"toDate(`{dataset.time}`)"
    name = f"any(`{measure.name.name}`)" if measure.name else "''"
    ranked = _value(dataset, measure) if by_value else _amount(dataset, measure)
    sql = (
        f"SELECT symbol_, max(ranked_), argMax(day_, ranked_), argMax(name_, ranked_) FROM ("
        f"SELECT `{dataset.symbol}` AS symbol_, {day} AS day_, {ranked} AS ranked_, {name} AS name_ FROM {records.unarchived_rows(dataset, snapshot)} "
        f"WHERE load_id = {load_id:d} AND `{dataset.symbol}` != '' GROUP BY `{dataset.symbol}`, {_part(measure)}, {day}) "
        f"WHERE isNotNull(ranked_) GROUP BY symbol_ ORDER BY max(ranked_) DESC, symbol_ LIMIT {limit:d}"
    )
    return Query(sql)
