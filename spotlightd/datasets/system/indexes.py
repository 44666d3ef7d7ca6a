"""System tables that every query depends on: which loads are visible, which rows of them are repeated, and which partitions
are in the archive.

They are written to the warehouse first and are the only record of what is visible, so they never leave it.
"""

from __future__ import annotations

from spotlightd.datasets.system.table import label_column, system_table, time_column
from spotlightd.model.dataset import Column

loads = system_table(
    "loads",
    "Publications",
    "One row for each dataset that a load feeds. From this row on the rows of the load are visible, and the loads that "
    "it supersedes are not. Rows of one load are written as one block; `seq` only grows.",
    (
        Column("seq", "UInt64", "number of the publication; a reader sees the state after one of them"),
        label_column("dataset", "the dataset that changed"),
        Column("load_id", "UInt64", "the load that became visible"),
        label_column("source", "the source of the load"),
        Column("covers", "String", "what the document reports, from coarse to fine, such as 2021/01/b"),
        Column("document", "FixedString(64)", "SHA-256 of the document; for frames of a stream, of the text that names them"),
        label_column("parser", "version of the parser, or digest of the decode"),
        Column("rows", "UInt64", "rows in this dataset; 0 for a stream, which is filled after it is published", unit="rows"),
        Column("rejects", "UInt64", "lines of the document that could not be parsed", unit="lines"),
        Column("supersedes", "Array(UInt64)", "loads that are no longer visible from here on"),
        time_column("published_at", "when it became visible; never goes back"),
        Column("derived_from", "UInt64", "the load that it was computed from; 0 for one that came from outside"),
    ),
    key=("seq", "dataset"),
    order=("dataset", "seq"),
    time="published_at",
    rhythm="with every publication",
)  # fmt: skip

hidden_rows = system_table(
    "hidden_rows",
    "Repeated rows",
    "Rows whose key another document has too, in a dataset where such a key counts once. A row is hidden while the load "
    "`by_load` is visible. Nothing of it is lost: the line is in its document, and the row in its table.",
    (
        label_column("dataset", "the dataset of the row"),
        Column("load_id", "UInt64", "the load of the row that is hidden"),
        Column("member", "UInt16", "file within its document"),
        Column("line", "UInt32", "line of that file"),
        Column("by_load", "UInt64", "the load that has the row with the same key that is read instead"),
        time_column("at", "when the two were compared"),
    ),
    key=("dataset", "load_id", "member", "line", "by_load"),
    order=("dataset", "by_load", "load_id", "member", "line"),
    rhythm="when a document repeats keys of another one",
)

archives = system_table(
    "archives",
    "Archive",
    "One row each time that rows of a partition began to be read from the archive instead of the warehouse (`switched`), "
    "or from the warehouse again (`withdrawn`). The newest row of a partition shows where its rows are.",
    (
        Column("number", "UInt64", "number of the record; it only grows"),
        time_column("at", "when the record was written"),
        label_column("dataset", "the dataset of the rows"),
        Column("partition", "String", "the partition: its day, month, year or decade, and its generation"),
        Column("day", "Date", "the day of the partition, or the first day of its month, year or decade"),
        Column("generation", "UInt16", "how often rows of that day were sealed before these"),
        label_column("event", "switched or withdrawn"),
        Column("objects", "Array(String)", "keys of the Parquet files in the bucket"),
        Column("manifest", "String", "key of the file that describes them"),
        Column("rows", "UInt64", "number of rows", unit="rows"),
        Column("bytes", "UInt64", "length of the files", unit="bytes"),
        Column("total", "UInt64", "sum of the hashes of the rows, modulo 2^64"),
        Column("mixed", "UInt64", "exclusive or of the hashes of the rows"),
        Column("low", "Int64", "the least time of the rows, in the unit of its column"),
        Column("high", "Int64", "the greatest time of the rows, in the unit of its column"),
        Column("columns", "Array(String)", "name and type of each column of the files"),
        time_column("since", "the least time of the rows"),
        time_column("until", "the greatest time of the rows"),
        Column("newest_id", "UInt64", "the greatest `id` of the rows, for copies of the ledger's records; else 0"),
    ),
    key=("number",),
    order=("dataset", "number"),
)
