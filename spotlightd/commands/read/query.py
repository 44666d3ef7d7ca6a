"""`query`: the operator's own SQL."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from typing import Any

from spotlightd.commands.command import Command, argument
from spotlightd.commands.output import Out
from spotlightd.commands.session import open_session, parse_as_of
from spotlightd.errors import SettingsError, StoreError
from spotlightd.model.dataset import Dataset
from spotlightd.ports.warehouse import Limits, Warehouse
from spotlightd.settings.settings import Settings
from spotlightd.sql.visibility import Snapshot, table_expression, visible_condition

MOST_ROWS = 100_000
LEAD = r"^(?:\s|--[^\n]*\n|/\*.*?\*/)*"
READS = re.compile(LEAD + r"(SELECT|WITH|SHOW|DESCRIBE|DESC|EXPLAIN|EXISTS)\b", re.IGNORECASE | re.DOTALL)
LONG_TIME = re.compile(r"^(?:Nullable\()?DateTime64\([7-9]")
SHORT_TIME = re.compile(r"^(?:Nullable\()?DateTime(?!64)")  # Arrow has a number for it
NESTED = re.compile(r"Map\(|(?:Array|Tuple|Nested)\(.*DateTime")
SELECTS = re.compile(LEAD + r"(SELECT|WITH(?:\s+RECURSIVE)?)\b", re.IGNORECASE | re.DOTALL)


async def run(arguments: argparse.Namespace, settings: Settings, out: Out) -> int:
    """Run the SQL. A dataset's bare name means its rows as visible at one publication."""
    sql = arguments.sql.strip().rstrip(";")
    if not READS.match(sql):
        raise SettingsError("query only reads: begin with SELECT, WITH, SHOW, DESCRIBE, EXPLAIN or EXISTS")
    async with open_session(settings) as session:
        snapshot = await session.take_snapshot(parse_as_of(arguments.as_of))
        text, params = with_visible(sql, session.datasets, settings.warehouse.database, snapshot)
        text = await keep_whole(session.warehouse, text, params, as_json=out.as_json)
        answer = await session.warehouse.rows(text, params, limits=Limits(result_rows=MOST_ROWS))
    out.table(answer.names, answer.rows)
    return 0


async def keep_whole(warehouse: Warehouse, sql: str, params: Mapping[str, Any], *, as_json: bool) -> str:
    """The SQL with what Arrow or Python would lose in another form: times without a fraction, which Arrow has as numbers,
    as longer times; times of more than six digits as texts, because Python's end at the microsecond; maps, and times within
    other values, as JSON.

    A statement that cannot be described is left as it is; when it runs, its own error is clearer.
    """
    if not SELECTS.match(sql):
        return sql
    try:
        described = await warehouse.rows(f"DESCRIBE TABLE ({sql}\n)", params)
    except StoreError:
        return sql
    columns = [(_quote_name(name), kind) for name, kind, *_ in described.rows]
    changes = [(name, change) for name, kind in columns if (change := _find_change(name, kind, as_json=as_json))]
    if not changes:
        return sql
    return f"SELECT * REPLACE ({', '.join(f'{change} AS {name}' for name, change in changes)}) FROM ({sql}\n)"


def _find_change(name: str, kind: str, *, as_json: bool) -> str:
    """What to ask for in place of a column of that type; empty when it can stay."""
    if NESTED.search(kind):
        return f"toJSONString({name})"
    if LONG_TIME.search(kind):
        return _time_text(name, as_json=as_json)
    return f"toDateTime64({name}, 0, 'UTC')" if SHORT_TIME.search(kind) else ""


def _time_text(name: str, *, as_json: bool) -> str:
    """A time as text, as `Out` writes times."""
    text = f"toString(toTimeZone({name}, 'UTC'))"
    return f"concat(replaceOne({text}, ' ', 'T'), '+00:00')" if as_json else text


def _quote_name(name: str) -> str:
    escaped = name.replace("\\", "\\\\").replace("`", "\\`")
    return f"`{escaped}`"


def with_visible(
    sql: str, datasets: Sequence[Dataset], database: str, snapshot: Snapshot
) -> tuple[str, dict[str, Any]]:
    """The SQL with a WITH clause for each dataset that it names: its rows as visible at the snapshot.

    `database.dataset` still means the whole table, rows of superseded loads included.
    """
    archived = snapshot.archived.partitions
    named = [
        dataset
        for dataset in datasets
        if (dataset.by_load or dataset.name in archived) and re.search(rf"(?<![.\w`\"])[`\"]?{dataset.name}\b", sql)
    ]
    selects = SELECTS.match(sql)
    if not named or not selects:
        return sql, {}
    views = ", ".join(f"{dataset.name} AS ({_select_visible(dataset, sql, database, snapshot)})" for dataset in named)
    if selects[1].upper() == "SELECT":
        return f"WITH {views} {sql}", {"seq": snapshot.seq}
    return f"{selects[1]} {views}, {sql[selects.end() :]}", {"seq": snapshot.seq}


def _select_visible(dataset: Dataset, sql: str, database: str, snapshot: Snapshot) -> str:
    """The SELECT of a dataset's visible rows. A computed column is in it when the SQL names it, as in ClickHouse itself,
    where `*` leaves it out.
    """
    computed = [column for column in dataset.derived if re.search(rf"\b{column.name}\b", sql)]
    names = ", ".join(column.select_item if column.sql else column.name for column in (*dataset.readable, *computed))
    rows, visible = (
        table_expression(dataset, snapshot, database=database),
        visible_condition(dataset, database=database),
    )
    return f"SELECT {names} FROM {rows} WHERE {visible}"


COMMAND = Command(
    "query",
    "query the warehouse in SQL; a dataset's name means its visible rows",
    'spotlightd query "SELECT symbol, max(quantity) FROM sec_ftd GROUP BY symbol ORDER BY 2 DESC LIMIT 5"',
    (
        argument("sql", metavar="SQL", help="one statement that reads"),
        argument("--as-of", metavar="TIME", default="", help="as known at that time: 2021-03-01 or RFC 3339"),
    ),
    run,
)
