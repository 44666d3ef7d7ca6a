"""The datasets of the Consolidated Audit Trail's monthly reports: error rates, and counts of records.

Each number of a table is a row, so that each leads to the cell it was read from. A report repeats the days of earlier ones
with later corrections. All are kept: `report_date` tells them apart.
"""

from __future__ import annotations

from spotlightd.model.dataset import CELLS, Column, Dataset, Rhythm

NAME = "LowCardinality(String)"
PLACE = Column(
    "cell",
    "Array(Float64)",
    "place of the cell on its page: left, top, right, bottom from the top left",
    unit="points (1/72 inch)",
)
PRINTED = Column("printed", "String", "the number as printed")
PUBLISHER = "Consolidated Audit Trail, LLC (FINRA CAT)"
RHYTHM = Rhythm("once a month, on a day that is not fixed", stale_days=75, rows=(0, 100_000))
LICENCE = "The publisher's own terms: for the operator's own use"
NOTES = (
    "Each report repeats days of earlier ones with later corrections. Take one report_date for each day: the newest.",
    "Initial is the rate on the day that records were due; adjusted counts what was corrected since.",
    "A record that is late and has an error too counts once in the overall rate, so the kinds do not add up to it.",
    "The numbers are read from tables of a PDF by two independent programs. Where they differ, there is a reject and no row.",
)

cat_error_rates = Dataset(
    name="cat_error_rates",
    title="CAT error rates",
    publisher=PUBLISHER,
    about="For each trading day: which share of the records that brokers sent to the Consolidated Audit Trail was late or wrong.",
    columns=(
        Column("trade_date", "Date", "the day that the records are about"),
        Column("product", NAME, "equities or options"),
        Column("error", NAME, "late, rejection, intrafirm, interfirm_sent, interfirm_received, exchange, trade or overall"),
        Column("stage", NAME, "initial, or adjusted after corrections; empty where the report has one rate only"),
        Column("report_date", "Date", "the day of the report, by its name"),
        Column("rate", "Nullable(Decimal(9, 4))", "share of records with that error; empty where the report prints none", unit="percent"),
        PRINTED,
        PLACE,
    ),
    key=("trade_date", "product", "error", "stage", "report_date"),
    order=("product", "error", "stage", "trade_date", "report_date"),
    time="report_date",
    pointer=CELLS,
    rhythm=RHYTHM,
    licence=LICENCE,
    notes=NOTES,
)  # fmt: skip

cat_record_counts = Dataset(
    name="cat_record_counts",
    title="CAT record counts",
    publisher=PUBLISHER,
    about="For each trading day: how many records the Consolidated Audit Trail processed, accepted, and found late or wrong.",
    columns=(
        Column("trade_date", "Date", "the day that the records are about"),
        Column("product", NAME, "equities or options"),
        Column("kind", NAME, "processed, accepted, late or errors"),
        Column("report_date", "Date", "the day of the report, by its name"),
        Column("records", "Nullable(UInt64)", "number of records; empty where the report prints none", unit="records"),
        PRINTED,
        PLACE,
    ),
    key=("trade_date", "product", "kind", "report_date"),
    order=("product", "kind", "trade_date", "report_date"),
    time="report_date",
    pointer=CELLS,
    rhythm=RHYTHM,
    licence=LICENCE,
    notes=NOTES[:1] + NOTES[3:],
)  # fmt: skip
