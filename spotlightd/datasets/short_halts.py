"""The dataset `short_halts`: short-sale circuit breakers, from Nasdaq's list of each trading day."""

from __future__ import annotations

from spotlightd.model.dataset import Column, Dataset, Rhythm

short_halts = Dataset(
    name="short_halts",
    title="Short-sale circuit breakers",
    publisher="Nasdaq",
    about="For each day: the securities whose price had fallen by a tenth, so that a short sale had to be above the best bid.",
    columns=(
        Column("list_date", "Date", "the day of the list"),
        Column("symbol", "LowCardinality(String)", "ticker as printed that day"),
        Column("security_name", "String", "the security's name as printed, shortened by the publisher"),
        Column("market_category", "LowCardinality(String)", "the listing market's code as printed"),
        Column("triggered_at", "DateTime64(6, 'UTC')", "when the price test began; the publisher prints New York time"),
        Column("printed_at", "DateTime64(6, 'UTC')", "when the publisher made the list; the last line, in New York time"),
    ),
    key=("list_date", "symbol", "triggered_at"),
    order=("symbol", "list_date", "triggered_at"),
    partition="intDiv(toYear(list_date), 10)",
    time="list_date",
    symbol="symbol",
    rhythm=Rhythm("every trading day, after the close", stale_days=6, rows=(0, 20_000)),
    licence="Terms of Nasdaq: for your own use",
    notes=(
        "The price test lasts to the end of the next trading day, so a trigger is in two lists: its own day's and the next one's.",
        "Count triggers by triggered_at. Counting rows counts most triggers twice.",
        "Nasdaq lists securities of all markets that it knows of; it does not promise that none is missing.",
    ),
)  # fmt: skip
