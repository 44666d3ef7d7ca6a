from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spotlightd.workers.protocol import HEAD, LONGEST_MESSAGE, Frame, Frames, Kind, head, message

BLOCK = st.tuples(st.integers(0, 255), st.binary(max_size=40))
VALUE = st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=20), max_size=3)


@given(said=st.lists(BLOCK | VALUE, max_size=8), cuts=st.lists(st.integers(1, 30), min_size=1, max_size=60))
def test_frames_are_the_same_however_the_bytes_are_cut(said: Sequence[object], cuts: list[int]) -> None:
    data = b"".join(
        head(Kind.BLOCK, len(one[1]), one[0]) + one[1] if isinstance(one, tuple) else message(Kind.DONE, one)
        for one in said
    )
    frames, at = Frames(), 0
    found: list[Frame] = []
    while at < len(data):
        step = cuts[at % len(cuts)]
        found += frames.feed(data[at : at + step])
        at += step
    assert [frame.value for frame in found if frame.kind is Kind.DONE] == [one for one in said if isinstance(one, dict)]
    for number in range(256):
        sent = b"".join(one[1] for one in said if isinstance(one, tuple) and one[0] == number)
        assert b"".join(frame.data for frame in found if frame.kind is Kind.BLOCK and frame.stream == number) == sent


@pytest.mark.parametrize(
    "data", [b"\xff" * 20, HEAD.pack(Kind.DONE, 0, LONGEST_MESSAGE + 1), message(Kind.DONE, 1)[:-1] + b"{"]
)
def test_what_is_no_frame_is_an_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        list(Frames().feed(data))
