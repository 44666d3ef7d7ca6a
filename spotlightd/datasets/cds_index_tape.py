"""The dataset `cds_index_tape`: trades in credit indices (CDX, iTraxx and others), one row a trade.

- A row is a trade and not a message: corrections are folded into it, withdrawn trades are not there, and one that was
  changed or ended later stays as it was traded. A price is taken from the first message where the last one is a
  modification or an end, and from the message in force otherwise, which corrections changed.
- Indices and tranches of them by their product name (FISN). Options on indices are not there: their price is a premium.
- The tenor is the years from execution to the last day, set to the nearest of 1, 2, 3, 5, 7 and 10 if it is within one year
  of it. Series are not printed: the last day tells them apart.
- `package` trades were priced together, so the price of one leg may be any. Capped notionals are larger in truth.
- `quoted_spread` is a decimal (0.0051 is 51 basis points): spreads that are printed in basis points are divided by 10,000.
  What a flag calls a price in the spread column is in `quoted_price` instead, in points: CDX.NA.HY and CDX.EM are traded so,
  and their prices are printed as they are (107.98) or divided by 10,000 (0.010798).
- A spread of 0 stands for none: it is printed beside an upfront payment, mostly for the other leg.
- Old trades that are reported now, such as those that a new party took over, have their day of execution.
"""

from __future__ import annotations

from spotlightd.datasets.swap_trades import swap_trades
from spotlightd.datasets.swaps import AMOUNT, CHOICE, NAME, RATE
from spotlightd.model.dataset import Column, Dataset, Rhythm
from spotlightd.model.derivation import Derivation, RowsOf

PRODUCTS = ("NA/CDS Corp Idx", "NA/CDS Corp Idx Tra", "NA/CDS Sov Idx")
TENORS = (1, 2, 3, 5, 7, 10)
DAYS_A_YEAR = 365.25

cds_index_tape = Dataset(
    name="cds_index_tape",
    title="Credit index trades",
    publisher=swap_trades.publisher,
    about="Trades in credit indices, one row each: spread or price, coupon, upfront payment, notional.",
    columns=(
        Column("day", "Date", "the day (UTC) on which it was traded"),
        Column("executed_at", "DateTime64(6, 'UTC')", "when it was traded"),
        Column("credit_index", NAME, "the index, in capitals; spellings of the register are kept"),
        Column("tenor", NAME, "years from execution to the last day: 5Y"),
        Column("expiration_date", "Nullable(Date)", "last day, which tells the series apart"),
        Column("is_tranche", "Bool", "a part of the losses of the index, and not the index"),
        Column("quoted_spread", RATE, "spread as a decimal: 0.0051 is 51 basis points"),
        Column("quoted_price", RATE, "price in points of 100, where one stands in place of a spread"),
        Column("coupon", RATE, "fixed rate of the contract: 0.01 or 0.05"),
        Column("upfront", AMOUNT, "upfront payment as printed", unit="currency"),
        Column("currency", NAME, "currency of the notional"),
        Column("notional", AMOUNT, "notional as traded", unit="currency"),
        Column("capped", "Bool", "the true notional is larger"),
        Column("index_factor", RATE, "share of the index that is still there after defaults"),
        Column("package", CHOICE, "priced together with other trades"),
        Column("cleared", NAME, "Y cleared, N not cleared, I to be cleared"),
        Column("venue", NAME, "market code of the platform; XXXX, XOFF, BILT and OFF are off-facility"),
        Column("block", CHOICE, "reported as a block trade"),
        Column("event_type", NAME, "why it was reported: TRAD traded, NOVA taken over, EXER by an exercised option"),
        Column("changes", "UInt64", "messages that changed or corrected it since", unit="messages"),
        Column("publisher", NAME, "the repository"),
        Column("regime", NAME, "whose rules it is reported under"),
        Column("root_id", "String", "the trade, as in swap_trades"),
    ),
    key=("publisher", "regime", "root_id"),
    order=("credit_index", "day", "executed_at", "root_id"),
    time="day",
    pointer=(),
    rhythm=Rhythm("with each file of swaps", stale_days=5, rows=(0, 1_000_000)),
    licence=swap_trades.licence,
    notes=(
        "Prices of packages are of all their legs together: leave them out where a level is wanted.",
        "Capped notionals are smaller than the true ones, so sums are too small.",
        "What was reported, as it was reported: spreads of trades off-facility can be wrong by a factor of 100.",
    ),
)

_IS_CHANGED = "last_action IN ('MODIFY', 'TERMINATE')"
_YEARS = f"dateDiff('day', toDate(executed), swap_trades.expiration_date) / {DAYS_A_YEAR}"
_NEAREST = f"arraySort(x -> abs(x - {_YEARS}), {list(TENORS)})[1]"
_TENOR = f"if(abs({_NEAREST} - {_YEARS}) <= 1, {_NEAREST}, greatest(round({_YEARS}), 1))"
_SPREAD = f"nullIf(if({_IS_CHANGED}, first_spread, spread), 0)"
_PRICE = f"multiIf(has(flags, 'price_in_spread'), {_SPREAD}, has(flags, 'price_per_10000'), {_SPREAD} * 10000, NULL)"
_SELECT = f"""
WITH assumeNotNull(execution_time) AS executed
SELECT toString(toDate(executed)) AS slice, toDate(executed) AS day, executed AS executed_at,
    upper(trimBoth(if(upi_underlier != '', upi_underlier, underlier_name))) AS credit_index,
    if(isNull(swap_trades.expiration_date) OR {_YEARS} <= 0, '', concat(toString(toUInt32({_TENOR})), 'Y')) AS tenor,
    swap_trades.expiration_date AS expiration_date, endsWith(instrument, ' Tra') AS is_tranche,
    multiIf(isNotNull({_PRICE}), NULL, spread_notation = '4', {_SPREAD} / 10000, {_SPREAD}) AS quoted_spread,
    {_PRICE} AS quoted_price,
    if({_IS_CHANGED}, first_fixed_rate, fixed_rate) AS coupon, swap_trades.upfront AS upfront,
    swap_trades.currency AS currency, if({_IS_CHANGED}, first_notional, swap_trades.notional) AS notional,
    notional_capped AS capped, swap_trades.index_factor AS index_factor, swap_trades.package AS package,
    swap_trades.cleared AS cleared, swap_trades.venue AS venue, swap_trades.block AS block, first_event_type AS event_type,
    swap_trades.changes AS changes, swap_trades.publisher AS publisher, swap_trades.regime AS regime,
    swap_trades.root_id AS root_id
FROM {{swap_trades}}
WHERE toDate(execution_time) IN (SELECT toDate(arrayJoin({{{{slices:Array(String)}}}}))) AND instrument IN {PRODUCTS}
    AND state IN ('live', 'ended')
"""

derivation = Derivation(
    name="cds_index_tape",
    inputs=(swap_trades,),
    dataset=cds_index_tape,
    version="1",
    slices="SELECT toString(toDate(assumeNotNull(execution_time))) AS slice FROM {swap_trades}"
    f" WHERE execution_time IS NOT NULL AND instrument IN {PRODUCTS}",
    select=_SELECT,
    origins=(
        RowsOf(
            swap_trades,
            "publisher = {publisher:String} AND regime = {regime:String} AND root_id = {root_id:String}",
        ),
    ),
    at_once=200,
)
