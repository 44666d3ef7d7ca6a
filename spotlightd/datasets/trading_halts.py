"""The dataset `trading_halts`, which Nasdaq and NYSE feed. Both report halts of all markets, so most halts are there twice.

Rows of the two are not merged. They agree neither in the spelling of symbols (`BKSY.W`, `BKSY WS`) nor in the names of
reasons (`LUDP`, `LULD Pause`), Nasdaq prints thousandths of a second and NYSE whole seconds, and either may lack a halt
that the other has. `reporter` tells them apart, and no page adds them up.
"""

from __future__ import annotations

from spotlightd.model.dataset import Column, Dataset, Rhythm

trading_halts = Dataset(
    name="trading_halts",
    title="Trading halts",
    publisher="Nasdaq and NYSE",
    about="Every halt and pause of trading in a security, as Nasdaq and NYSE report them.",
    columns=(
        Column("halt_date", "Date", "the day on which the halt began, in New York"),
        Column("reporter", "LowCardinality(String)", "whose report the row is from: Nasdaq or NYSE"),
        Column("symbol", "LowCardinality(String)", "ticker as printed; the two write share classes and warrants differently"),
        Column("halted_at", "DateTime64(6, 'UTC')", "when the halt began; printed in New York time"),
        Column("reason", "LowCardinality(String)", "as printed: Nasdaq's code, such as LUDP, or NYSE's words, such as LULD Pause"),
        Column("market", "LowCardinality(String)", "the listing market, as printed"),
        Column("name", "String", "the security's name as printed"),
        Column("threshold_price", "Nullable(Decimal(18, 4))", "the price at which trading paused; printed by Nasdaq only", unit="USD"),
        Column("resume_date", "Nullable(Date)", "the day of the resumption as printed, which may be known before its time"),
        Column("quotes_resume_at", "Nullable(DateTime64(6, 'UTC'))", "when quoting resumed or was to resume; printed by Nasdaq only"),
        Column("trading_resumes_at", "Nullable(DateTime64(6, 'UTC'))", "when trading resumed or was to resume; empty while the halt is open"),
    ),
    key=("halt_date", "reporter", "symbol", "halted_at", "reason"),
    order=("symbol", "halt_date", "reporter", "halted_at"),
    partition="intDiv(toYear(halt_date), 10)",
    time="halt_date",
    symbol="symbol",
    apart="reporter",
    rhythm=Rhythm("during the day", stale_days=6, rows=(0, 50_000)),
    licence="Terms of the publishers: for your own use",
    notes=(
        "Both publishers report halts of all markets: most halts have a row of each. Count one reporter, never both.",
        "A row without trading_resumes_at was open when its document was fetched. Later documents of the day or month replace it.",
        "Nasdaq can be searched one year back, NYSE to 2020.",
    ),
)  # fmt: skip
