"""Questions to the house's own records, and the few to a dataset that are no table page. Pure: text and bound values."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from spotlightd.datasets import system
from spotlightd.model.dataset import Dataset
from spotlightd.query.select import Query
from spotlightd.sql.tiers import Span
from spotlightd.sql.visibility import Snapshot, hot_rows, published_condition, table_expression, visible_condition

LOAD_COLUMNS = (
    "load_id, seq, dataset, document, parser, source, covers, rows, rejects, supersedes, published_at, derived_from"
)
FAILED_OUTCOMES = ("refused", "failed", "wrong body", "store failed")
MOST_LINES = 200
CLOCK_TOLERANCE = timedelta(days=1)


def dataset_sizes(datasets: Sequence[Dataset], pin: Snapshot) -> Query:
    """For each dataset: visible rows, documents, and when the newest publication was."""
    parts = [
        f"SELECT dataset, sum(rows), uniqExact(document), max(published_at) FROM loads WHERE dataset = '{one.name}' "
        f"AND seq <= {{seq:UInt64}} AND {published_condition(one)} GROUP BY dataset"
        for one in datasets
    ]
    return Query(" UNION ALL ".join(parts), {"seq": pin.seq})


def stream_size(dataset: Dataset, pin: Snapshot) -> Query:
    """Of a dataset that streams fill: rows in its table, received days, when the newest publication was, first and last
    day. Counting the table costs nothing, counting what is visible would read all of it; days are told by the loads.
    """
    fed, archived = dataset.computed_from or dataset.name, pin.archived.of_dataset(dataset.name)
    sql = (
        f"SELECT (SELECT count() FROM {hot_rows(dataset, pin.archived)}) + {sum(one.rows for one in archived):d}, uniqExact(substring(covers, 1, 10)), max(published_at), "
        f"min(substring(covers, 1, 10)), max(substring(covers, 1, 10)) FROM loads WHERE dataset = {{dataset:String}} "
        f"AND seq <= {{seq:UInt64}} AND load_id NOT IN (SELECT arrayJoin(supersedes) FROM loads WHERE dataset = "
        f"{{dataset:String}} AND seq <= {{seq:UInt64}})"
    )
    return Query(sql, {"dataset": fed, "seq": pin.seq})


def unarchived_rows(dataset: Dataset, pin: Snapshot) -> str:
    """What stands behind FROM on the first page: what has not left for the archive. Only who looks at an earlier time
    reads all of it: the index does not tell what had been published by then.
    """
    return table_expression(dataset, pin) if pin.as_of else hot_rows(dataset, pin.archived)


def unarchived_days(dataset: Dataset, pin: Snapshot) -> Query:
    """First and last day of what is at hand, none for none."""
    day = f"toDate(`{dataset.time}`)"
    sql = f"SELECT minOrNull({day}), maxOrNull({day}) FROM {unarchived_rows(dataset, pin)} WHERE {visible_condition(dataset)}"
    return Query(sql, {"seq": pin.seq})


def unarchived_load_rows(dataset: Dataset, load_id: int, pin: Snapshot) -> Query:
    sql = f"SELECT count() FROM {unarchived_rows(dataset, pin)} WHERE load_id = {{load:UInt64}}"
    return Query(sql, {"load": load_id})


def latest_loads(pin: Snapshot, limit: int) -> Query:
    sql = f"SELECT {LOAD_COLUMNS} FROM loads WHERE seq <= {{seq:UInt64}} ORDER BY seq DESC, dataset LIMIT {limit:d}"
    return Query(sql, {"seq": pin.seq})


def newest_slice(dataset: Dataset, pin: Snapshot) -> Query:
    """The visible load that reports the newest slice of the world."""
    sql = (
        f"SELECT {LOAD_COLUMNS} FROM loads WHERE dataset = {{dataset:String}} AND seq <= {{seq:UInt64}} "
        f"AND {visible_condition(dataset)} ORDER BY covers DESC, seq DESC LIMIT 1"
    )
    return Query(sql, {"dataset": dataset.name, "seq": pin.seq})


def loads_of(dataset: Dataset, load_ids: Sequence[int]) -> Query:
    """Those loads and the loads that superseded them, oldest first."""
    sql = (
        f"SELECT {LOAD_COLUMNS} FROM loads WHERE dataset = {{dataset:String}} "
        "AND (load_id IN {ids:Array(UInt64)} OR hasAny(supersedes, {ids:Array(UInt64)})) ORDER BY seq"
    )
    return Query(sql, {"dataset": dataset.name, "ids": list(load_ids)})


def loads_from(digest: str) -> Query:
    sql = f"SELECT {LOAD_COLUMNS} FROM loads WHERE document = {{digest:String}} ORDER BY seq"
    return Query(sql, {"digest": digest})


def superseders(digest: str) -> Query:
    """Publications after which rows of that document are no longer visible."""
    sql = (
        f"SELECT {LOAD_COLUMNS} FROM loads WHERE hasAny(supersedes, "
        "(SELECT groupArray(load_id) FROM loads WHERE document = {digest:String})) ORDER BY seq"
    )
    return Query(sql, {"digest": digest})


def documents(digest: str) -> Query:
    sql = (
        "SELECT digest, size, source, url, via, covers, fetched_at, etag, last_modified, media_type FROM documents "
        "WHERE digest = {digest:String} ORDER BY id"
    )
    return Query(sql, {"digest": digest})


def rejects(digest: str, fetched: datetime | None, pin: Snapshot) -> Query:
    """Lines of the document that were refused, of all times; `fetched` is when it first came."""
    sql = (
        f"SELECT member, line, parser, text, reason FROM {table_expression(system.rejects, pin, _since(fetched))} "
        f"WHERE digest = {{digest:String}} ORDER BY id LIMIT {MOST_LINES + 1:d}"
    )
    return Query(sql, {"digest": digest})


def runs(digest: str, fetched: datetime | None, pin: Snapshot) -> Query:
    """What was tried with the document, at all times; `fetched` is when it first came."""
    sql = (
        "SELECT at, source, url, covers, outcome, rows, rejects, seconds, error "
        f"FROM {table_expression(system.runs, pin, _since(fetched))} "
        f"WHERE digest = {{digest:String}} ORDER BY id LIMIT {MOST_LINES:d}"
    )
    return Query(sql, {"digest": digest})


def _since(fetched: datetime | None) -> Span:
    """What is recorded of a document is recorded when it is there, give or take what a clock was set by: so nobody looks
    into the archive for a new one.
    """
    return Span({"at": (fetched - CLOCK_TOLERANCE if fetched else None, None)})


def failed_runs(limit: int, pin: Snapshot) -> Query:
    """The last attempts that went wrong, of those that have not left for the archive."""
    sql = (
        f"SELECT at, source, url, covers, outcome, digest, error FROM {hot_rows(system.runs, pin.archived)} "
        f"WHERE outcome IN {FAILED_OUTCOMES} ORDER BY at DESC, id DESC LIMIT {limit:d}"
    )
    return Query(sql)


def publications_by_source() -> Query:
    """By source: last publication, the slices that were ever published, and how many loads."""
    sql = "SELECT source, max(published_at), groupUniqArray(covers), uniqExact(load_id) FROM loads GROUP BY source"
    return Query(sql)


def last_runs(pin: Snapshot) -> Query:
    """By source: the last attempt, if it has not left for the archive. Whoever is looked at has one of the last days."""
    table = hot_rows(system.runs, pin.archived)
    return Query(f"SELECT source, max(at), argMax(outcome, id), argMax(error, id) FROM {table} GROUP BY source")


def part_sizes() -> Query:
    """By table: rows, bytes on the disk, and the days of its partitions where they tell them; the largest first."""
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
    """Bytes of all documents that are kept, each once."""
    return Query("SELECT sum(bytes) FROM (SELECT max(size) AS bytes FROM documents GROUP BY digest)")


def versions(dataset: Dataset, key: Sequence[str], types: Sequence[str], pin: Snapshot) -> Query:
    """Every row of that key that was ever published, visible or not; of a computed one what it is at `seq`."""
    same = " AND ".join(
        f"`{name}` = {{k{at}:{kind}}}" for at, (name, kind) in enumerate(zip(dataset.key, types, strict=True))
    )
    columns = ", ".join(f"`{column.name}`" for column in dataset.readable)
    known = "load_id IN (SELECT load_id FROM loads WHERE dataset = {dataset:String})" if dataset.has_receipts else "1"
    order = ", ".join(["load_id", *(column.name for column in dataset.pointer)]) if dataset.has_receipts else "1"
    sql = f"SELECT {columns} FROM {table_expression(dataset, pin)} WHERE {same} AND {known} ORDER BY {order} LIMIT {MOST_LINES:d}"
    params = {f"k{at}": value for at, value in enumerate(key)}
    return Query(sql, {**params, **({"dataset": dataset.name, "seq": pin.seq} if dataset.by_load else {})})
