from __future__ import annotations

import time
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spotlightd.workers import protocol
from spotlightd.workers.protocol import HEAD, MAX_MESSAGE_BYTES, Frame, FrameDecoder, Kind, encode_head, encode_message

BLOCK = st.tuples(st.integers(0, 255), st.binary(max_size=40))
VALUE = st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=20), max_size=3)


@given(values=st.lists(BLOCK | VALUE, max_size=8), cuts=st.lists(st.integers(1, 30), min_size=1, max_size=60))
def test_frames_are_the_same_however_the_bytes_are_cut(values: Sequence[object], cuts: list[int]) -> None:
    data = b"".join(
        encode_head(Kind.BLOCK, len(value[1]), value[0]) + value[1]
        if isinstance(value, tuple)
        else encode_message(Kind.DONE, value)
        for value in values
    )
    decoder, offset = FrameDecoder(), 0
    frames: list[Frame] = []
    while offset < len(data):
        step = cuts[offset % len(cuts)]
        frames += decoder.feed(data[offset : offset + step])
        offset += step
    assert [frame.value for frame in frames if frame.kind is Kind.DONE] == [
        value for value in values if isinstance(value, dict)
    ]
    for number in range(256):
        sent = b"".join(value[1] for value in values if isinstance(value, tuple) and value[0] == number)
        assert b"".join(frame.data for frame in frames if frame.kind is Kind.BLOCK and frame.stream == number) == sent


@pytest.mark.parametrize(
    "data", [b"\xff" * 20, HEAD.pack(Kind.DONE, 0, MAX_MESSAGE_BYTES + 1), encode_message(Kind.DONE, 1)[:-1] + b"{"]
)
def test_bytes_that_are_no_frame_are_an_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        list(FrameDecoder().feed(data))


def test_a_child_cannot_fill_the_memory_of_the_daemon_with_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "MOST_MESSAGES_BYTES", 1_000)
    frames, message = FrameDecoder(), encode_message(Kind.REJECTS, [[0, 1, "x" * 200, "why"]])
    with pytest.raises(ValueError, match="of rejected lines"):
        list(frames.feed(message * 10))


def test_each_byte_is_looked_at_once_however_small_the_frames_are() -> None:
    """A ratio in one run: sixteen times as many frames at once take some sixteen times as long."""
    frame, seconds = encode_head(Kind.BLOCK, 1) + b"x", list[float]()
    for count in (4_000, 64_000):
        data, started = frame * count, time.process_time()
        assert sum(len(piece.data) for piece in FrameDecoder().feed(data)) == count
        seconds.append(time.process_time() - started)
    assert seconds[1] < 60 * seconds[0]
