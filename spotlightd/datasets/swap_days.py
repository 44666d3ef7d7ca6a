"""The dataset `swap_days`: swap messages counted and added up by day and by what they are about.

`/swaps` is drawn from it: the messages of two years are 20 million, these rows a quarter of that, and far fewer bytes.

- A row is one day, repository, regime, asset class, instrument, underlier, kind of action and currency. So amounts of several
  currencies never come together.
- The notional of a message is that of its first leg, and of the second where the first has none.
- Corrections, changes and ends are rows of their own (`action`). The notional of new trades alone is what was traded that
  day, as it was first reported. Adding up all actions counts a trade as often as it was mentioned.
- An amount that a flag calls a placeholder is not added up: `unusable` counts it, and messages without an amount.
"""

from __future__ import annotations

from spotlightd.datasets.swaps import AMOUNT, INSTRUMENT, NAME, UNDERLIER, swaps
from spotlightd.model.dataset import Column, Dataset, Rhythm
from spotlightd.model.derivation import Derivation, RowsOf

IS_SECOND = "(isNull(notional_1) AND isNotNull(notional_2))"
CURRENCY = f"if({IS_SECOND}, notional_currency_2, notional_currency_1)"
CAPPED = f"if({IS_SECOND}, notional_2_capped, notional_1_capped)"
NOTIONAL = (
    f"if({IS_SECOND}, if(has(flags, 'placeholder:notional_2'), NULL, notional_2), "
    "if(has(flags, 'placeholder:notional_1'), NULL, notional_1))"
)
TOTAL = AMOUNT.removeprefix("Nullable(").removesuffix(")")

swap_days = Dataset(
    name="swap_days",
    title="Swaps by day",
    publisher=swaps.publisher,
    about="Messages about swap trades and their notional, added up by day, repository, asset class, instrument, underlier, "
    "action and currency.",
    columns=(
        Column("report_date", "Date", "the day (UTC) of the files that made the messages public"),
        Column("publisher", NAME, "the repository: DTCC, ICE or CME"),
        Column("regime", NAME, "whose rules the trades are reported under: CFTC or SEC"),
        Column("asset_class", NAME, "CR credit, IR interest rates, EQ equity, FX foreign exchange, CO commodities"),
        Column("instrument", NAME, "what is traded: the product's short name (FISN), before 2024 the product"),
        Column("underlier", NAME, "what the trades depend on: identifier, index or name; `basket` for several"),
        Column("action", NAME, "NEW, MODIFY, CORRECT, TERMINATE, ERROR, REVIVE or OTHER"),
        Column("currency", NAME, "currency of the notional; empty where there is none"),
        Column("messages", "UInt64", "messages", unit="messages"),
        Column(
            "notional", TOTAL, "sum of their notionals as printed; capped ones are larger in truth", unit="currency"
        ),
        Column("capped", "UInt64", "messages whose notional is capped", unit="messages"),
        Column("capped_notional", TOTAL, "the part of the sum that is of capped notionals", unit="currency"),
        Column("unusable", "UInt64", "messages without a usable notional: none, or a placeholder", unit="messages"),
    ),
    key=("report_date", "publisher", "regime", "asset_class", "instrument", "underlier", "action", "currency"),
    order=("report_date", "asset_class", "publisher", "regime", "action", "currency", "instrument", "underlier"),
    partition="toYear(report_date)",
    time="report_date",
    pointer=(),
    rhythm=Rhythm("with each file of swaps", stale_days=5, rows=(0, 2_000_000)),
    licence=swaps.licence,
    notes=(
        "Notional is the size that payments are computed from. It is neither money that changed hands nor a risk.",
        "Capped notionals are smaller than the true ones, so sums are too small. `capped_notional` says which part.",
        "The notional of new trades is as it was first reported; later corrections and withdrawals are rows of their own.",
        "A trade may be reported twice, to two repositories or under both regimes, and cannot be recognised then.",
        "Between dealers and clearing houses one trade becomes several: what is cleared is reported again.",
    ),
)

_SELECT = f"""
SELECT toString(report_date) AS slice, report_date, publisher, regime, asset_class, {INSTRUMENT} AS instrument,
    {UNDERLIER} AS underlier, action, {CURRENCY} AS currency, count() AS messages,
    sum(ifNull({NOTIONAL}, 0)) AS notional, countIf({CAPPED}) AS capped,
    sumIf(ifNull({NOTIONAL}, 0), {CAPPED}) AS capped_notional, countIf(isNull({NOTIONAL})) AS unusable
FROM {{swaps}}
WHERE report_date IN (SELECT toDate(arrayJoin({{{{slices:Array(String)}}}})))
GROUP BY report_date, publisher, regime, asset_class, instrument, underlier, action, currency
"""

derivation = Derivation(
    name="swap_days",
    inputs=(swaps,),
    dataset=swap_days,
    version="1",
    slices="SELECT toString(report_date) AS slice FROM {swaps}",
    select=_SELECT,
    origins=(
        RowsOf(
            swaps,
            "report_date = {report_date:Date} AND publisher = {publisher:String} AND regime = {regime:String} "
            "AND asset_class = {asset_class:String} AND action = {action:String} AND "
            f"{INSTRUMENT} = {{instrument:String}} AND {UNDERLIER} = {{underlier:String}} AND "
            f"{CURRENCY} = {{currency:String}}",
        ),
    ),
    at_once=60,
)
