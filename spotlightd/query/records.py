"""Queries of the instance's own records, and the few of a dataset that are not a table page. Pure: SQL and values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from spotlightd.datasets import system
from spotlightd.model.dataset import Dataset
from spotlightd.model.source import list_wholes
from spotlightd.query.select import Query
from spotlightd.sql.tiers import Span
from spotlightd.sql.visibility import (
    Snapshot,
    hot_rows,
    superseded_loads,
    table_expression,
    visible_condition,
    visible_load_condition,
)

LOAD_COLUMNS = (
    "load_id, seq, dataset, document, parser, source, covers, rows, rejects, supersedes, published_at, derived_from"
)
FAILED_OUTCOMES = ("refused", "failed", "wrong body", "store failed")
MOST_LINES = 200
CLOCK_TOLERANCE = timedelta(days=1)


def dataset_sizes(datasets: Sequence[Dataset], snapshot: Snapshot) -> Query:
    """For each dataset: visible rows, documents, and the time of the newest publication. One visible load is one document."""
    parts = [
        f"SELECT dataset, sum(rows), count(), max(published_at) FROM loads WHERE dataset = '{dataset.name}' "
        f"AND seq <= {{seq:UInt64}} AND load_id NOT IN ({superseded_loads(dataset)}) GROUP BY dataset"
        for dataset in datasets
    ]
    return Query(" UNION ALL ".join(parts), {"seq": snapshot.seq})


def stream_size(dataset: Dataset, snapshot: Snapshot) -> Query:
    """For a dataset that streams fill: rows in its table, days of receipt, time of the newest publication, first and last
    day. Counting the table costs nothing, counting visible rows would read all of it; the days come from the loads.
    """
    archived_rows = sum(partition.rows for partition in snapshot.archived.of_dataset(dataset.name))
    filled = dataset.computed_from or dataset.name
    sql = (
        f"SELECT (SELECT count() FROM {hot_rows(dataset, snapshot.archived)}) + {archived_rows:d}, "
        "uniqExact(substring(covers, 1, 10)), max(published_at), "
        f"min(substring(covers, 1, 10)), max(substring(covers, 1, 10)) FROM loads WHERE dataset = '{filled}' "
        f"AND seq <= {{seq:UInt64}} AND load_id NOT IN (SELECT arrayJoin(supersedes) FROM loads WHERE dataset = "
        f"'{filled}' AND seq <= {{seq:UInt64}})"
    )
    return Query(sql, {"seq": snapshot.seq})


def unarchived_rows(dataset: Dataset, snapshot: Snapshot) -> str:
    """The text after FROM on the first page: rows that are not archived. A page as of an earlier time reads all rows,
    because the index does not record what had been published by then.
    """
    return table_expression(dataset, snapshot) if snapshot.as_of else hot_rows(dataset, snapshot.archived)


def unarchived_days(dataset: Dataset, snapshot: Snapshot) -> Query:
    """First and last day of the rows that are not archived; null without rows."""
    day = f"toDate(`{dataset.time}`)"
    sql = f"SELECT minOrNull({day}), maxOrNull({day}) FROM {unarchived_rows(dataset, snapshot)} WHERE {visible_condition(dataset)}"
    return Query(sql, {"seq": snapshot.seq})


def unarchived_load_rows(dataset: Dataset, load_id: int, snapshot: Snapshot) -> Query:
    """How many rows of that load are not archived."""
    sql = f"SELECT count() FROM {unarchived_rows(dataset, snapshot)} WHERE load_id = {load_id:d}"
    return Query(sql)


def latest_loads(snapshot: Snapshot, limit: int) -> Query:
    sql = f"SELECT {LOAD_COLUMNS} FROM loads WHERE seq <= {{seq:UInt64}} ORDER BY seq DESC, dataset LIMIT {limit:d}"
    return Query(sql, {"seq": snapshot.seq})


def newest_slice(dataset: Dataset, snapshot: Snapshot) -> Query:
    """The visible load that covers the newest period."""
    sql = (
        f"SELECT {LOAD_COLUMNS} FROM loads WHERE dataset = '{dataset.name}' AND seq <= {{seq:UInt64}} "
        f"AND {visible_load_condition(dataset)} ORDER BY covers DESC, seq DESC LIMIT 1"
    )
    return Query(sql, {"seq": snapshot.seq})


def loads_of(dataset: Dataset, load_ids: Sequence[int]) -> Query:
    """These loads and the loads that superseded them, oldest first."""
    sql = (
        f"SELECT {LOAD_COLUMNS} FROM loads WHERE dataset = {{dataset:String}} "
        "AND (load_id IN {ids:Array(UInt64)} OR hasAny(supersedes, {ids:Array(UInt64)})) ORDER BY seq"
    )
    return Query(sql, {"dataset": dataset.name, "ids": list(load_ids)})


def loads_from(digest: str) -> Query:
    sql = f"SELECT {LOAD_COLUMNS} FROM loads WHERE document = {{digest:String}} ORDER BY seq"
    return Query(sql, {"digest": digest})


def superseders(digest: str) -> Query:
    """Publications that made rows of that document invisible."""
    sql = (
        f"SELECT {LOAD_COLUMNS} FROM loads WHERE hasAny(supersedes, "
        "(SELECT groupArray(load_id) FROM loads WHERE document = {digest:String})) ORDER BY seq"
    )
    return Query(sql, {"digest": digest})


def neighbours(load: Mapping[str, Any]) -> Query:
    """The documents of the slices before and after that of a load, of the same source: a report's earlier and later vintage."""
    sql = "SELECT " + ", ".join(
        f"arg{end}If(document, (covers, seq), covers {than} {{covers:String}}) AS {name}"
        for name, end, than in (("before", "Max", "<"), ("after", "Min", ">"))
    )
    sql += " FROM loads WHERE dataset = {dataset:String} AND source = {source:String}"
    return Query(sql, {name: load[name] for name in ("covers", "dataset", "source")})


def documents(digest: str) -> Query:
    sql = (
        "SELECT digest, size, source, url, via, covers, fetched_at, etag, last_modified, media_type FROM documents "
        "WHERE digest = {digest:String} ORDER BY id"
    )
    return Query(sql, {"digest": digest})


def rejects(digest: str, fetched: datetime | None, snapshot: Snapshot) -> Query:
    """Rejected lines of the document, of all times; `fetched` is when it was first fetched."""
    sql = (
        f"SELECT member, line, parser, text, reason FROM {table_expression(system.rejects, snapshot, _since(fetched))} "
        f"WHERE digest = {{digest:String}} ORDER BY id LIMIT {MOST_LINES + 1:d}"
    )
    return Query(sql, {"digest": digest})


def runs(digest: str, fetched: datetime | None, snapshot: Snapshot) -> Query:
    """Attempts with the document, of all times; `fetched` is when it was first fetched."""
    sql = (
        "SELECT at, source, url, covers, outcome, rows, rejects, seconds, error "
        f"FROM {table_expression(system.runs, snapshot, _since(fetched))} "
        f"WHERE digest = {{digest:String}} ORDER BY id LIMIT {MOST_LINES:d}"
    )
    return Query(sql, {"digest": digest})


def _since(fetched: datetime | None) -> Span:
    """The time of the records of a document: they are younger than the document, within CLOCK_TOLERANCE for a clock that
    was set. So the archive is not read for a new document.
    """
    return Span({"at": (fetched - CLOCK_TOLERANCE if fetched else None, None)})


def failed_runs(limit: int, snapshot: Snapshot) -> Query:
    """The last failed attempts that are not archived."""
    sql = (
        f"SELECT at, source, url, covers, outcome, digest, error FROM {hot_rows(system.runs, snapshot.archived)} "
        f"WHERE outcome IN {FAILED_OUTCOMES} ORDER BY at DESC, id DESC LIMIT {limit:d}"
    )
    return Query(sql)


def publications_by_source(due: Mapping[str, str]) -> Query:
    """By source: last publication, newest slice that was ever published, number of loads, and whether the slice that is
    due was ever published, itself or in a larger one. `due` is that slice, by source.
    """
    published_when_due = [f"{source} {whole}" for source, covers in due.items() for whole in list_wholes(covers)]
    is_due_published = "max(has({published_when_due:Array(String)}, concat(source, ' ', covers)))"
    sql = f"SELECT source, max(published_at), max(covers), uniqExact(load_id), {is_due_published} FROM loads GROUP BY source"
    return Query(sql, {"published_when_due": published_when_due})


def last_runs(snapshot: Snapshot) -> Query:
    """By source: the last attempt that is not archived. Every active source has one of the last days."""
    table = hot_rows(system.runs, snapshot.archived)
    return Query(f"SELECT source, max(at), argMax(outcome, id), argMax(error, id) FROM {table} GROUP BY source")


def refused_documents(snapshot: Snapshot) -> Query:
    """By source: how many addresses have a document that is refused, and the newest of the reasons."""
    table = hot_rows(system.runs, snapshot.archived)
    newest = (
        f"SELECT source, argMax(outcome, id) AS last_outcome, argMax(error, id) AS reason, max(id) AS newest FROM {table} "
        "WHERE covers != '' AND outcome != 'unchanged' GROUP BY source, url"
    )
    return Query(
        f"SELECT source, count(), argMax(reason, newest) FROM ({newest}) WHERE last_outcome = 'refused' GROUP BY source"
    )


def part_sizes() -> Query:
    """By table: rows, bytes on the disk, and the days of its partitions where they have days; the largest first."""
    first, last = (
        "if(min_date > '1970-01-01', min_date, toDate(min_time))",
        "if(max_date > '1970-01-01', max_date, toDate(max_time))",
    )
    sql = (
        f"SELECT table, sum(rows), sum(bytes_on_disk), minOrNullIf({first}, {first} > '1970-01-01'),"
        f" maxOrNullIf({last}, {last} > '1970-01-01') FROM system.parts WHERE database = currentDatabase() AND active"
        " GROUP BY table ORDER BY sum(bytes_on_disk) DESC, table"
    )
    return Query(sql)


def documents_size() -> Query:
    """Bytes of all stored documents, each counted once."""
    return Query("SELECT sum(bytes) FROM (SELECT max(size) AS bytes FROM documents GROUP BY digest)")


def versions(dataset: Dataset, key: Sequence[str], types: Sequence[str], snapshot: Snapshot) -> Query:
    """Every row with that key that was ever published, visible or not. A computed row is only read as of `seq`."""
    same = " AND ".join(
        f"`{name}` = {{k{index}:{kind}}}" for index, (name, kind) in enumerate(zip(dataset.key, types, strict=True))
    )
    columns = ", ".join(f"`{column.name}`" for column in dataset.readable)
    known = "load_id IN (SELECT load_id FROM loads WHERE dataset = {dataset:String})" if dataset.has_receipts else "1"
    order = ", ".join(["load_id", *(column.name for column in dataset.pointer)]) if dataset.has_receipts else "1"
    sql = f"SELECT {columns} FROM {table_expression(dataset, snapshot)} WHERE {same} AND {known} ORDER BY {order} LIMIT {MOST_LINES:d}"
    params = {f"k{index}": value for index, value in enumerate(key)}
    return Query(sql, {**params, **({"dataset": dataset.name, "seq": snapshot.seq} if dataset.by_load else {})})
