"""The dataset `short_volume`, which FINRA and the exchanges of NYSE feed with one small file a day for each facility.

A volume is Decimal(18, 6): FINRA has printed six decimals since fractions of shares are reported (2026), whole numbers
before, and no volume of a day comes near 10^12 shares.
"""

from __future__ import annotations

from spotlightd.model.dataset import Column, Dataset, Rhythm

short_volume = Dataset(
    name="short_volume",
    title="Daily short volume",
    publisher="FINRA and the exchanges of the NYSE group",
    about="For each day, security and facility: the volume that was traded there, and how much of it was sold short.",
    columns=(
        Column("trade_date", "Date", "the day of the trades"),
        Column(
            "facility",
            "LowCardinality(String)",
            "whose file the row is from: FNSQ and FNQC (FINRA/Nasdaq, Carteret and Chicago), FNYX (FINRA/NYSE), FNRA "
            "(alternative display facility), FORF (over the counter), CNMS (FINRA's sum of FNSQ, FNQC, FNYX and FNRA), or "
            "an exchange: NYSE, ARCA, AMEX, CHICAGO, NATIONAL, TEXAS",
        ),
        Column("symbol", "LowCardinality(String)", "ticker as printed that day; publishers separate share classes differently"),
        Column("short_volume", "Decimal(18, 6)", "sold short in regular hours, exempt sales included", unit="shares"),
        Column(
            "short_exempt_volume",
            "Nullable(Decimal(18, 6))",
            "sold short and marked exempt from the price test; empty in files without this column",
            unit="shares",
        ),
        Column("total_volume", "Decimal(18, 6)", "all volume that the facility reported for the security", unit="shares"),
        Column("market", "LowCardinality(String)", "market codes as printed, several with commas; N means NYSE in a file of NYSE, and FINRA/NYSE in one of FINRA"),
    ),
    key=("trade_date", "facility", "symbol"),
    order=("symbol", "facility", "trade_date"),
    partition="intDiv(toYear(trade_date), 10)",
    time="trade_date",
    symbol="symbol",
    apart="facility",
    rhythm=Rhythm("every trading day: FINRA in the evening, NYSE during the night", stale_days=6, rows=(0, 100_000)),
    licence="Terms of the publishers: for your own, non-commercial use",
    notes=(
        "Short volume is a flow of one day, not a position: most of it is closed again the same day by market makers.",
        "Never add CNMS to FNSQ, FNQC, FNYX or FNRA: it is their sum. No page adds up rows of different facilities.",
        "FNSQ, FNQC, FNYX, FNRA, FORF and the exchanges report different trades: these can be added up, if none is missing that day.",
        "FINRA's files hold trades off the exchanges only. Nasdaq's and Cboe's own exchanges are in none of these files.",
        "No row means that the facility reported no trade of the security, if it has a document for the day.",
    ),
)  # fmt: skip
