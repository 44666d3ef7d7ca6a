"""One-minute bars, computed from trades: stored for closed loads, computed when they are read for loads that still grow.

A row of the table is a *part*: the bar of one load of trades for one symbol, source and minute. Trades come late, and
days are divided into loads and replayed into new ones, so a minute may have several parts. A reader gets them merged,
for the loads of trades that are visible at the publication: stored parts where they exist, computed ones for the rest.
So a bar always agrees with its trades, to the last digit, whatever is stored and whatever was replayed since.

- First and last are by the order of trades (time, then place in the log), not by arrival. `open_at` and `close_at` are
  that order as one number of 128 bits, by which parts can be merged; that is 5 times faster than a tuple.
- Volumes are summed as decimals of the printed digits. `toDecimal128(volume, 18)` is not used, because it turns 12345
  into 12344.999999999999738211. The engine's sums of decimals overflow without an error, so a part so large that a
  thousand of them might overflow is an error.
- Bars of two feeds are separate: in a sum, trades of one market that both report would count twice.
- Every load of trades has the rows received on the day that it covers, so only the days of loads without stored parts
  have to be read. If several loads of parts come from one load of trades, the newest counts.
- A trade whose time is far ahead of its receipt is in no bar: its minute would be the last one for days, or for years.
- A filter on symbol or minute reduces the rows that are read, because the engine moves both filters inside.
"""

from __future__ import annotations

from spotlightd.datasets.trades import IS_FUTURE_DATED, trades
from spotlightd.model.dataset import Column, Dataset, Rhythm
from spotlightd.model.derived.transform import Transform

_TOO_MUCH = "'the trades of one minute add up to more than a bar can hold'"
_PLACE = (
    "bitShiftLeft(toUInt128(bitOr(bitShiftLeft(toUInt64(positiveModulo(toUnixTimestamp64Micro(time), 60000000)), 32), "
    "bitOr(bitShiftLeft(toUInt64(epoch), 16), toUInt64(partition)))), 64) "
    "+ bitOr(bitShiftLeft(offset, 16), toUInt64(frame_index))"
)
_EIGHT = "round(t.volume * 1e8)"
_VOLUME = (
    f"if({_EIGHT} / 1e8 = t.volume AND abs(t.volume) < 1e7, "
    f"toDecimal128(toInt64({_EIGHT}), 10) * toDecimal128('0.00000001', 8), toDecimal128(toString(t.volume), 18))"
)


def _select_parts(condition: str) -> str:
    """A template of the SELECT of parts, over the trades that satisfy the condition."""
    return f"""
SELECT t.symbol AS symbol, t.source AS source, t.minute AS minute,
    argMin(t.price, t.place) AS open, max(t.price) AS high, min(t.price) AS low, argMax(t.price, t.place) AS close,
    sum({_VOLUME}) + throwIf(sum(abs(t.volume)) >= 1e17, {_TOO_MUCH}) AS volume,
    toDecimal128(sum(toInt128(t.money)) + throwIf(sum(abs(t.money)) >= 1e34, {_TOO_MUCH}), 0)
        * toDecimal128('0.00000001', 8) AS turnover,
    count() AS trades, toDecimal128(min(t.place), 0) AS open_at, toDecimal128(max(t.place), 0) AS close_at
FROM (
    SELECT symbol, source, toStartOfInterval(time, INTERVAL 60000000 MICROSECOND) AS minute, price, volume,
        round(price * volume * 1e8) AS money, {_PLACE} AS place
    FROM {{trades}} WHERE {condition} AND NOT {IS_FUTURE_DATED}
) AS t
GROUP BY symbol, source, minute"""


_STATE = """
SELECT (groupArrayIf(kept, kept > 0), groupArrayIf(id, kept = 0), groupUniqArrayIf(day, kept = 0))
FROM (
    SELECT
        arrayJoin(arrayPushBack(if(dataset = 'trades', supersedes, []), if(dataset = 'trades', load_id, derived_from))) AS id,
        maxIf(load_id, dataset = 'bars') AS kept,
        max(toUInt32OrZero(replaceAll(substring(covers, 1, 10), '/', '')))  AS day
    FROM {loads} WHERE dataset IN ('trades', 'bars') AND seq <= {seq}
    GROUP BY id
    HAVING countIf(dataset = 'trades' AND load_id = id) > 0 AND countIf(dataset = 'trades' AND load_id != id) = 0
)"""
_READING = f"""
WITH ({_STATE}) AS state
SELECT part.symbol AS symbol, part.source AS source, part.minute AS minute,
    argMin(part.open, part.open_at) AS open, max(part.high) AS high, min(part.low) AS low,
    argMax(part.close, part.close_at) AS close,
    sum(part.volume) AS volume, sum(part.turnover) AS turnover, sum(part.trades) AS trades
FROM (
    SELECT symbol, source, minute, open, high, low, close, volume, turnover, trades, open_at, close_at
    FROM {{bars}} WHERE load_id IN (state.1)
    UNION ALL
    {_select_parts("toYYYYMMDD(received) IN (state.3) AND load_id IN (state.2)")}
) AS part
GROUP BY symbol, source, minute"""

bars = Dataset(
    name="bars",
    title="One-minute bars",
    publisher="this instance, from the venues' trades",
    about="First, highest, lowest and last price of each minute, and the traded quantity, computed from `trades`.",
    columns=(
        Column("symbol", "LowCardinality(String)", "what was traded, as the feed names it"),
        Column("source", "LowCardinality(String)", "the source that the trades were received from"),
        Column("minute", "DateTime64(6, 'UTC')", "start of the minute, by the venue's clock"),
        Column("open", "Float64", "price of the first trade", unit="the symbol's currency"),
        Column("high", "Float64", "highest price", unit="the symbol's currency"),
        Column("low", "Float64", "lowest price", unit="the symbol's currency"),
        Column("close", "Float64", "price of the last trade", unit="the symbol's currency"),
        Column("volume", "Decimal(38, 18)", "traded quantity", unit="shares, coins or lots"),
        Column("turnover", "Decimal(38, 8)", "price times volume, summed", unit="the symbol's currency"),
        Column("trades", "UInt64", "number of trades", unit="trades"),
    ),
    key=("symbol", "minute", "source"),
    order=("symbol", "minute", "source"),
    time="minute",
    symbol="symbol",
    pointer=(
        Column("open_at", "Decimal(38, 0)", "place of the first trade in the order of trades"),
        Column("close_at", "Decimal(38, 0)", "place of the last trade in the order of trades"),
    ),
    rhythm=Rhythm("with each trade", stale_days=0, rows=(0, 1 << 62)),
    notes=(
        "A minute without a trade has no bar.",
        "Not all trades of a market: only what the feed sent while this instance was connected. `gaps` lists the gaps.",
        "All trades count, whatever their conditions: late and odd-lot reports can be the high or the low.",
        "Only trades with is_future_dated do not: their time is wrong.",
    ),
    reading=_READING,
    is_growing=True,
    computed_from="trades",
)  # fmt: skip
"""`pointer` belongs to the parts only: a bar comes from trades, and has no place in a document or a frame."""

minutely = Transform(
    name="bars",
    input=trades,
    dataset=bars,
    select=_select_parts("toYYYYMMDD(received) = toYYYYMMDD({{day:Date}}) AND load_id = {{of:UInt64}}"),
    parser="1",
)
