"""What the messages of all swap data repositories have in common: words, rules, and a reader of their layouts.

A repository's layout says which of its fields fills which column of the dataset `swaps`; `one` is short for a column that one
field fills. Words are told apart by case as printed, and a word that is not known here makes its line a reject.
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
LEAST_PRICE = 20
LEAST_PERCENT = 0.5


def make_reader(dataset: Dataset, layouts: Sequence[Layout]) -> Reader:
    """A reader of these layouts, with the flags of `swaps`."""
    rules = {
        "price_in_spread": _is_price_in_spread,
        "off_by_100": _is_off_by_100,
        "points_to_itself": lambda columns: pc.equal(columns["message_id"], columns["original_id"]),
    }
    return Reader(dataset, layouts, rules, needed=("message_id",))


def one(**fields: str) -> dict[str, tuple[str, ...]]:
    """Columns that one field each fills."""
    return {column: (field,) for column, field in fields.items()}


def _is_price_in_spread(columns: Columns) -> pa.BooleanArray:
    return pc.and_(_is_large_credit_spread(columns, LEAST_PRICE), pc.invert(_equals(columns["spread_notation_1"], "4")))


def _is_off_by_100(columns: Columns) -> pa.BooleanArray:
    is_large = _is_large_credit_spread(columns, LEAST_PERCENT)
    is_larger = _is_large_credit_spread(columns, LEAST_PRICE)
    return pc.and_(pc.and_(is_large, pc.invert(is_larger)), _equals(columns["spread_notation_1"], "3"))


def _is_large_credit_spread(columns: Columns, least: float) -> pa.BooleanArray:
    if columns["spread_1"].null_count == len(columns["spread_1"]):
        return pa.repeat(pa.scalar(value=False), len(columns["spread_1"]))
    size = pc.abs(pc.cast(columns["spread_1"], pa.float64()))
    is_large = pc.fill_null(pc.greater_equal(size, least), fill_value=False)
    return pc.and_(is_large, _equals(columns["asset_class"], "CR"))


def _equals(texts: pa.DictionaryArray, text: str) -> pa.BooleanArray:
    return pc.equal(texts.dictionary, text).take(texts.indices)
