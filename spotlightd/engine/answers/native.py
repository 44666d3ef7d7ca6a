"""The format Native for a client that names the version of ClickHouse's protocol that it speaks. Pure.

chDB writes Native for the oldest clients: a block has no head, and the type `DateTime('Asia/Shanghai')` has lost its zone.
From version 1 on a block begins with a head, and from `WITH_ZONES` on a type keeps its zone. Later versions write more
about each column, so a client is served up to `LAST_VERSION`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

from spotlightd.engine.errors import NOT_IMPLEMENTED, failure
from spotlightd.engine.statements.tokens import read_tokens

WITH_ZONES, LAST_VERSION = 54337, 54453
_HEAD = bytes.fromhex("0100 02ffffffff 00")  # no overflow rows, no number of a bucket
_STRIPPED = b"DateTime"
_WIDTHS: Mapping[str, int] = {
    "Bool": 1, "Int8": 1, "UInt8": 1, "Enum8": 1, "Int16": 2, "UInt16": 2, "Enum16": 2, "Date": 2, "BFloat16": 2,
    "Int32": 4, "UInt32": 4, "Float32": 4, "Date32": 4, "DateTime": 4, "IPv4": 4, "Time": 4, "Decimal32": 4,
    "Int64": 8, "UInt64": 8, "Float64": 8, "DateTime64": 8, "Time64": 8, "Decimal64": 8, "Int128": 16, "UInt128": 16,
    "UUID": 16, "IPv6": 16, "Decimal128": 16, "Int256": 32, "UInt256": 32, "Decimal256": 32,
}  # fmt: skip
_DECIMAL_WIDTHS = ((9, 4), (18, 8), (38, 16), (76, 32))
_MORE = 0x80  # the bit of a byte of a number that another follows
_DICTIONARY_KINDS, _OWN_KEYS = 0x300, 0x200  # a dictionary of the table, keys in the block
_TYPE = re.compile(r"(?P<name>\w+)(?:\((?P<arguments>.*)\))?", re.DOTALL)


class UnknownLengthError(Exception):
    """The length of a column of that type is not known."""


def check_version(version: int) -> None:
    """StatementError for a version whose blocks cannot be written."""
    if version > LAST_VERSION:
        raise failure(NOT_IMPLEMENTED, f"client_protocol_version is served up to {LAST_VERSION}, not {version}")


def find_zones(types: Sequence[str], version: int) -> dict[int, str]:
    """The columns whose types have a zone that the client wants to see, by their places."""
    if version < WITH_ZONES:
        return {}
    return {place: kind for place, kind in enumerate(types) if kind.startswith("DateTime(")}


def convert_block(block: bytes, rows: int, types: Sequence[str], zones: Mapping[int, str]) -> bytes:
    """One block of so many rows, as the client wants it. StatementError when it is not one block.

    A zone behind a column whose length is not known (JSON, Dynamic, Variant, states of aggregates) stays lost: the moment is
    right, and the client shows it in the zone of the server.
    """
    columns, position = _read_number(block, 0)
    counted, position = _read_number(block, position)
    if counted != rows:
        raise failure(
            NOT_IMPLEMENTED, f"{rows} rows came in several blocks of Native: leave client_protocol_version out"
        )
    pieces, copied = [_HEAD], 0
    last = max(zones, default=-1) if columns else -1
    for place in range(last + 1):
        length, position = _read_number(block, position)
        start = position + length
        length, begin = _read_number(block, start)
        position = begin + length
        if block[begin:position] not in {_STRIPPED, types[place].encode()}:
            break
        if place in zones:
            kind = zones[place].encode()
            pieces += [block[copied:start], _write_number(len(kind)), kind]
            copied = position
        try:
            position = _skip(block, position, types[place], rows) if place < last else position
        except UnknownLengthError:
            break
    return b"".join([*pieces, block[copied:]])


def convert_answer(answer: bytes) -> bytes:
    """The blocks of a short answer whose types have no zones. StatementError when its blocks cannot be told apart."""
    pieces, position = [], 0
    try:
        while position < len(answer):
            end = _find_end(answer, position)
            pieces += [_HEAD, answer[position:end]]
            position = end
    except UnknownLengthError as problem:
        raise failure(
            NOT_IMPLEMENTED, f"Native with a column of type {problem}: leave client_protocol_version out"
        ) from None
    return b"".join(pieces)


def _find_end(answer: bytes, position: int) -> int:
    columns, position = _read_number(answer, position)
    rows, position = _read_number(answer, position)
    for _ in range(columns):
        length, position = _read_number(answer, position)
        length, begin = _read_number(answer, position + length)
        position = begin + length
        position = _skip(answer, position, answer[begin:position].decode(), rows)
    return position


def _skip(block: bytes, position: int, kind: str, rows: int) -> int:
    """The place behind the rows of a column. UnknownLengthError for a type whose length is not known."""
    match = _TYPE.fullmatch(kind)
    name, arguments = (match["name"], match["arguments"] or "") if match else (kind, "")
    if name in _WIDTHS:
        return position + rows * _WIDTHS[name]
    if name not in _SKIPS or "LowCardinality(" in arguments:  # a dictionary inside another type has a head before all
        raise UnknownLengthError(kind)
    return _SKIPS[name](block, position, arguments, rows) if rows else position


def _skip_strings(block: bytes, position: int, _: str, rows: int) -> int:
    for _number in range(rows):
        length = block[position]
        if length < _MORE:
            position += length + 1
        else:
            length, position = _read_number(block, position)
            position += length
    return position


def _skip_nullable(block: bytes, position: int, kind: str, rows: int) -> int:
    return _skip(block, position + rows, kind, rows)


def _skip_array(block: bytes, position: int, kind: str, rows: int) -> int:
    begin = position + 8 * rows
    return _skip(block, begin, kind, int.from_bytes(block[begin - 8 : begin], "little"))


def _skip_tuple(block: bytes, position: int, elements: str, rows: int) -> int:
    for element in _split(elements):
        name, _, kind = element.partition(" ")
        position = _skip(block, position, kind if kind and name.isidentifier() else element, rows)
    return position


def _skip_map(block: bytes, position: int, kinds: str, rows: int) -> int:
    return _skip_array(block, position, f"Tuple({kinds})", rows)


def _skip_low_cardinality(block: bytes, position: int, kind: str, _: int) -> int:
    """Behind a version stand the kind of the indexes, the keys, and the indexes."""
    flags, keys = (int.from_bytes(block[at : at + 8], "little") for at in (position + 8, position + 16))
    if flags & _DICTIONARY_KINDS != _OWN_KEYS:
        raise UnknownLengthError(kind)
    position = _skip(block, position + 24, kind.removeprefix("Nullable(").removesuffix(")"), keys)
    indexes = int.from_bytes(block[position : position + 8], "little")
    return position + 8 + (indexes << (flags & 0xFF))


def _split(elements: str) -> list[str]:
    commas = [token.start for token in read_tokens(elements) if token.text == "," and token.depth == 0]
    return [elements[start + 1 : end].strip() for start, end in pairwise([-1, *commas, len(elements)])]


def _skip_decimal(_: bytes, position: int, arguments: str, rows: int) -> int:
    digits = int(arguments.partition(",")[0])
    return position + rows * next(width for most, width in _DECIMAL_WIDTHS if digits <= most)


def _skip_fixed_string(_: bytes, position: int, length: str, rows: int) -> int:
    return position + rows * int(length)


_SKIPS: Mapping[str, Callable[[bytes, int, str, int], int]] = {
    "String": _skip_strings,
    "Nullable": _skip_nullable,
    "Array": _skip_array,
    "Decimal": _skip_decimal,
    "FixedString": _skip_fixed_string,
    "Tuple": _skip_tuple,
    "Map": _skip_map,
    "LowCardinality": _skip_low_cardinality,
}


def _read_number(block: bytes, position: int) -> tuple[int, int]:
    """A number of variable length, and the place behind it."""
    number = shift = 0
    while True:
        byte = block[position]
        position += 1
        number |= (byte & ~_MORE) << shift
        shift += 7
        if byte < _MORE:
            return number, position


def _write_number(number: int) -> bytes:
    raw = bytearray()
    while number >= _MORE:
        raw.append(number & ~_MORE | _MORE)
        number >>= 7
    raw.append(number)
    return bytes(raw)
