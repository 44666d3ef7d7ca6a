"""The dataset `ois_curve`: the par rates of overnight index swaps that were traded on a day, by currency, index and tenor.

A point is the median of the prints of one day (UTC, of execution), currency, floating index and tenor, under the rules of
one regulator. Nothing is interpolated: a tenor that was not traded has no point. Which trades are prints:

- overnight index swaps by their product name (FISN `NA/Swap OIS …`), new trades (event TRAD: no novations, exercises or
  clearings), not withdrawn since. One print a trade: corrections replace it, they do not add to it.
- par rates: one fixed rate, no spread, no other payment, no terms that the message does not show, not part of a package,
  and no rule broken by the rate. A spread that is printed as 0 is none.
- spot start: effective at most 5 days after the trade, because the rate of a forward swap is another one.
- a standard tenor: the days from effective to expiration are those of a tenor, give or take 4 days or 2 %.

A change that was agreed later does not change what was traded that day: where the last message of a trade is a modification
or an end, its first rate counts, otherwise the rate in force, which corrections changed.

The floating index is found by a word in the printed name, because one index has several spellings: `USD-SOFR-COMPOUND` and
`USD-SOFR-OIS Compound` are SOFR. A name without any of the words stays as it is printed.
"""

from __future__ import annotations

from spotlightd.datasets.swap_trades import swap_trades
from spotlightd.datasets.swaps import NAME
from spotlightd.model.dataset import Column, Dataset, Rhythm
from spotlightd.model.derivation import Derivation, RowsOf

TENORS = {
    "1W": 7, "2W": 14, "1M": 30, "2M": 61, "3M": 91, "4M": 122, "6M": 182, "9M": 273, "1Y": 365, "18M": 548, "2Y": 730,
    "3Y": 1095, "4Y": 1461, "5Y": 1826, "6Y": 2191, "7Y": 2556, "8Y": 2922, "9Y": 3287, "10Y": 3652, "12Y": 4383,
    "15Y": 5478, "20Y": 7305, "25Y": 9131, "30Y": 10957,
}  # fmt: skip
SPOT_DAYS = 5
INDEXES = (
    "SOFR", "FEDERAL FUNDS", "EUROSTR", "SONIA", "TONA", "SARON", "CORRA", "SORA", "MIBOR", "TIIE", "IBR", "ZARONIA", "AONIA",
    "SHIBOR", "FR007", "STIBOR", "SWESTR", "NOWA", "WIBOR", "POLSTR", "CZEONIA", "HUFONIA", "SHIR", "THOR", "KOFR", "NZIONA",
)  # fmt: skip
RATE = "Decimal(38, 13)"

ois_curve = Dataset(
    name="ois_curve",
    title="Overnight index swap rates",
    publisher=swap_trades.publisher,
    about="Median par rate of the overnight index swaps that were traded on a day, by currency, index and tenor.",
    columns=(
        Column("day", "Date", "the day (UTC) on which the swaps were traded"),
        Column("publisher", NAME, "the repository"),
        Column("regime", NAME, "whose rules the trades are reported under"),
        Column("currency", NAME, "currency of the swaps"),
        Column("floating_index", NAME, "the overnight index"),
        Column("tenor", NAME, "from effective to expiration: 2Y is two years"),
        Column("tenor_days", "UInt32", "days of that tenor", unit="days"),
        Column("par_rate", RATE, "median of the prints, as a decimal: 0.0404 is 4.04 %"),
        Column("lowest", RATE, "the lowest print"),
        Column("highest", RATE, "the highest print"),
        Column("prints", "UInt64", "prints, one a trade", unit="trades"),
        Column("notional", "Decimal(38, 5)", "sum of their notionals as printed", unit="currency"),
        Column("capped_share", "Float64", "share of the prints whose notional is capped: 1 is all of them"),
        Column("trades", "Array(String)", "roots of the trades, as in swap_trades"),
    ),
    key=("day", "currency", "floating_index", "tenor", "publisher", "regime"),
    order=("currency", "floating_index", "tenor_days", "tenor", "day", "publisher", "regime"),
    time="day",
    pointer=(),
    rhythm=Rhythm("with each file of swaps", stale_days=5, rows=(0, 100_000)),
    licence=swap_trades.licence,
    notes=(
        "Medians of what was reported, and no quotes: a point may stand on one print. `prints` says on how many.",
        "Capped notionals are smaller than the true ones. The cap does not change the rate.",
        "Trades that are reported late or corrected change the points of earlier days. As of then, they are as they were.",
    ),
)

_DAYS = "dateDiff('day', effective_date, expiration_date)"
_LENGTHS, _NAMES = list(TENORS.values()), list(TENORS)
_FITTING = f"indexOf(arrayMap(x -> abs({_DAYS} - x) <= greatest(4, x * 0.02), {_LENGTHS}), 1)"
_KNOWN = f"arrayFirst(word -> position(upper(upi_underlier), word) > 0, {list(INDEXES)})"
_IS_CHANGED = "last_action IN ('MODIFY', 'TERMINATE')"
_PICKED = f"if({_IS_CHANGED}, first_fixed_rate, fixed_rate)"
_IS_PRINT = f"""execution_time IS NOT NULL AND startsWith(instrument, 'NA/Swap OIS ') AND first_event_type = 'TRAD'
    AND state IN ('live', 'ended') AND isNotNull({_PICKED}) AND ifNull(spread, 0) = 0 AND other_payments = 0
    AND NOT ifNull(non_standard, false) AND NOT ifNull(package, false) AND isNull(package_price) AND isNull(package_spread)
    AND NOT hasAny(flags, ['placeholder:fixed_rate_1', 'placeholder:fixed_rate_2'])
    AND dateDiff('day', toDate(execution_time), effective_date) BETWEEN 0 AND {SPOT_DAYS} AND {_FITTING} > 0"""
_MIDDLE = "intDiv(length(rates) + 1, 2)"
_SELECT = f"""
SELECT toString(day) AS slice, day, publisher, regime, currency, floating_index, tenor, tenor_days,
    toDecimal128((rates[{_MIDDLE}] + rates[intDiv(length(rates), 2) + 1]) / 2, 13) AS par_rate, rates[1] AS lowest,
    rates[-1] AS highest, prints, notional, capped_share, trades
FROM (
    SELECT day, publisher, regime, currency, floating_index, tenor, tenor_days, arraySort(groupArray(rate)) AS rates,
        count() AS prints, sum(ifNull(amount, 0)) AS notional, avg(notional_capped) AS capped_share,
        arraySort(groupArray(root_id)) AS trades
    FROM (
        SELECT toDate(execution_time) AS day, publisher, regime, currency,
            if({_KNOWN} = '', CAST(upi_underlier AS String), {_KNOWN}) AS floating_index,
            arrayElement({_NAMES}, {_FITTING}) AS tenor, toUInt32(arrayElement({_LENGTHS}, {_FITTING})) AS tenor_days,
            assumeNotNull({_PICKED}) AS rate, swap_trades.notional AS amount, notional_capped, root_id
        FROM {{swap_trades}}
        WHERE toDate(execution_time) IN (SELECT toDate(arrayJoin({{{{slices:Array(String)}}}}))) AND {_IS_PRINT}
    )
    GROUP BY day, publisher, regime, currency, floating_index, tenor, tenor_days
)
"""

derivation = Derivation(
    name="ois_curve",
    inputs=(swap_trades,),
    dataset=ois_curve,
    version="1",
    slices="SELECT toString(toDate(assumeNotNull(execution_time))) AS slice FROM {swap_trades}"
    " WHERE execution_time IS NOT NULL AND startsWith(instrument, 'NA/Swap OIS ')",
    select=_SELECT,
    origins=(
        RowsOf(
            swap_trades,
            "publisher = {publisher:String} AND regime = {regime:String} AND root_id IN {trades:Array(String)}",
        ),
    ),
    at_once=200,
)
