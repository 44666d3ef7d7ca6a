"""Our own records as datasets: what was fetched, tried, refused and published can be read like everything else.

`documents`, `runs`, `rejects`, `gaps` and `lost_frames` are copied from the ledger, row by row under the ledger's own `id`,
and can be made again from it. `loads` is not: it is written to the warehouse first and is the truth about what is
visible. Nor are `heartbeats`, `disks` and `logs`, lost with the process that would have written them.

Old records leave for the archive like everything else, but for three: `loads` and `archives`, which every question is
asked through, and `documents`, which every receipt is: one row for a file of thousands is not worth a look at the bucket
for each number that somebody clicks on.
"""

from __future__ import annotations

from spotlightd.model.dataset import Column, Dataset, Retention, Rhythm

_ALWAYS = Rhythm("with every fetch and load", stale_days=0)
_RECORDS_DAYS = 365

documents = Dataset(
    name="documents",
    title="Documents",
    publisher="this instance",
    about="Every file that was fetched and kept, byte for byte, under its SHA-256.",
    columns=(
        Column("id", "UInt64", "number of the record"),
        Column("digest", "FixedString(64)", "SHA-256 of the bytes, hexadecimal"),
        Column("size", "UInt64", "length of the document", unit="bytes"),
        Column("source", "LowCardinality(String)", "the source that it was fetched for"),
        Column("url", "String", "the publisher's address"),
        Column(
            "via",
            "String",
            "what answered instead of the publisher, if anything did: a mirror, or a bundle of another instance",
        ),
        Column("covers", "String", "the slice of the world that it reports"),
        Column("fetched_at", "DateTime64(6, 'UTC')", "when it was fetched"),
        Column("etag", "String", "the publisher's version mark"),
        Column("last_modified", "String", "the publisher's date of change, as printed"),
        Column("media_type", "LowCardinality(String)", "the publisher's content type"),
    ),
    key=("id",),
    order=("digest", "id"),
    time="fetched_at",
    rhythm=_ALWAYS,
    by_load=False,
)

runs = Dataset(
    name="runs",
    title="Runs",
    publisher="this instance",
    about="What became of every attempt to look for, fetch and load a document, good or bad.",
    columns=(
        Column("id", "UInt64", "number of the record"),
        Column("at", "DateTime64(6, 'UTC')", "when the attempt ended"),
        Column("source", "LowCardinality(String)", "the source"),
        Column("url", "String", "the address that was asked"),
        Column("covers", "String", "the slice of the world that was asked for"),
        Column(
            "outcome",
            "LowCardinality(String)",
            "published, unchanged, refused, absent, failed, wrong body, store failed or discovered",
        ),
        Column("digest", "String", "SHA-256 of the document, when there was one"),
        Column("rows", "UInt64", "rows that it brought", unit="rows"),
        Column("rejects", "UInt64", "lines that could not be understood", unit="lines"),
        Column("bytes", "UInt64", "length of the document", unit="bytes"),
        Column("seconds", "Float64", "how long it took", unit="s"),
        Column("error", "String", "what went wrong, in a sentence"),
    ),
    key=("id",),
    order=("source", "id"),
    time="at",
    partition="toYYYYMM(at)",
    retention=Retention(hot_days=_RECORDS_DAYS),
    rhythm=_ALWAYS,
    by_load=False,
)

rejects = Dataset(
    name="rejects",
    title="Rejected lines",
    publisher="this instance",
    about="Lines of documents that could not be understood: kept with the reason, never guessed at.",
    columns=(
        Column("id", "UInt64", "number of the record"),
        Column("at", "DateTime64(6, 'UTC')", "when it was rejected"),
        Column("source", "LowCardinality(String)", "the source"),
        Column("digest", "FixedString(64)", "SHA-256 of the document"),
        Column("parser", "LowCardinality(String)", "version of the parser that refused it"),
        Column("member", "UInt16", "which file of the archive, 0 for the first"),
        Column("line", "UInt32", "which line of that file, 1 for the first"),
        Column("text", "String", "the line, cut at 2,000 characters"),
        Column("reason", "String", "why it could not be understood"),
    ),
    key=("id",),
    order=("source", "id"),
    time="at",
    partition="toYYYYMM(at)",
    retention=Retention(hot_days=_RECORDS_DAYS),
    rhythm=_ALWAYS,
    by_load=False,
)

loads = Dataset(
    name="loads",
    title="Publications",
    publisher="this instance",
    about="One row for each dataset that a load feeds: from this row on its rows are visible, and the loads that it "
    "supersedes are not. Rows of one load are written as one block; `seq` only grows.",
    columns=(
        Column("seq", "UInt64", "number of the publication; a reader is pinned to one"),
        Column("dataset", "LowCardinality(String)", "the dataset that changed"),
        Column("load_id", "UInt64", "the load that became visible"),
        Column("source", "LowCardinality(String)", "the source that brought it"),
        Column("covers", "String", "the slice of the world that the document reports"),
        Column(
            "document",
            "FixedString(64)",
            "SHA-256 of the document; for frames of a stream, of the words that name them",
        ),
        Column("parser", "LowCardinality(String)", "version of the parser, or digest of the decode"),
        Column(
            "rows", "UInt64", "rows in this dataset; 0 for a stream, which is filled after it is published", unit="rows"
        ),
        Column("rejects", "UInt64", "lines of the document that could not be understood", unit="lines"),
        Column("supersedes", "Array(UInt64)", "loads that are no longer visible from here on"),
        Column("published_at", "DateTime64(6, 'UTC')", "when it became visible; never goes back"),
        Column("derived_from", "UInt64", "the load that it was computed from; 0 for one that came from outside"),
    ),
    key=("seq", "dataset"),
    order=("dataset", "seq"),
    time="published_at",
    rhythm=_ALWAYS,
    by_load=False,
)

gaps = Dataset(
    name="gaps",
    title="Gaps",
    publisher="this instance",
    about="Spans in which messages of a stream may be missing: every disconnect, hole, full spool and crash.",
    columns=(
        Column("id", "UInt64", "number of the record"),
        Column("at", "DateTime64(6, 'UTC')", "when it was written down"),
        Column("source", "LowCardinality(String)", "the source"),
        Column("symbol", "String", "the symbol; empty when all of the source's are concerned"),
        Column("since", "DateTime64(6, 'UTC')", "the last moment before it of which something was received"),
        Column("until", "DateTime64(6, 'UTC')", "the first moment after it of which something could be received"),
        Column("cause", "LowCardinality(String)", "what happened, in a few constant words"),
        Column("says", "String", "more about it, in a sentence"),
        Column("repaired_by", "String", "what filled it since; empty when nothing did"),
    ),
    key=("id",),
    order=("source", "id"),
    time="since",
    partition="toYYYYMM(until)",  # a gap leaves when its end is old, however long it lasted
    retention=Retention(hot_days=_RECORDS_DAYS),
    rhythm=_ALWAYS,
    by_load=False,
)

lost_frames = Dataset(
    name="lost_frames",
    title="Rejected frames",
    publisher="this instance",
    about="Frames of streams that could not be decoded: kept in the frames table, listed here with the reason.",
    columns=(
        Column("id", "UInt64", "number of the record"),
        Column("at", "DateTime64(6, 'UTC')", "when it was rejected"),
        Column("source", "LowCardinality(String)", "the source"),
        Column("decode", "LowCardinality(String)", "digest of the decode that refused it"),
        Column("epoch", "UInt16", "which log of the bus"),
        Column("partition", "UInt16", "partition of the topic"),
        Column("offset", "UInt64", "offset in the partition"),
        Column("text", "String", "the frame, cut at 2,000 bytes"),
        Column("reason", "String", "why it could not be understood"),
    ),
    key=("id",),
    order=("source", "id"),
    time="at",
    partition="toYYYYMM(at)",
    retention=Retention(hot_days=_RECORDS_DAYS),
    rhythm=_ALWAYS,
    by_load=False,
)

heartbeats = Dataset(
    name="heartbeats",
    title="Heartbeats",
    publisher="this instance",
    about="What each flow was doing, written by the loop that does the work: a flow that hangs writes none.",
    columns=(
        Column("at", "DateTime64(6, 'UTC')", "when it was written"),
        Column("flow", "LowCardinality(String)", "the flow"),
        Column("beats", "UInt32", "how often its loop came round since the row before"),
        Column("expected_per_minute", "Float64", "how often it should, when nothing is wrong"),
        Column("lag", "Float64", "how far behind it is", unit="s"),
        Column("queue", "UInt64", "what waits for it", unit="items"),
        Column("last_event_at", "DateTime64(6, 'UTC')", "when it last had something to do; 1970 when never"),
        Column("state", "LowCardinality(String)", "running, waiting, holding, failed or stopped"),
        Column("error", "String", "what holds it up, in a sentence"),
    ),
    key=("flow", "at"),
    order=("flow", "at"),
    time="at",
    partition="toYYYYMM(at)",
    retention=Retention(hot_days=60),
    rhythm=_ALWAYS,
    by_load=False,
)

archives = Dataset(
    name="archives",
    title="Archive",
    publisher="this instance",
    about="One row for each time that rows of a partition began to be read from the archive instead of the warehouse "
    "(`switched`), or from the warehouse again (`withdrawn`). The newest row of a partition says where its rows are.",
    columns=(
        Column("number", "UInt64", "number of the record; it only grows"),
        Column("at", "DateTime64(6, 'UTC')", "when it was written"),
        Column("dataset", "LowCardinality(String)", "the dataset whose rows they are"),
        Column("partition", "String", "the partition: its day, month or year, and its generation"),
        Column("day", "Date", "the day that the partition holds, or the first one of its month or year"),
        Column("generation", "UInt16", "how often rows of that day were sealed before these"),
        Column("event", "LowCardinality(String)", "switched or withdrawn"),
        Column("objects", "Array(String)", "keys of the Parquet files in the bucket"),
        Column("manifest", "String", "key of the file that describes them"),
        Column("rows", "UInt64", "how many rows", unit="rows"),
        Column("bytes", "UInt64", "length of the files", unit="bytes"),
        Column("total", "UInt64", "sum of the rows' hashes, modulo 2^64"),
        Column("mixed", "UInt64", "exclusive or of the rows' hashes"),
        Column("low", "Int64", "the least of the rows' times, in the unit of its column"),
        Column("high", "Int64", "the greatest of the rows' times, in the unit of its column"),
        Column("columns", "Array(String)", "name and type of each column of the files"),
        Column("since", "DateTime64(6, 'UTC')", "the least of the rows' times"),
        Column("until", "DateTime64(6, 'UTC')", "the greatest of the rows' times"),
        Column("newest_id", "UInt64", "the greatest `id` of the rows, of copies of the ledger's records; else 0"),
    ),
    key=("number",),
    order=("dataset", "number"),
    time="at",
    rhythm=_ALWAYS,
    by_load=False,
)

disks = Dataset(
    name="disks",
    title="Disks",
    publisher="this instance",
    about="How full the file systems were: a row a minute for each, from which it is told when one will be full.",
    columns=(
        Column("at", "DateTime64(6, 'UTC')", "when it was written"),
        Column("filesystem", "LowCardinality(String)", "where the file system is mounted"),
        Column("size", "UInt64", "what may be used of it", unit="bytes"),
        Column("used", "UInt64", "what is used of it, the ballast included", unit="bytes"),
        Column("ballast", "UInt64", "what our ballast takes of it", unit="bytes"),
        Column("level", "LowCardinality(String)", "what its watermarks made of that"),
    ),
    key=("filesystem", "at"),
    order=("filesystem", "at"),
    time="at",
    partition="toYYYYMM(at)",
    retention=Retention(hot_days=60),
    rhythm=_ALWAYS,
    by_load=False,
)

logs = Dataset(
    name="logs",
    title="Log",
    publisher="this instance",
    about="What the daemon said: one row for each event, in the words of a closed list. Where events were left out, because "
    "too many came or the table could not be written, a row says how many.",
    columns=(
        Column("at", "DateTime64(6, 'UTC')", "when it was said"),
        Column("level", "LowCardinality(String)", "debug, info, warning, error or critical"),
        Column("event", "LowCardinality(String)", "what happened, in a few constant words"),
        Column("flow", "LowCardinality(String)", "the flow that said it, if it was one"),
        Column("source", "LowCardinality(String)", "the source that it is about, if any"),
        Column("load_id", "UInt64", "the load that it is about; 0 when none"),
        Column("run", "String", "mark of the attempt that it belongs to: one look for documents, or one document"),
        Column("request", "String", "mark of the page request that it belongs to, as in its header X-Request-Id"),
        Column("fields", "String", "all else that was said, as a JSON object; long texts are cut in the middle"),
        Column("process", "UInt32", "number of the daemon's process"),
        Column("started_at", "DateTime64(6, 'UTC')", "when that process began to keep what it says"),
        Column("seq", "UInt64", "how many events the process had said by then; jumps where some were left out"),
    ),
    key=("at", "started_at", "seq"),
    order=("at", "started_at", "seq"),
    time="at",
    partition="toYYYYMMDD(at)",
    retention=Retention(hot_days=30),
    rhythm=_ALWAYS,
    by_load=False,
)

SYSTEM_DATASETS = (documents, runs, rejects, loads, gaps, lost_frames, heartbeats, archives, logs, disks)
MIRRORED = (documents, runs, rejects, gaps, lost_frames)
