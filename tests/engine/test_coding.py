"""Compressed bodies are decompressed unchanged, in whatever pieces they arrive."""

from __future__ import annotations

import gzip

import lz4.frame
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as some

from spotlightd.engine import compression
from spotlightd.engine.errors import StatementError

PACK = {
    "lz4": lz4.frame.compress,
    "zstd": zstandard.ZstdCompressor().compress,
    "gzip": gzip.compress,
}
UNPACK = {
    "lz4": lz4.frame.decompress,
    "zstd": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
    "gzip": gzip.decompress,
}


@given(
    some.sampled_from(list(PACK)), some.lists(some.binary(max_size=200), min_size=1, max_size=4), some.integers(1, 50)
)
def test_a_body_of_several_frames_is_decompressed_in_any_pieces(name: str, frames: list[bytes], step: int) -> None:
    packed = b"".join(PACK[name](frame) for frame in frames)
    decoder = compression.make_decoder(name)
    body = b"".join(decoder.add(packed[start : start + step]) for start in range(0, len(packed), step))
    decoder.close()
    assert body == b"".join(frames)


@given(some.sampled_from(list(PACK)), some.lists(some.binary(max_size=5000), max_size=6))
def test_pieces_are_compressed_into_one_frame(name: str, pieces: list[bytes]) -> None:
    encoder = compression.choose_encoder(name)
    assert encoder is not None
    assert UNPACK[name](b"".join(encoder.add(piece) for piece in pieces) + encoder.end()) == b"".join(pieces)


@pytest.mark.parametrize("name", PACK)
def test_a_body_that_ends_inside_a_frame_is_refused(name: str) -> None:
    packed = PACK[name](b"x" * 10_000)
    decoder = compression.make_decoder(name)
    decoder.add(packed[:-4])
    with pytest.raises(StatementError, match="too early"):
        decoder.close()


@pytest.mark.parametrize("name", PACK)
def test_a_body_that_is_something_else_is_refused(name: str) -> None:
    with pytest.raises(StatementError, match="cannot be decompressed"):
        compression.make_decoder(name).add(b"settlement day of the balance, and more than a few bytes of it")


def test_an_unknown_coding_is_refused_by_name() -> None:
    with pytest.raises(StatementError, match="'br'"):
        compression.make_decoder("br")


@pytest.mark.parametrize(
    ("accepted", "name"),
    [("gzip", "gzip"), ("br, lz4;q=0.5, gzip", "lz4"), ("zstd;q=0, gzip", "gzip"), ("identity", None), ("", None)],
)
def test_the_first_coding_that_both_sides_support_is_used(accepted: str, name: str | None) -> None:
    encoder = compression.choose_encoder(accepted)
    assert (encoder.name if encoder else None) == name
