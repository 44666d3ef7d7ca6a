"""Several small queries as one statement. Pure.

A statement costs the daemon 2 ms and the engine as much, however little it reads. So queries of one page whose answers are
small are sent as one: a row with the rows of each query, as an array of tuples, beside the names of its columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spotlightd.ports.warehouse import Answer
from spotlightd.query.select import Query


def join_queries(queries: Sequence[Query]) -> Query:
    """One statement for all of them, in the order of `queries`. ValueError if two give a parameter different values.

    `groupArray` keeps the order of a query that has one, because its rows come from a single sorted stream.
    """
    rows = ", ".join(f"_{index}.rows, tupleNames(_{index}.rows[1])" for index in range(len(queries)))
    tables = " CROSS JOIN ".join(
        f"(SELECT groupArray(tuple(*)) AS rows FROM ({query.sql})) AS _{index}" for index, query in enumerate(queries)
    )
    sql = f"SELECT {rows} FROM {tables} SETTINGS enable_named_columns_in_function_tuple = 1"
    return Query(sql, _merge_params(queries), min(query.created_at for query in queries))


def split_answer(answer: Answer) -> list[Answer]:
    """The answers of the queries. Columns have their names where all of a query's columns are named, else numbers."""
    (row,) = answer.rows
    return [Answer(tuple(names), tuple(rows)) for rows, names in zip(row[::2], row[1::2], strict=True)]


def _merge_params(queries: Sequence[Query]) -> dict[str, Any]:
    params: dict[str, Any] = {}
    for query in queries:
        for name, value in query.params.items():
            if params.setdefault(name, value) != value:
                raise ValueError(f"two queries of one statement give the parameter {name} different values")
    return params
