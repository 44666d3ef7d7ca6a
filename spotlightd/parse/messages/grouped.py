"""Builds lists and maps of each row from whole columns, most of whose values are empty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

_Places = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Texts:
    """A column of texts that go to the map under that name: those of a mask, or all that are not empty."""

    name: str
    texts: pa.DictionaryArray
    mask: pa.BooleanArray | None


def list_names(masks: Mapping[str, pa.BooleanArray], count: int) -> pa.ListArray:
    """For each row the names of the masks that it is in."""
    rows = [_places(mask) for mask in masks.values()]
    order, offsets = _group(rows, count)
    codes = np.repeat(np.arange(len(rows), dtype="i4"), [len(places) for places in rows])[order]
    names = pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(list(masks), pa.string()))
    return pa.ListArray.from_arrays(offsets, names)


def map_texts(columns: Sequence[Texts], count: int) -> pa.MapArray:
    """For each row a map of its texts by the names of their columns."""
    rows, codes, dictionaries, base = [], [], [], 0
    for column in columns:
        indices = column.texts.indices.to_numpy(zero_copy_only=False)
        places = _find_filled(column, indices)
        rows.append(places)
        codes.append(indices[places] + base)
        dictionaries.append(column.texts.dictionary)
        base += len(column.texts.dictionary)
    order, offsets = _group(rows, count)
    numbers = np.repeat(np.arange(len(rows), dtype="i4"), [len(places) for places in rows])[order]
    keys = pa.DictionaryArray.from_arrays(
        pa.array(numbers, pa.int32()), pa.array([column.name for column in columns], pa.string())
    )
    texts = pa.concat_arrays(dictionaries) if dictionaries else pa.array([], pa.string())
    values = texts.take(pa.array(np.concatenate([*codes, np.empty(0, "i4")])[order], pa.int32()))
    return pa.MapArray.from_arrays(offsets, keys, values)


def _find_filled(column: Texts, indices: npt.NDArray[np.int32]) -> _Places:
    if column.mask is not None:
        return _places(column.mask)
    empty = column.texts.dictionary.index("").as_py()
    return np.flatnonzero(indices != empty)


def _places(mask: pa.BooleanArray) -> _Places:
    return np.flatnonzero(mask.to_numpy(zero_copy_only=False))


def _group(rows: Sequence[_Places], count: int) -> tuple[_Places, pa.Array]:
    """The order that brings the entries of each row together, in the order of the columns, and the offsets of the rows."""
    entries = np.concatenate([*rows, np.empty(0, "i8")]).astype("i4")
    order = np.argsort(entries, kind="stable")
    offsets = np.zeros(count + 1, "i4")
    np.cumsum(np.bincount(entries, minlength=count), out=offsets[1:])
    return order, pa.array(offsets)
