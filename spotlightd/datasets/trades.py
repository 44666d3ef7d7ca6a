"""Datasets that many venues feed: trades.

Prices and volumes are Float64, where everything else of ours that is money is Decimal. A double keeps every number of up
to 15 significant digits whatever its size; a decimal of any fixed scale does not (crypto prices run from 10^5 to 10^-10),
and Decimal(18, 8) was seen to cut 0.000012345678901234 without a word. The engine reads JSON numbers through a double in
any case. Sums are taken as Decimal(38, 18), so that they do not depend on the order of the rows. Size is no reason for
either: as Decimal(38, 18), price takes 2.7 bytes a row instead of 2.4, and volume 1.2 instead of 1.1.

A row takes 8.4 to 9 bytes (benchmarks/decode.py; 500,000 and 1,000,000 rows made of a few real frames, whose numbers
repeat: in life it is more): price 2.4, time 1.9, received 1.3 to 1.9, offset and frame_index 1.2, volume 1.1, conditions
0.4, all others together less than 0.1. Its frame takes another 11 to 13. A stored uuid would take 16.
"""

from __future__ import annotations

from spotlightd.model.dataset import Column, Dataset, Derived, Retention, Rhythm
from spotlightd.model.stream import PLACE

trades = Dataset(
    name="trades",
    title="Trades",
    publisher="the venues' own feeds",
    about="Every trade that a venue reported while we listened, one row each, as it was reported.",
    columns=(
        Column("symbol", "LowCardinality(String)", "what was traded, in the words of the feed"),
        Column("venue", "LowCardinality(String)", "where it was traded; empty where the feed does not say"),
        Column("time", "DateTime64(6, 'UTC')", "when it was traded, by the venue", codec="Delta, ZSTD(1)"),
        Column("received", "DateTime64(6, 'UTC')", "when the frame with it was received here", codec="Delta, ZSTD(1)"),
        Column("ingested", "DateTime64(6, 'UTC')", "when it was decoded into this table", codec="Delta, ZSTD(1)"),
        Column("price", "Float64", "price, exact to 15 significant digits", unit="the symbol's currency", codec="ZSTD(1)"),
        Column("volume", "Float64", "how much; 0 and fractions occur", unit="shares, coins or lots", codec="ZSTD(1)"),
        Column("side", "LowCardinality(String)", "buy or sell, of whoever took the price; empty where the feed does not say"),
        Column("trade_id", "String", "the venue's number of the trade; empty where it gives none", codec="ZSTD(1)"),
        Column("conditions", "Array(LowCardinality(String))", "codes of the conditions of the trade, as printed", codec="ZSTD(1)"),
        Column("type", "LowCardinality(String)", "the feed's word for this kind of message"),
        Column("long_digits", "Bool", "a number of its frame has more than 15 digits: the frame has the exact text", codec="ZSTD(1)"),
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
        Derived(
            "uuid",
            "UUID",
            "a number of the trade's own, made of its pointer: the same whenever it is decoded again",
            "reinterpretAsUUID(sipHash128(source, epoch, partition, offset, frame_index))",
        ),
    ),
    rhythm=Rhythm("as it is traded", stale_days=0, rows=(0, 1 << 62)),
    notes=(
        "No feed here numbers its trades without holes: two equal rows can both be real, and are both kept.",
        "Not all trades of a market: what the feed carries, while we were connected. Gaps are listed in `gaps`.",
        "Order within and between frames is the venue's and need not be by time.",
    ),
    is_growing=True,
)  # fmt: skip
