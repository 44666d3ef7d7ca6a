"""What the messages of all swap data repositories have in common: words, rules, and a reader of their layouts.

A repository's layout says which of its fields fills which column of the dataset `swaps`. Words are told apart by case as
printed, and a word that is not known here makes its line a reject.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import pyarrow as pa
import pyarrow.compute as pc

from spotlightd.model.dataset import Dataset
from spotlightd.parse.messages.table import Columns, Layout, Reader

ACTIONS: Mapping[str, str] = MappingProxyType({
    "NEW": "NEW", "NEWT": "NEW",
    "MODI": "MODIFY",
    "CORR": "CORRECT", "CORRECT": "CORRECT",
    "TERM": "TERMINATE",
    "EROR": "ERROR", "CANCEL": "ERROR",
    "REVI": "REVIVE",
    "PRTO": "OTHER", "VALU": "OTHER", "POSC": "OTHER",
})  # fmt: skip
"""CANCEL, until 2022, is the ancestor of EROR: it withdraws a message that should not be there. It does not end a trade."""

ASSET_CLASSES: Mapping[str, str] = MappingProxyType({name: name for name in ("CR", "IR", "EQ", "FX", "CO")})
CLEARED: Mapping[str, str] = MappingProxyType({"Y": "Y", "N": "N", "I": "I", "C": "Y", "U": "N", "": ""})
PRICED_INDEXES = r"^CDX\.(NA\.HY|EM)\b"
LEAST_DECIMAL, MOST_DECIMAL = 0.005, 0.015
LEAST_PRICE = 20
LEAST_PERCENT = 0.5


def make_reader(dataset: Dataset, layouts: Sequence[Layout]) -> Reader:
    """A reader of these layouts, with the flags of `swaps`."""
    rules = {
        "price_in_spread": _is_price_in_spread,
        "off_by_100": _is_off_by_100,
        "price_per_10000": _is_price_per_10000,
        "points_to_itself": lambda columns: pc.equal(columns["message_id"], columns["original_id"]),
    }
    return Reader(dataset, layouts, rules, needed=("message_id",))


def from_fields(**fields: str) -> dict[str, tuple[str, ...]]:
    """What a layout takes: columns that have a single field each."""
    return {column: (field,) for column, field in fields.items()}


def _is_price_in_spread(columns: Columns) -> pa.BooleanArray:
    return pc.and_(_is_large_credit_spread(columns, LEAST_PRICE), pc.invert(_equals(columns["spread_notation_1"], "4")))


def _is_off_by_100(columns: Columns) -> pa.BooleanArray:
    is_large = _is_large_credit_spread(columns, LEAST_PERCENT)
    is_larger = _is_large_credit_spread(columns, LEAST_PRICE)
    return pc.and_(pc.and_(is_large, pc.invert(is_larger)), _equals(columns["spread_notation_1"], "3"))


def _is_price_per_10000(columns: Columns) -> pa.BooleanArray:
    """Of indexes that are quoted as a price: 0.0108 for 108."""
    underliers = columns["upi_underlier"]
    is_priced = pc.match_substring_regex(underliers.dictionary, PRICED_INDEXES).take(underliers.indices)
    if not pc.any(is_priced).as_py():
        return is_priced
    size = pc.cast(columns["spread_1"], pa.float64())
    is_small = pc.and_(pc.greater_equal(size, LEAST_DECIMAL), pc.less_equal(size, MOST_DECIMAL))
    return pc.and_(pc.and_(is_priced, is_small), _equals(columns["spread_notation_1"], "3"))


def _is_large_credit_spread(columns: Columns, least: float) -> pa.BooleanArray:
    if columns["spread_1"].null_count == len(columns["spread_1"]):
        return pa.repeat(pa.scalar(value=False), len(columns["spread_1"]))
    size = pc.abs(pc.cast(columns["spread_1"], pa.float64()))
    is_large = pc.fill_null(pc.greater_equal(size, least), fill_value=False)
    return pc.and_(is_large, _equals(columns["asset_class"], "CR"))


def _equals(texts: pa.DictionaryArray, text: str) -> pa.BooleanArray:
    return pc.equal(texts.dictionary, text).take(texts.indices)
