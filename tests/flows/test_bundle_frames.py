"""How frames stand in a bundle: read by hand from somebody else's bytes, wherever these are cut."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date

import pytest

from spotlightd.errors import FormatError
from spotlightd.flows.bundle import frames
from spotlightd.flows.bundle.frames import HEAD

from .constructed_ticks import MIDNIGHT, ticks

DAY = date(2026, 3, 2)
BODIES = (b"", b"x", b"y" * 127, b"z" * 128, b"\x80\xff" * 20_000, b"last")


def row(offset: int, body: bytes, *, partition: int = 0, received: int = MIDNIGHT, repeat: int = 0) -> bytes:
    length, left = b"", len(body)
    while left >= 0x80:
        length, left = length + bytes([left & 0x7F | 0x80]), left >> 7
    return HEAD.pack(1, partition, offset, 7, offset, received, repeat) + length + bytes([left]) + body


async def read(whole: bytes, size: int = 1 << 20) -> list[tuple[int, int, int, bytes]]:
    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(whole), size):
            yield whole[at : at + size]

    groups = [group async for group in frames.read_groups(ticks, DAY, chunks())]
    return [
        (group.epoch, group.partition, offset, value)
        for group in groups
        for offset, value in zip(group.records.offsets, group.records.values, strict=True)
    ]


@pytest.mark.parametrize("size", [1, 7, 40, 1000, 1 << 20])
async def test_frames_are_the_same_wherever_the_bytes_are_cut(size: int) -> None:
    whole = b"".join(row(at, body) for at, body in enumerate(BODIES)) + row(0, b"other", partition=1)
    assert await read(whole, size) == [
        *((1, 0, at, body) for at, body in enumerate(BODIES)), (1, 1, 0, b"other"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("whole", "error"),
    [
        (row(1, b"x")[:-1], "is cut off"),
        (row(1, b"x")[:20], "is cut off"),
        (row(1, b"x") + row(1, b"y"), "out of order"),
        (row(2, b"x") + row(1, b"y"), "out of order"),
        (row(1, b"x", received=MIDNIGHT - 1), "not received on"),
        (row(1, b"x", received=-1), "not received on"),
        (row(1, b"x", repeat=2), "not received on"),
        (HEAD.pack(1, 0, 1, 7, 1, MIDNIGHT, 0) + b"\xff" * 5, "no number"),
        (HEAD.pack(1, 0, 1, 7, 1, MIDNIGHT, 0) + b"\xff\xff\xff\xff\x0f", "at most"),
    ],
)
async def test_what_is_no_frame_of_that_day_in_its_order_is_refused(whole: bytes, error: str) -> None:
    with pytest.raises(FormatError, match=error):
        await read(whole)
