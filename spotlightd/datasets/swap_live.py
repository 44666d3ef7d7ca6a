"""The dataset `swap_live`: trades that are live by their messages, counted and added up by what they are about.

Most swaps end on their last day without a message. So a row is of one month of last days (`expires`), and whoever asks what
is live on a day leaves out the months that are over. Trades without a last day are in the month 2149-06.

It is computed from the stored rows of `swap_trades`, in which a row that no longer counts is there again with `change` -1:
sums of products with `change` are right without putting the rows together first.
"""

from __future__ import annotations

from spotlightd.datasets.swap_days import TOTAL
from spotlightd.datasets.swap_trades import swap_trades
from spotlightd.datasets.swaps import NAME
from spotlightd.model.dataset import Column, Dataset, Rhythm
from spotlightd.model.derivation import Derivation, RowsOf
from spotlightd.sql.visibility import published_condition

NEVER = "toDate('2149-06-01')"
EXPIRES = f"ifNull(toStartOfMonth(expiration_date), {NEVER})"

swap_live = Dataset(
    name="swap_live",
    title="Live swaps",
    publisher=swap_trades.publisher,
    about="Trades that no message has ended or withdrawn, and their notional in force, by repository, asset class, currency "
    "and month of their last day.",
    columns=(
        Column("publisher", NAME, "the repository: DTCC, ICE or CME"),
        Column("regime", NAME, "whose rules the trades are reported under: CFTC or SEC"),
        Column("asset_class", NAME, "CR credit, IR interest rates, EQ equity, FX foreign exchange, CO commodities"),
        Column("currency", NAME, "currency of the notional; empty where there is none"),
        Column("expires", "Date", "first day of the month of their last day; 2149-06-01 where there is none"),
        Column("trades", "Int64", "live trades", unit="trades"),
        Column("notional", TOTAL, "sum of the notionals in force; capped ones are larger in truth", unit="currency"),
        Column("capped", "Int64", "trades whose notional is capped", unit="trades"),
        Column("capped_notional", TOTAL, "the part of the sum that is of capped notionals", unit="currency"),
    ),
    key=("publisher", "regime", "asset_class", "currency", "expires"),
    order=("asset_class", "publisher", "regime", "currency", "expires"),
    time="expires",
    pointer=(),
    rhythm=Rhythm("with each file of swaps", stale_days=5, rows=(0, 1_000_000)),
    licence=swap_trades.licence,
    notes=(
        "Live is what no message ended. Most swaps end on their last day without one: leave out months that are over.",
        "A trade that ended before the first collected file is counted as long as its last day is not over.",
        "Capped notionals are smaller than the true ones, so sums are too small.",
    ),
)

_PUBLISHED = published_condition(swap_trades).replace("{", "{{").replace("}", "}}")
_NOTIONAL = "ifNull(swap_trades.notional, 0)"
_SLICE = "lower(concat(publisher, '/', regime, '/', if(asset_class = '', 'none', asset_class)))"
_SELECT = f"""
SELECT {_SLICE} AS slice, publisher, regime, asset_class, currency, {EXPIRES} AS expires, sum(toInt64(change)) AS trades,
    sum(change * {_NOTIONAL}) AS notional, sumIf(toInt64(change), notional_capped) AS capped,
    sumIf(change * {_NOTIONAL}, notional_capped) AS capped_notional
FROM swap_trades
WHERE {_PUBLISHED} AND last_state = 'live' AND {_SLICE} IN ({{{{slices:Array(String)}}}})
GROUP BY publisher, regime, asset_class, currency, expires HAVING trades != 0
"""

derivation = Derivation(
    name="swap_live",
    inputs=(swap_trades,),
    dataset=swap_live,
    version="1",
    slices=f"SELECT {_SLICE} AS slice FROM {{swap_trades}}",
    select=_SELECT,
    origins=(
        RowsOf(
            swap_trades,
            "publisher = {publisher:String} AND regime = {regime:String} AND asset_class = {asset_class:String} AND "
            f"currency = {{currency:String}} AND last_state = 'live' AND {EXPIRES} = {{expires:Date}}",
        ),
    ),
)
