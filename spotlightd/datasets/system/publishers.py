"""System tables about publishers: how late they are, what they replace, and what they changed without a word."""

from __future__ import annotations

from spotlightd.datasets.system.table import RECORD_DAYS, SOURCE, label_column, system_table, time_column
from spotlightd.model.dataset import Column

scorecard = system_table(
    "scorecard",
    "Scorecard",
    "How each source keeps its calendar, and whether its newest document is like those before: a row for each dataset of a "
    "source, once a day and whenever something changed.",
    (
        time_column("at", "when the row was written"),
        SOURCE,
        label_column("dataset", "the dataset"),
        Column("late", "String", "the newest slice that is due, if it is not here; else empty"),
        Column("late_days", "UInt32", "for how many days it has been due", unit="days"),
        Column("delay_days", "Nullable(Float64)", "how long after its due day the newest slice was published here; negative when earlier", unit="days"),
        Column("usual_delay_days", "Nullable(Float64)", "the median of the twenty slices before it", unit="days"),
        Column("missing", "Array(String)", "slices that were due in the last 90 days and are not here"),
        Column("restated", "UInt32", "documents of the last 90 days that replaced another version of the same slice", unit="documents"),
        Column("refused", "UInt32", "addresses whose document is refused now", unit="documents"),
        Column("newest", "String", "what the newest document covers whose period is over"),
        Column("rows", "UInt64", "its rows", unit="rows"),
        Column("least_rows", "UInt64", "the fewest rows of the documents of its kind before it, up to twenty", unit="rows"),
        Column("most_rows", "UInt64", "the most rows of them", unit="rows"),
        Column("rejects", "UInt64", "its lines that could not be read", unit="lines"),
        Column("newly_empty", "Array(String)", "columns that are empty in it and were not before"),
        Column("changed", "Array(String)", "columns whose values are of another kind or size than before"),
    ),
    order=("source", "dataset", "at"),
    partition="toYYYYMM(at)",
    hot_days=RECORD_DAYS,
    rhythm="once a day, and with every change",
)  # fmt: skip

quiet_changes = system_table(
    "quiet_changes",
    "Quiet changes",
    "What a publisher changed in its documents without changing their form: a column that became empty, values of another "
    "size, kind or spelling, far more or fewer rows. Values of before and after stand side by side.",
    (
        time_column("at", "when the change was noticed"),
        SOURCE,
        label_column("dataset", "the dataset"),
        Column("load_id", "UInt64", "the load of the first document in which it was noticed"),
        Column("covers", "String", "what that document covers"),
        label_column("kind", "rows, newly empty, newly filled, share, size or length"),
        label_column("column", "the column; empty when the document as a whole is another"),
        Column("says", "String", "what changed, in a sentence"),
        Column("now", "Array(String)", "values of that document, chosen by chance"),
        Column("before", "Array(String)", "values of the document before it, chosen by chance"),
        Column("document", "FixedString(64)", "SHA-256 of that document"),
        Column("document_before", "FixedString(64)", "SHA-256 of the document before it"),
    ),
    order=("source", "dataset", "load_id", "column", "kind"),
    partition="toYYYYMM(at)",
    hot_days=RECORD_DAYS,
    rhythm="when a publisher changes something",
)
