"""The dataset `swaps_report`: the figures of the CFTC's weekly swaps report, one row a cell."""

from __future__ import annotations

from spotlightd.model.dataset import Column, Dataset, Rhythm

swaps_report = Dataset(
    name="swaps_report",
    title="CFTC weekly swaps report",
    publisher="U.S. Commodity Futures Trading Commission",
    about="What the CFTC adds up each week from the reports of swap data repositories: notional outstanding, volumes, trades.",
    columns=(
        Column("edition", "Date", "the day of the edition, from the name of its file"),
        Column("sheet", "LowCardinality(String)", "name of the sheet"),
        Column("title", "LowCardinality(String)", "the texts above the table, where its unit is"),
        Column("section", "LowCardinality(String)", "the heading of this part of the table"),
        Column("item", "LowCardinality(String)", "what the figure is of"),
        Column("row", "UInt32", "row of the sheet"),
        Column("week", "Date", "the day that heads the column: the last day of the week"),
        Column("value", "Nullable(Decimal(38, 12))", "the figure, in the unit that the title says; null where the report says N/A"),
        Column("printed", "String", "the cell as it is in the sheet"),
    ),
    key=("edition", "sheet", "row", "week"),
    order=("sheet", "item", "week", "edition", "row"),
    partition="toYear(edition)",
    time="edition",
    rhythm=Rhythm("every week, mostly on Mondays", stale_days=21, rows=(1, 200_000)),
    licence="Public domain (United States)",
    notes=(
        "Each edition repeats the weeks before it, with later figures. Take the newest edition of a week, and do not add up editions.",
        "Tables by participant count a trade once for each side.",
        "Figures are for the week that ended about two and a half weeks before the edition.",
        "There are no editions from 2018-12-22 to 2019-01-26 and from 2024-01-26 to 2024-08-16.",
    ),
)  # fmt: skip
