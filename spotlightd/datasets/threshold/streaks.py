"""`threshold_streaks`: from when to when each security was on the list of a market, computed when it is read.

A streak is what is on one list after another. Days count in settlement days. A day is *unknown* when its list is not here, or is
"empty or absent". Unknown days are counted, and never taken for days on the list or off it:

- A security that is on the lists around at most four unknown days was on all of them. To leave, it must be below the threshold on
  five days in a row, and then above it on five days to return, so it is off for five days at least (Regulation SHO, 203(c)(6)).
  It is one streak, with its unknown days.
- With more of them nobody knows. Then there are two streaks, and the state of the first one is `unknown`.
- A streak whose next list is missing is closed by the next one without the security, and `unknown_after` says how many days
  lie between. `unknown_before` does so for its beginning.

It is computed at reading, not stored: one more day would change each open streak, so a stored one would be written again each day
for ever. In 1.6 million rows, 15 years of 7 markets, the closed streaks of one market take 0.24 s of
processor time (`make bench ARGS=lists`; 2 busy cores of an Intel Xeon).
"""

from __future__ import annotations

from spotlightd.datasets.threshold.lists import OCC, published_loads
from spotlightd.model.dataset import Column, Dataset, Rhythm
from spotlightd.model.derived.transform import Reading

LONGEST_BRIDGE = 4
"""Unknown days that cannot hide that a security left the list and came back."""


GAP = 1_000_000
"""How far the position of a list jumps behind a gap that ends streaks; without one it grows by 1."""


def select_streaks(condition: str = "1", securities: str = "1") -> str:
    """The template of the SELECT of streaks, by the lists of that condition. A streak that is on the first of these lists may have
    begun before. `securities` is a condition on the symbol: reading those of a page takes half the time of reading all.

    The securities of a list are in the load of the list, so its visibility is theirs.
    """
    lists = f"""
        SELECT market, load_id, list_date, number, before, after,
            toUInt32(place + {GAP} * sum(number > before.2 + {LONGEST_BRIDGE + 1} AND before.2 > 0) OVER until_here) AS position
        FROM (
            SELECT market, load_id, list_date, day_number AS number, row_number() OVER lists AS place,
                lagInFrame((list_date, number)) OVER lists AS before, leadInFrame((list_date, number)) OVER lists AS after
            FROM {{threshold_lists}} AS known
            WHERE market != '{OCC}' AND status IN ('list', 'empty') AND ({condition})
                AND load_id IN ({published_loads("threshold_lists")})
            WINDOW lists AS (
                PARTITION BY market ORDER BY list_date ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
            )
        ) AS placed
        WINDOW until_here AS (
            PARTITION BY market ORDER BY list_date ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        )"""
    runs = f"""
        SELECT market, symbol, argMax(security_name, position) AS security_name, argMax(rule, position) AS rule,
            groupArray(position) AS unsorted, arraySort(unsorted) AS positions,
            arraySort((list, position) -> position, groupArray((list_date, number, before, after, position)), unsorted) AS days,
            arraySplit((list, step) -> step > 1, days, arrayDifference(positions)) AS runs
        FROM (
            SELECT market, symbol, security_name, rule, load_id FROM {{threshold}} AS listed
            WHERE ({condition}) AND ({securities})
        ) AS securities INNER JOIN ({lists}) AS lists USING (load_id, market)
        GROUP BY market, symbol"""
    return f"""
    SELECT market, symbol, security_name, rule, multiIf(is_split, 'unknown', last.4.2 > 0, 'closed', 'open') AS state,
        first.1 AS first_day, last.1 AS last_day, toUInt32(length(run)) AS days,
        if(first.3.2 > 0, first.3.1, NULL) AS entered_after, if(last.4.2 > 0, last.4.1, NULL) AS left_on,
        toUInt32(if(first.3.2 > 0, first.2 - first.3.2 - 1, 0)) AS unknown_before,
        toUInt32(last.2 - first.2 + 1 - days) AS unknown_within,
        toUInt32(if(last.4.2 > 0, last.4.2 - last.2 - 1, 0)) AS unknown_after
    FROM (
        SELECT market, symbol, security_name, rule, runs[split] AS run, run[1] AS first, run[-1] AS last,
            split < length(runs) AND runs[split + 1][1].5 = last.5 + {GAP + 1} AS is_split
        FROM ({runs}
        ) AS grouped ARRAY JOIN arrayEnumerate(runs) AS split
    ) AS found"""


def on_newest_lists(condition: str = "1", count: int = 1) -> str:
    """The condition that a symbol is on one of the `count` newest known lists of a market, of the lists of that condition."""
    known = f"""
        SELECT load_id, row_number() OVER (PARTITION BY market ORDER BY list_date DESC) AS age
        FROM {{threshold_lists}} AS known
        WHERE market != '{OCC}' AND status IN ('list', 'empty') AND ({condition})
            AND load_id IN ({published_loads("threshold_lists")})"""
    newest = f"SELECT load_id FROM ({known}) AS aged WHERE age <= {count}"
    return f"symbol IN (SELECT symbol FROM {{threshold}} AS newest WHERE load_id IN ({newest}))"


_LABEL = "LowCardinality(String)"
_UNKNOWN = "unknown settlement days"

threshold_streaks = Dataset(
    name="threshold_streaks",
    title="Streaks on threshold lists",
    publisher="this instance, from the lists",
    about="From when to when each security was on the threshold list of a market, and what is not known of it.",
    columns=(
        Column("market", _LABEL, "whose list it is"),
        Column("symbol", _LABEL, "ticker, with a point for every separator"),
        Column("security_name", "String", "the newest name on that market's lists"),
        Column("rule", _LABEL, "why it is listed, by the newest list: Reg SHO, Rule 4320 or Rule 3210"),
        Column(
            "state",
            _LABEL,
            "open: on the newest list; closed: a later list is without it; unknown: five or more lists are missing after it, "
            "and it is on the next one",
        ),
        Column("first_day", "Date", "the first list that it is on"),
        Column("last_day", "Date", "the last list that it is on"),
        Column("days", "UInt32", "lists that it is on: settlement days that are known", unit="days"),
        Column("entered_after", "Nullable(Date)", "the newest earlier list; empty when there is none, so the start is not known"),
        Column("left_on", "Nullable(Date)", "the first later list, which is without it if the state is closed; empty if open"),
        Column("unknown_before", "UInt32", "days without a list between the earlier list and the first day", unit=_UNKNOWN),
        Column("unknown_within", "UInt32", "days without a list from the first day to the last one", unit=_UNKNOWN),
        Column("unknown_after", "UInt32", "days without a list between the last day and the later list", unit=_UNKNOWN),
    ),
    key=("market", "symbol", "first_day"),
    order=("symbol", "market", "first_day"),
    time="last_day",
    symbol="symbol",
    pointer=(),
    rhythm=Rhythm("with each list", stale_days=0, rows=(0, 1 << 62)),
    notes=(
        "A streak ends when a security changes its symbol, and so does it when it moves to another market.",
        "Days are settlement days with a list. Unknown ones are not among them: see `unknown_within`.",
        "At most four unknown days in a row do not end a streak, because nobody can leave and return within them.",
        "The list shows neither who failed to deliver nor how much.",
    ),
    reading=select_streaks(),
    computed_from="threshold",
)  # fmt: skip

streaks = Reading("threshold_streaks", threshold_streaks)
