"""The SELECTs of a search: the securities that match a symbol, a CUSIP or the beginning of a name. Pure.

`securities` knows the securities of its inputs, so these are searched there: a million rows and not a hundred million. A
dataset that is none of its inputs is searched itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from spotlightd.datasets.securities import INPUTS, securities
from spotlightd.model.dataset import Dataset
from spotlightd.query.measures import find_measure, searchable_datasets
from spotlightd.query.search.spelling import Patterns
from spotlightd.query.select import Query
from spotlightd.sql.visibility import Snapshot, published_condition, table_expression, visible_condition


def select_matches(datasets: Iterable[Dataset], patterns: Patterns, snapshot: Snapshot, limit: int) -> list[Query]:
    """The statements of a search. Each row of an answer: symbol, whether the match is exact, name, CUSIPs, newest day,
    days, datasets.
    """
    candidates = [dataset for dataset in searchable_datasets(datasets) if dataset != securities]
    known = joined_datasets(snapshot)
    if not known:
        return [matching_securities(dataset, patterns, snapshot, limit) for dataset in candidates]
    others = [dataset for dataset in candidates if dataset.name not in known]
    return [
        matching_known(patterns, snapshot, limit),
        *(matching_securities(dataset, patterns, snapshot, limit) for dataset in others),
    ]


def joined_datasets(snapshot: Snapshot) -> frozenset[str]:
    """The datasets whose spellings `securities` knows; none before its first publication."""
    return frozenset(source.dataset.name for source in INPUTS if securities.name in snapshot.published)


def matching_known(patterns: Patterns, snapshot: Snapshot, limit: int) -> Query:
    """The securities of `securities` that match, one row for each symbol; one for each CUSIP without a symbol.

    The names of a dataset may match where those of another do not, so all that is known of a matching symbol is put together.
    """
    exact = ["match(symbol, {symbol:String})"]
    params: dict[str, Any] = {"symbol": patterns.symbol, "seq": snapshot.seq}
    if patterns.cusip:
        exact.append("startsWith(cusip, {cusip:String})")
        params["cusip"] = patterns.cusip
    params |= {"name": patterns.name, "broken_name": patterns.broken_name}
    visible, nameless = published_condition(securities), "if(symbol = '', cusip, '')"
    tests = " OR ".join([*exact, f"arrayExists(printed -> {_name_test('printed')}, names)"])
    sql = (
        f"SELECT symbol, max({' OR '.join(exact)}), argMaxIf(name, last_seen, name != ''), "
        "arraySort(groupUniqArrayIf(cusip, cusip != '')), max(last_seen), sum(days), arraySort(groupUniqArrayArray(datasets)) "
        f"FROM {securities.name} WHERE {visible} AND (symbol, {nameless}) IN "
        f"(SELECT symbol, {nameless} FROM {securities.name} WHERE {visible} AND ({tests})) "
        f"GROUP BY symbol, {nameless} ORDER BY 2 DESC, 6 DESC, 1, 4 LIMIT {limit:d}"
    )
    return Query(sql, params)


def matching_securities(dataset: Dataset, patterns: Patterns, snapshot: Snapshot, limit: int) -> Query:
    """The securities of a dataset that match: the symbol itself, a CUSIP of 8 or 9 characters, the beginning of a name. One row
    for each symbol; a security without a symbol has one for its CUSIP.
    """
    measure, day = find_measure(dataset), f"toDate(`{dataset.time}`)"
    exact = [f"match(`{dataset.symbol}`, {{symbol:String}})"]
    params: dict[str, Any] = {"symbol": patterns.symbol, "seq": snapshot.seq}
    if measure.cusip and patterns.cusip:
        exact.append(f"startsWith(`{measure.cusip.name}`, {{cusip:String}})")
        params["cusip"] = patterns.cusip
    tests = exact
    if measure.name:
        tests = [*exact, _name_test(measure.name.expression)]
        params |= {"name": patterns.name, "broken_name": patterns.broken_name}
    name = f"argMax(`{measure.name.name}`, `{dataset.time}`)" if measure.name else "''"
    cusips = f"[argMax(toString(`{measure.cusip.name}`), `{dataset.time}`)]" if measure.cusip else "[]::Array(String)"
    known = f"`{dataset.symbol}` != ''" + (f" OR `{measure.cusip.name}` != ''" if measure.cusip else "")
    security = f"if(`{dataset.symbol}` = '', toString(`{measure.cusip.name}`), '')" if measure.cusip else "''"
    sql = (
        f"SELECT `{dataset.symbol}`, max({' OR '.join(exact)}), {name}, {cusips}, max({day}), uniqExact({day}), ['{dataset.name}'] "
        f"FROM {table_expression(dataset, snapshot)} WHERE {visible_condition(dataset)} AND ({' OR '.join(tests)}) AND ({known}) "
        f"GROUP BY `{dataset.symbol}`, {security} ORDER BY 2 DESC, 6 DESC, 1, 4 LIMIT {limit:d}"
    )
    return Query(sql, params)


def _name_test(text: str) -> str:
    """Whether a name matches a search. The wider pattern is tried only on a name that has more than plain text."""
    is_plain = f"length({text}) = lengthUTF8({text}) AND position({text}, '?') = 0"
    return f"(match({text}, {{name:String}}) OR (NOT ({is_plain}) AND match({text}, {{broken_name:String}})))"
