"""System tables that are copied from the ledger, row by row under the ledger's own `id`. They can be copied again.

`documents` never leaves the warehouse, because every receipt is read through it: one row for a file of thousands is not
worth reading the bucket for each receipt that somebody opens.
"""

from __future__ import annotations

from spotlightd.datasets.system.table import ID, RECORD_DAYS, SOURCE, label_column, system_table, time_column
from spotlightd.model.dataset import Column

documents = system_table(
    "documents",
    "Documents",
    "Every file that was fetched and stored, byte for byte, under its SHA-256.",
    (
        ID,
        Column("digest", "FixedString(64)", "SHA-256 of the bytes, hexadecimal"),
        Column("size", "UInt64", "length of the document", unit="bytes"),
        label_column("source", "the source that it was fetched for"),
        Column("url", "String", "the publisher's address"),
        Column("via", "String", "what answered instead of the publisher: a mirror, or a bundle of another instance; else empty"),
        Column("covers", "String", "what the document reports, from coarse to fine, such as 2021/01/b"),
        time_column("fetched_at", "when it was fetched"),
        Column("etag", "String", "the publisher's ETag header"),
        Column("last_modified", "String", "the publisher's Last-Modified header, as sent"),
        label_column("media_type", "the publisher's content type"),
    ),
    key=("id",),
    order=("digest", "id"),
    time="fetched_at",
    rhythm="with every fetch and load",
)  # fmt: skip

runs = system_table(
    "runs",
    "Runs",
    "The outcome of every attempt to look for, fetch and load a document, successful or not.",
    (
        ID,
        time_column("at", "when the attempt ended"),
        SOURCE,
        Column("url", "String", "the requested address"),
        Column("covers", "String", "what the document reports, from coarse to fine, such as 2021/01/b"),
        label_column(
            "outcome",
            "published, unchanged, covered (a document for a larger slice has it), refused, absent, archived, failed, wrong body, "
            "store failed, or discovered for a look that listed the documents",
        ),
        Column("digest", "String", "SHA-256 of the document; empty when there was none"),
        Column("rows", "UInt64", "rows of the document", unit="rows"),
        Column("rejects", "UInt64", "lines that are not loaded", unit="lines"),
        Column("bytes", "UInt64", "length of the document", unit="bytes"),
        Column("seconds", "Float64", "how long the attempt took", unit="s"),
        Column("error", "String", "what went wrong, in a sentence"),
    ),
    key=("id",),
    order=("source", "id"),
    partition="toYYYYMM(at)",
    hot_days=RECORD_DAYS,
    rhythm="with every fetch and load",
)

rejects = system_table(
    "rejects",
    "Rejected lines",
    "Lines of documents that are not loaded, each with the reason: they could not be read, or report a day of another "
    "document.",
    (
        ID,
        time_column("at", "when the line was rejected"),
        SOURCE,
        Column("digest", "FixedString(64)", "SHA-256 of the document"),
        label_column("parser", "version of the parser that rejected the line"),
        Column("member", "UInt16", "file within the document, 0 for the first or only one"),
        Column("line", "UInt32", "line of that file, 1 for the first"),
        Column("text", "String", "the line, cut at 2,000 characters"),
        Column("reason", "String", "why the line is not loaded"),
    ),
    key=("id",),
    order=("source", "id"),
    partition="toYYYYMM(at)",
    hot_days=RECORD_DAYS,
    rhythm="with every fetch and load",
)

gaps = system_table(
    "gaps",
    "Gaps",
    "Spans in which messages of a stream may be missing: every disconnect, missing number, full spool and crash.",
    (
        ID,
        time_column("at", "when the gap was recorded"),
        SOURCE,
        Column("symbol", "String", "the symbol; empty when all symbols of the source are affected"),
        time_column("since", "the last moment before the gap at which something was received"),
        time_column("until", "the first moment after the gap at which something could be received"),
        label_column("cause", "the kind of event that caused the gap"),
        Column("says", "String", "more about the cause, in a sentence"),
        Column("repaired_by", "String", "what has filled the gap since; empty when nothing has"),
    ),
    key=("id",),
    order=("source", "id"),
    time="since",
    partition="toYYYYMM(until)",  # a gap is archived when its end is old, however long it lasted
    hot_days=RECORD_DAYS,
)

lost_frames = system_table(
    "lost_frames",
    "Rejected frames",
    "Frames of streams that could not be decoded: stored in the frames table, listed here with the reason.",
    (
        ID,
        time_column("at", "when the frame was rejected"),
        SOURCE,
        label_column("decode", "digest of the decode that rejected the frame"),
        Column("epoch", "UInt16", "log of the bus: it grows by 1 when the topic was lost or created again"),
        Column("partition", "UInt16", "partition of the topic"),
        Column("offset", "UInt64", "offset in the partition"),
        Column("text", "String", "the frame, cut at 2,000 bytes"),
        Column("reason", "String", "why the frame could not be decoded"),
    ),
    key=("id",),
    order=("source", "id"),
    partition="toYYYYMM(at)",
    hot_days=RECORD_DAYS,
)

MIRRORED = (documents, runs, rejects, gaps, lost_frames)
