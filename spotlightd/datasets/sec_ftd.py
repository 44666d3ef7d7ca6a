"""The dataset `sec_ftd`. `sources/sec_ftd.py` fills it, and says how the publisher's files were."""

from __future__ import annotations

from spotlightd.model.dataset import Column, Dataset, Rhythm

sec_ftd = Dataset(
    name="sec_ftd",
    title="SEC fails to deliver",
    publisher="U.S. Securities and Exchange Commission",
    about="For each settlement day and security: how many shares were owed and not delivered at the National Securities "
    "Clearing Corporation, all its members taken together.",
    columns=(
        Column("settlement_date", "Date", "the settlement day at whose end the shares were still owed"),
        Column("cusip", "FixedString(9)", "the security's CUSIP number; leading zeros and letters belong to it"),
        Column(
            "symbol",
            "LowCardinality(String)",
            "ticker as printed that day; may be empty, and may pass to another company",
        ),
        Column(
            "quantity",
            "UInt64",
            "balance still undelivered that day, old fails and new together; not the new fails of the day",
            unit="shares",
        ),
        Column("description", "String", "the security's name as printed, cut by the publisher at 30 characters"),
        Column(
            "price",
            "Nullable(Decimal(18, 4))",
            "closing price of the day before; empty where the publisher knows none or it is a cent or less",
            unit="USD",
        ),
    ),
    key=("settlement_date", "cusip", "symbol"),
    order=("symbol", "settlement_date", "cusip"),
    partition="intDiv(toYear(settlement_date), 10)",
    time="settlement_date",
    symbol="symbol",
    rhythm=Rhythm(
        "twice a month: days 1 to 14 near the end of that month, the rest near the middle of the next",
        stale_days=50,
        rows=(1_000, 2_000_000),
    ),
    licence="Public domain (work of the United States government)",
    notes=(
        "A balance, not a flow: adding up the days counts the same undelivered shares again and again.",
        "It does not show who failed to deliver, why, or since when. One number covers both long and short sellers.",
        "No row means a balance of zero from 2009-07-01 on, and a balance below 10,000 shares before 2008-09-16.",
        "Between these days no row means below 10,000 shares.",
        "There it means zero only if 2008/below-10000 is covered by a document here, and /status names no refused one.",
        "The price is the close of the day before, so shares times price is an estimate. Hardly any before April 2007.",
        "The SEC replaces files without notice; what was published earlier stays readable here with as_of.",
        "A few names hold a byte of no usual charset, such as ENEL AM»RICAS (2019 to April 2020). The search finds them.",
    ),
)
