"""The dataset `securities`: every pair of symbol and CUSIP that the datasets have printed, made from these datasets alone.

A row is one symbol as the dataset has it, with one CUSIP. Spellings are not merged: `BRKB` of the SEC, `BRK/B` of FINRA and `BRK B` of NYSE
are three rows with one `symbol_key`, because the key alone cannot tell whether two spellings are one security. Datasets
without CUSIPs have rows without one.

The table holds what each dataset had in each year, and the reading puts the years together. So a new document has one year
of one dataset computed again, and not everything. A year of a dataset has about 12,000 such rows; twenty years of
four datasets are a million, which are read in 0.25 s of processor time, and one symbol of them in 0.1 s (`make bench
ARGS=securities`).
"""

from __future__ import annotations

from dataclasses import dataclass

from spotlightd.datasets.sec_ftd import sec_ftd
from spotlightd.datasets.short_halts import short_halts
from spotlightd.datasets.short_volume import short_volume
from spotlightd.datasets.threshold.lists import threshold
from spotlightd.datasets.trading_halts import trading_halts
from spotlightd.model.dataset import Column, Dataset, Rhythm
from spotlightd.model.derivation import Derivation, RowsOf

SYMBOL_KEY = "upper(replaceRegexpAll({symbol}, '[^A-Za-z0-9]', ''))"
"""A symbol without what people write differently: separators and case."""

CLASS_OF_SYMBOL, CLASS_OF_NAME = "[A-Z][ ./]([A-Z])$", r"\\b(?:CLASS|CL)[ .-]?([A-F])\\b"
LOADS = (
    "SELECT load_id FROM {loads} WHERE dataset = 'securities' AND seq <= {seq} AND load_id NOT IN "
    "(SELECT arrayJoin(supersedes) FROM {loads} WHERE dataset = 'securities' AND seq <= {seq})"
)


@dataclass(frozen=True, slots=True)
class Input:
    """A dataset that names securities, and its columns. `name` and `cusip` are empty where it has none."""

    dataset: Dataset
    name: str = ""
    cusip: str = ""


INPUTS = (
    Input(sec_ftd, name="description", cusip="cusip"),
    Input(threshold, name="security_name"),
    Input(short_volume),
    Input(short_halts, name="security_name"),
    Input(trading_halts, name="name"),
)

_READING = f"""
SELECT one.symbol AS symbol, one.cusip AS cusip, one.symbol_key AS symbol_key, one.name AS name, one.names AS names,
    if(match(symbol, '{CLASS_OF_SYMBOL}'), extract(symbol, '{CLASS_OF_SYMBOL}'), extract(name, '{CLASS_OF_NAME}')) AS share_class,
    one.first_seen AS first_seen, one.last_seen AS last_seen, one.days AS days, one.datasets AS datasets,
    arrayMap(other -> other.2, arraySort(arrayFilter(other -> other.1 < one.last_seen AND other.2 != one.symbol,
        renamed.others))) AS former_symbols,
    arraySort(arrayFilter(other -> other != one.cusip, passed.others)) AS other_cusips
FROM (
    SELECT part.symbol AS symbol, part.cusip AS cusip, any(part.symbol_key) AS symbol_key, argMaxIf(part.name, part.last_seen, part.name != '') AS name,
        arraySort(groupUniqArrayArray(part.names)) AS names, min(part.first_seen) AS first_seen, max(part.last_seen) AS last_seen,
        sum(part.days) AS days, arraySort(groupUniqArrayArray(part.datasets)) AS datasets
    FROM {{securities}} AS part WHERE part.load_id IN ({LOADS}) GROUP BY part.symbol, part.cusip
) AS one
LEFT JOIN (
    SELECT last.cusip AS cusip, groupArray((last.seen, last.symbol)) AS others FROM (
        SELECT part.cusip AS cusip, part.symbol AS symbol, max(part.last_seen) AS seen FROM {{securities}} AS part
        WHERE part.cusip != '' AND part.symbol != '' AND part.load_id IN ({LOADS}) GROUP BY part.cusip, part.symbol
    ) AS last GROUP BY last.cusip HAVING count() > 1
) AS renamed ON renamed.cusip = one.cusip
LEFT JOIN (
    SELECT part.symbol AS symbol, groupUniqArray(part.cusip) AS others FROM {{securities}} AS part
    WHERE part.cusip != '' AND part.symbol != '' AND part.load_id IN ({LOADS})
    GROUP BY part.symbol HAVING uniqExact(part.cusip) > 1
) AS passed ON passed.symbol = one.symbol"""

securities = Dataset(
    name="securities",
    title="Securities",
    publisher="this instance, from the datasets that name securities",
    about="Every symbol and CUSIP that was printed together: names, first and last day, other symbols, and which datasets know it.",
    columns=(
        Column("symbol", "LowCardinality(String)", "ticker as printed; empty for a security that has only a CUSIP"),
        Column("cusip", "String", "its CUSIP number; empty in the datasets that print none"),
        Column("symbol_key", "String", "the symbol's letters and digits in capitals, the same for all spellings: BRKB for BRK/B"),
        Column("name", "String", "the name that was printed last"),
        Column("names", "Array(String)", "all names as printed"),
        Column("share_class", "LowCardinality(String)", "letter of the share class, if the symbol (BRK.B) or the name (CL B) says one"),
        Column("first_seen", "Date", "the first day on which a dataset has it"),
        Column("last_seen", "Date", "the last day on which a dataset has it"),
        Column("days", "UInt64", "days with a row, those of several datasets added up", unit="days"),
        Column("datasets", "Array(LowCardinality(String))", "the datasets that have it"),
        Column("former_symbols", "Array(String)", "other symbols of the CUSIP that were seen for the last time before this one was"),
        Column("other_cusips", "Array(String)", "other CUSIPs that were printed with the symbol, then or at another time"),
    ),
    key=("symbol", "cusip"),
    order=("symbol_key", "symbol", "cusip"),
    time="last_seen",
    symbol="symbol",
    pointer=(),
    rhythm=Rhythm("with each document of the datasets that it is made from", stale_days=6, rows=(0, 10_000_000)),
    notes=(
        "Made from what was printed here, not from a register: a security that no dataset mentions is not in it.",
        "A symbol may pass to another company. Then it has a row for each CUSIP, and other_cusips names the others.",
        "Rows without a CUSIP are of datasets that print none. Which CUSIP they mean on a day is not known for certain.",
        "A new CUSIP is often the same company after a merger, a split or a new name.",
    ),
    reading=_READING,
)  # fmt: skip


def _select(source: Input) -> str:
    """What a dataset had in the years of its slices. Rows are grouped first: there are 700 of a security in a year."""
    dataset = source.dataset.name
    day, symbol = f"{dataset}.{source.dataset.time}", f"{dataset}.{source.dataset.symbol}"
    name = f"toString({dataset}.{source.name})" if source.name else "''"
    cusip = f"{dataset}.{source.cusip}" if source.cusip else "''"
    years = (
        f"arrayMap(slice -> toUInt16(substring(slice, 1, 4)), arrayFilter(slice -> endsWith(slice, '/{dataset}'), "
        "{{slices:Array(String)}}))"
    )
    rows = (
        f"SELECT toYear({day}) AS year, {symbol} AS symbol, {cusip} AS cusip, "
        f"argMaxIf({name}, {day}, {name} != '') AS name, groupUniqArrayIf({name}, {name} != '') AS names, "
        f"min({day}) AS first_seen, max({day}) AS last_seen, uniqExact({day}) AS days "
        f"FROM {{{dataset}}} WHERE has({years}, toYear({day})) AND ({symbol} != '' OR {cusip} != '') "
        "GROUP BY year, symbol, cusip"
    )
    return (
        f"SELECT concat(toString(found.year), '/{dataset}') AS slice, toString(found.symbol) AS symbol, "
        f"toString(found.cusip) AS cusip, {SYMBOL_KEY.format(symbol='toString(found.symbol)')} AS symbol_key, found.name AS name, "
        "found.names AS names, '' AS share_class, found.first_seen AS first_seen, found.last_seen AS last_seen, "
        f"found.days AS days, ['{dataset}'] AS datasets, []::Array(String) AS former_symbols, []::Array(String) AS other_cusips "
        f"FROM ({rows}) AS found"
    )


derivation = Derivation(
    name="securities",
    inputs=tuple(source.dataset for source in INPUTS),
    dataset=securities,
    version="1",
    slices=" UNION ALL ".join(
        f"SELECT DISTINCT concat(toString(toYear({source.dataset.time})), '/{source.dataset.name}') AS slice "
        f"FROM {{{source.dataset.name}}}"
        for source in INPUTS
    ),
    select=" UNION ALL ".join(map(_select, INPUTS)),
    origins=(
        RowsOf(sec_ftd, "symbol = {symbol:String} AND toString(cusip) = {cusip:String}"),
        RowsOf(threshold, "symbol = {symbol:String} AND {cusip:String} = ''"),
        RowsOf(short_volume, "symbol = {symbol:String} AND {cusip:String} = ''"),
        RowsOf(short_halts, "symbol = {symbol:String} AND {cusip:String} = ''"),
        RowsOf(trading_halts, "symbol = {symbol:String} AND {cusip:String} = ''"),
    ),
)
