"""`threshold_agreement`: whether the OCC's list says the same as those of the exchanges, by day and market. Computed at reading.

Compared are days of which both lists are here. A difference is no proof of an error: the two are made at different times, and a
list may have been amended since.
"""

from __future__ import annotations

from spotlightd.datasets.threshold.lists import OCC, published_loads
from spotlightd.model.dataset import Column, Dataset, Rhythm
from spotlightd.model.derived.transform import Reading

_LABEL = "LowCardinality(String)"


def select_agreement(condition: str = "1") -> str:
    """The template of the SELECT of the comparison, of days of that condition on `list_date`."""
    known = published_loads("threshold_lists")
    lists = f"""
        SELECT market, list_date FROM {{threshold_lists}} AS listed
        WHERE ({condition}) AND status IN ('list', 'empty') AND load_id IN ({known})"""
    days = f"SELECT list_date FROM ({lists}) AS lists WHERE market = '{OCC}'"
    securities = f"""
        SELECT list_date, market, symbol, 1 AS side FROM {{threshold}} AS listed
        WHERE ({condition}) AND list_date IN ({days}) AND load_id IN ({published_loads("threshold")})
        UNION ALL
        SELECT list_date, market, symbol, 2 AS side FROM {{threshold_occ}} AS repeated
        WHERE ({condition}) AND load_id IN ({published_loads("threshold_occ")})
        UNION ALL
        SELECT list_date, market, '' AS symbol, 0 AS side FROM ({lists}) AS lists WHERE market != '{OCC}'"""
    return f"""
    SELECT list_date, market, toUInt32(countIf(symbol != '' AND sides = 3)) AS both,
        arraySort(groupArrayIf(symbol, symbol != '' AND sides = 1)) AS only_market,
        arraySort(groupArrayIf(symbol, sides = 2)) AS only_occ
    FROM (
        SELECT list_date, market, symbol, groupBitOr(side) AS sides FROM ({securities}) AS securities
        WHERE (list_date, market) IN (SELECT list_date, market FROM ({lists}) AS lists) AND list_date IN ({days})
        GROUP BY list_date, market, symbol
    ) AS compared GROUP BY list_date, market"""


threshold_agreement = Dataset(
    name="threshold_agreement",
    title="Threshold lists and the OCC's",
    publisher="this instance, from the lists",
    about="For each market and day with both lists: how many securities are on both, and which are on one only.",
    columns=(
        Column("list_date", "Date", "the settlement day of the lists"),
        Column("market", _LABEL, "whose list is compared"),
        Column("both", "UInt32", "securities on both lists", unit="securities"),
        Column("only_market", "Array(String)", "symbols that only the exchange's list has"),
        Column("only_occ", "Array(String)", "symbols that only the OCC's list has"),
    ),
    key=("list_date", "market"),
    order=("list_date", "market"),
    time="list_date",
    pointer=(),
    rhythm=Rhythm("with each list", stale_days=0, rows=(0, 1 << 62)),
    notes=("The OCC repeats the exchanges' lists. Where the two differ, the exchange's own one is the source.",),
    reading=select_agreement(),
    computed_from="threshold_lists",
)

agreement = Reading("threshold_agreement", threshold_agreement)
