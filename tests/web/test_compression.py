"""Text is compressed with what the client asks for, and is the same text afterwards."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import cramjam
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from spotlightd import log
from spotlightd.errors import StoreError
from spotlightd.secret import HIDDEN
from spotlightd.web import compression
from tests.web.world import World

SECRET = "constructed-token-0123456789"
DECODERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "zstd": lambda body: zstandard.ZstdDecompressor().decompressobj().decompress(body),
    "br": lambda body: bytes(cramjam.brotli.decompress(body)),
    "gzip": gzip.decompress,
}


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("", ""),
        ("identity", ""),
        ("gzip", "gzip"),
        ("br", "br"),
        ("zstd", "zstd"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip, deflate, br", "br"),
        ("gzip;q=1.0, br;q=0.5", "gzip"),
        ("GZIP", "gzip"),
        ("zstd;q=0, br;q=0, gzip;q=0", ""),
        ("gzip;q=0, *", "zstd"),
        ("*;q=0", ""),
        ("*", "zstd"),
        ("identity;q=1, gzip;q=0.5", ""),
        ("gzip;q=x", ""),
        ("gzip;q=nan", ""),
        ("deflate", ""),
        ("x-gzip-like, , ;", ""),
    ],
)
def test_the_client_chooses_the_coding(accepted: str, coding: str) -> None:
    assert compression.choose_coding(accepted) == coding


@pytest.mark.parametrize("coding", compression.CODINGS)
@given(pieces=st.lists(st.binary(max_size=2_000), max_size=8))
def test_what_was_encoded_is_decoded(coding: str, pieces: list[bytes]) -> None:
    encoder = compression.make_encoder(coding)
    encoded = b"".join([*map(encoder.add, pieces), encoder.end()])
    assert DECODERS[coding](encoded) == b"".join(pieces)


async def fetch(world: World, path: str, accepted: str, method: str = "GET") -> tuple[aiohttp.ClientResponse, bytes]:
    """The answer with its body as it was sent."""
    headers = {"Accept-Encoding": accepted}
    async with (
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.request(method, world.address + path, headers=headers) as answer,
    ):
        return answer, await answer.read()


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("coding", compression.CODINGS)
@pytest.mark.parametrize(
    "path", ["/data/sec_ftd.csv", "/data/sec_ftd.ndjson", "/data/sec_ftd.json", "/data/sec_ftd.json?_size=50", "/data/sec_ftd", "/s/GME"]
)  # fmt: skip
async def test_text_is_compressed_as_asked(world: World, coding: str, path: str) -> None:
    plain, body = await fetch(world, path, "identity")
    answer, encoded = await fetch(world, path, coding)
    assert "Content-Encoding" not in plain.headers
    assert answer.headers["Content-Encoding"] == coding
    assert answer.headers["Content-Type"] == plain.headers["Content-Type"]
    assert plain.headers["Vary"] == answer.headers["Vary"] == "Accept-Encoding"
    assert plain.headers["ETag"] == answer.headers["ETag"]
    assert DECODERS[coding](encoded) == body
    assert len(encoded) < len(body) / 2


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
async def test_what_is_no_text_is_sent_as_it_is(world: World, suffix: str) -> None:
    answer, _ = await fetch(world, f"/data/sec_ftd.{suffix}", "gzip, br, zstd")
    assert "Content-Encoding" not in answer.headers


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("path", ["/data/sec_ftd.csv", "/data/sec_ftd", "/s/GME"])
async def test_head_says_what_get_would(world: World, path: str) -> None:
    got, _ = await fetch(world, path, "gzip")
    head, body = await fetch(world, path, "gzip", "HEAD")
    assert body == b""
    for name in ("Content-Encoding", "Content-Type", "Content-Disposition", "ETag", "Vary"):
        assert head.headers.get(name) == got.headers.get(name), name


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("coding", compression.CODINGS)
async def test_a_compressed_download_that_breaks_off_is_an_error(world: World, coding: str) -> None:
    class Failing:
        rows = staticmethod(world.warehouse.rows)

        @asynccontextmanager
        async def stream(self, *_: Any, **__: Any) -> AsyncIterator[AsyncIterator[bytes]]:
            async def chunks() -> AsyncIterator[bytes]:
                for _ in range(3):
                    yield bytes(100_000)
                    await asyncio.sleep(0)
                raise StoreError("the answer broke off")

            yield chunks()

    async with world.served(warehouse=Failing()) as broken:
        with pytest.raises(aiohttp.ClientError):
            await fetch(broken, "/data/sec_ftd.csv", coding)


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("coding", compression.CODINGS)
async def test_static_files_are_compressed_and_their_etag_says_so(world: World, coding: str) -> None:
    _, page = await fetch(world, "/", "identity")
    path = page.decode().split('href="/static/')[1].split('"')[0]
    plain, body = await fetch(world, f"/static/{path}", "identity")
    answer, encoded = await fetch(world, f"/static/{path}", coding)
    assert DECODERS[coding](encoded) == body
    assert answer.headers["ETag"] == plain.headers["ETag"]
    assert plain.headers["ETag"].startswith("W/")


@pytest.mark.parametrize("coding", ["", *compression.CODINGS])
@pytest.mark.asyncio(loop_scope="session")
async def test_a_compressed_page_shows_no_secret_that_the_process_knows(world: World, coding: str) -> None:
    log.add_secret(SECRET)
    notice = f"the venue said: {SECRET}"
    headers = {"Accept-Encoding": coding or "identity"}
    async with (
        world.served(notice=notice) as noticed,
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.get(noticed.address, headers=headers) as answer,
    ):
        assert answer.headers.get("Content-Encoding", "") == coding
        text = DECODERS[coding](await answer.read()).decode()
    assert SECRET not in text
    assert f"the venue said: {HIDDEN}" in text
