"""`threshold_days`: every market and settlement day that was asked for, and what came of it.

Computed when it is read: lists are visible rows of `threshold_lists`, days without one are the newest attempt in `runs`. So
"not on the list" and "no list" are told apart as of every time.
"""

from __future__ import annotations

from spotlightd.datasets.threshold.lists import MARKETS, OCC, published_loads
from spotlightd.model.dataset import Column, Dataset, Rhythm
from spotlightd.model.derived.transform import Reading

_MARKETS_OF = {**MARKETS, "threshold_occ": (OCC,)}
_SOURCES = ", ".join(f"'{name}'" for name in _MARKETS_OF)
_LISTED = ", ".join(str(list(markets)) for markets in _MARKETS_OF.values())
_WITHOUT_LIST = "'absent', 'archived', 'failed', 'wrong body', 'store failed', 'refused'"
_UNTIL = "ifNull((SELECT minOrNull(published_at) FROM {loads} WHERE seq > {seq}), toDateTime64('2200-01-01', 6, 'UTC'))"


def select_days(condition: str = "1") -> str:
    """The template of the SELECT of days, by those of that condition on `list_date`."""
    loads = published_loads(
        "threshold_lists",
        "load_id, source, document, published_at",
        among=f"SELECT load_id FROM {{threshold_lists}} WHERE {condition}",
    )
    lists = f"""
        SELECT list_date, market, status, securities, published_at AS at, source, document, 0 AS run, '' AS error
        FROM (SELECT * FROM {{threshold_lists}} WHERE {condition}) AS listed INNER JOIN ({loads}) AS published USING (load_id)"""
    attempts = f"""
        SELECT list_date, arrayJoin([{_LISTED}][indexOf([{_SOURCES}], source)]) AS market,
            if(argMax(outcome, id) = 'absent', 'absent', 'failed') AS status, 0 AS securities, max(attempts.at) AS at, source,
            argMax(digest, id) AS document, max(id) AS run, argMax(error, id) AS error
        FROM {{runs}} AS attempts WHERE source IN ({_SOURCES}) AND outcome IN ({_WITHOUT_LIST}) AND covers != ''
            AND attempts.at < {_UNTIL} AND ({condition})
        GROUP BY source, toDateOrZero(replaceAll(covers, '/', '-')) AS list_date"""
    return f"""
    SELECT list_date, market, argMax(status, rank) AS status, argMax(securities, rank) AS securities, argMax(at, rank) AS at,
        argMax(source, rank) AS source, argMax(document, rank) AS document, argMax(run, rank) AS run,
        argMax(error, rank) AS error
    FROM (
        SELECT *, (status NOT IN ('absent', 'failed'), run) AS rank FROM ({lists} UNION ALL {attempts}) AS both
    ) AS ranked GROUP BY list_date, market"""


_LABEL = "LowCardinality(String)"

threshold_days = Dataset(
    name="threshold_days",
    title="Threshold lists asked for",
    publisher="this instance, from its lists and its attempts",
    about="Every market and settlement day whose threshold list was asked for, and whether there is one.",
    columns=(
        Column("list_date", "Date", "the settlement day"),
        Column("market", _LABEL, "whose list it is; OCC is the one that repeats all others"),
        Column(
            "status",
            _LABEL,
            "list; empty; empty_or_absent: an answer that the publisher also gives without a list; absent: there is none (yet); "
            "failed: it was not fetched, or cannot be read",
        ),
        Column("securities", "UInt32", "securities on the list", unit="securities"),
        Column("at", "DateTime64(6, 'UTC')", "when the list was published here, or when it was asked for last"),
        Column("source", _LABEL, "the source that asks for it"),
        Column("document", "String", "SHA-256 of the document: the receipt. Empty when none was fetched"),
        Column("run", "UInt64", "number of the attempt in `runs`, for a day without a list; else 0"),
        Column("error", "String", "why there is no list, in a sentence"),
    ),
    key=("list_date", "market"),
    order=("list_date", "market"),
    time="list_date",
    pointer=(),
    rhythm=Rhythm("with each list, and with each attempt", stale_days=0, rows=(0, 1 << 62)),
    notes=(
        "A day that is not here was not asked for yet: lists are fetched newest first, over days.",
        "A list that was never there is asked for again for two weeks.",
    ),
    reading=select_days(),
    computed_from="threshold_lists",
)  # fmt: skip

days = Reading("threshold_days", threshold_days)
