"""The SELECT of a search: the securities of a dataset that match a symbol, a CUSIP or the beginning of a name. Pure."""

from __future__ import annotations

from typing import Any

from spotlightd.model.dataset import Column, Dataset
from spotlightd.query.measures import find_measure
from spotlightd.query.search.spelling import Patterns
from spotlightd.query.select import Query
from spotlightd.sql.visibility import Snapshot, table_expression, visible_condition


def _name_test(name: Column) -> str:
    """Whether a name matches a search. The wider pattern is tried only on a name that has more than plain text."""
    text = name.expression
    is_plain = f"length({text}) = lengthUTF8({text}) AND position({text}, '?') = 0"
    return f"(match({text}, {{name:String}}) OR (NOT ({is_plain}) AND match({text}, {{broken_name:String}})))"


def matching_securities(dataset: Dataset, patterns: Patterns, snapshot: Snapshot, limit: int) -> Query:
    """Securities that match a search: the symbol itself, a CUSIP of 8 or 9 characters, the beginning of a name. One row for
    each symbol; a security without a symbol has one for its CUSIP.
    """
    measure, day = find_measure(dataset), f"toDate(`{dataset.time}`)"
    exact = [f"match(`{dataset.symbol}`, {{symbol:String}})"]
    params: dict[str, Any] = {"symbol": patterns.symbol, "seq": snapshot.seq}
    if measure.cusip and patterns.cusip:
        exact.append(f"startsWith(`{measure.cusip.name}`, {{cusip:String}})")
        params["cusip"] = patterns.cusip
    tests = exact
    if measure.name:
        tests = [*exact, _name_test(measure.name)]
        params |= {"name": patterns.name, "broken_name": patterns.broken_name}
    name = f"argMax(`{measure.name.name}`, `{dataset.time}`)" if measure.name else "''"
    cusip = f"argMax(`{measure.cusip.name}`, `{dataset.time}`)" if measure.cusip else "''"
    known = f"`{dataset.symbol}` != ''" + (f" OR `{measure.cusip.name}` != ''" if measure.cusip else "")
    security = f"if(`{dataset.symbol}` = '', toString(`{measure.cusip.name}`), '')" if measure.cusip else "''"
    sql = (
        f"SELECT `{dataset.symbol}`, max({' OR '.join(exact)}), {name}, {cusip}, max({day}), uniqExact({day}) "
        f"FROM {table_expression(dataset, snapshot)} WHERE {visible_condition(dataset)} AND ({' OR '.join(tests)}) AND ({known}) "
        f"GROUP BY `{dataset.symbol}`, {security} ORDER BY 2 DESC, 6 DESC, 1, 4 LIMIT {limit:d}"
    )
    return Query(sql, params)
