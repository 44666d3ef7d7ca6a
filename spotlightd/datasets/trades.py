"""The dataset `trades`, which many venues feed.

Prices and volumes are Float64, while all other money here is Decimal. A double stores every number of up to 15
significant digits, whatever its size. A decimal of a fixed scale does not: crypto prices run from 10^5 to 10^-10, and
Decimal(18, 8) cut 0.000012345678901234 without an error. The engine reads JSON numbers through a double in any case.
Sums are taken as Decimal(38, 18), so that they do not depend on the order of the rows. Size is no argument for either
type: as Decimal(38, 18), price takes 2.7 bytes a row instead of 2.4, and volume 1.2 instead of 1.1.

A row takes 8.4 to 9 bytes (benchmarks/decode.py; 500,000 and 1,000,000 rows from a few real frames, whose numbers repeat:
real data takes more): price 2.4, time 1.9, received 1.3 to 1.9, offset and frame_index 1.2, volume 1.1, conditions 0.4,
all others together less than 0.1. Its frame takes another 11 to 13. A stored uuid would take 16.
"""

from __future__ import annotations

from spotlightd.model.dataset import Column, Dataset, Retention, Rhythm
from spotlightd.model.stream import PLACE

FUTURE_SECONDS = 300
IS_FUTURE_DATED = f"(time > received + toIntervalSecond({FUTURE_SECONDS}))"
"""A trade so far ahead of its own receipt has a wrong time. The clock of a venue may be minutes off, but not more."""

trades = Dataset(
    name="trades",
    title="Trades",
    publisher="the venues' own feeds",
    about="Every trade that a venue reported while this instance was connected, one row each, as it was reported.",
    columns=(
        Column("symbol", "LowCardinality(String)", "what was traded, as the feed names it"),
        Column("venue", "LowCardinality(String)", "where it was traded; empty where the feed does not say"),
        Column("time", "DateTime64(6, 'UTC')", "when it was traded, by the venue's clock"),
        Column("received", "DateTime64(6, 'UTC')", "when the frame with the trade was received"),
        Column("ingested", "DateTime64(6, 'UTC')", "when it was decoded into this table"),
        Column("price", "Float64", "price, exact to 15 significant digits", unit="the symbol's currency"),
        Column("volume", "Float64", "traded quantity; 0 and fractions occur", unit="shares, coins or lots"),
        Column("side", "LowCardinality(String)", "buy or sell, from the side that took the price; empty where the feed does not say"),
        Column("trade_id", "String", "the venue's number of the trade; empty where there is none"),
        Column("conditions", "Array(LowCardinality(String))", "condition codes of the trade, as sent"),
        Column("type", "LowCardinality(String)", "the feed's name of this kind of message"),
        Column("long_digits", "Bool", "a number in its frame has more than 15 digits; the frame has the exact text"),
        Column("source", "LowCardinality(String)", "the source that it was received from"),
    ),
    key=("symbol", "time", "source", "epoch", "partition", "offset", "frame_index"),
    order=("symbol", "time", "epoch", "partition", "offset", "frame_index"),
    time="time",
    symbol="symbol",
    partition="toYYYYMMDD(received)",
    pointer=PLACE,
    retention=Retention(hot_days=60),
    derived=(
        Column(
            "uuid",
            "UUID",
            "identifies the trade; computed from its pointer, so it is the same whenever the trade is decoded again",
            sql="reinterpretAsUUID(sipHash128(source, epoch, partition, offset, frame_index))",
        ),
        Column(
            "is_future_dated",
            "Bool",
            f"traded more than {FUTURE_SECONDS} s after it was received, by the venue's clock: a wrong time; in no bar and no last price",
            sql=IS_FUTURE_DATED,
        ),
    ),
    rhythm=Rhythm("with each trade", stale_days=0, rows=(0, 1 << 62)),
    notes=(
        "No feed numbers its trades without holes: two equal rows can both be real, and both are stored.",
        "Not all trades of a market: only what the feed sent while this instance was connected. `gaps` lists the gaps.",
        "The order within and between frames is the venue's, and not always by time.",
        f"A trade whose time is more than {FUTURE_SECONDS} s after its receipt has is_future_dated: it is in no bar and in no last price.",
    ),
    is_growing=True,
)  # fmt: skip
