"""Where raw documents lie, as `/archive` tells it; and one that is in the bucket alone, with and without the bucket."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from spotlightd.clients.bucket.folder import FolderBucket
from spotlightd.model.document_tiers import DocumentTiers, Tally
from tests.clients.documents_world import Watched, away, chunks, tiered
from tests.web.world import World

pytestmark = pytest.mark.asyncio(loop_scope="session")

LOOKED = datetime(2021, 3, 20, 9, 0, tzinfo=UTC)


async def test_the_page_tells_how_many_are_where_and_what_is_amiss(world: World) -> None:
    said = "document <b>0000 is neither in the folder nor in the bucket"
    keeping = DocumentTiers(
        Tally(1234, 5_000_000), Tally(900, 4_000_000), Tally(800, 3_000_000), (said,), LOOKED, {"sec_ftd": 90}
    )
    async with world.served(keeping=lambda: keeping) as one:
        _, text, _ = await one.get("/archive")
        _, plain, _ = await one.get("/archive.json")
    assert "1,234 in the folder, 800 in the bucket alone" in text
    assert "1 amiss" in text
    assert "<b>0000" not in text
    assert "90 days" in text
    told = json.loads(plain)["documents"]
    assert (told["local"], told["amiss"]) == ({"documents": 1234, "bytes": 5_000_000}, [said])


async def test_before_the_first_look_nothing_is_told(world: World) -> None:
    _, text, _ = await world.get("/archive")
    assert "Raw documents" not in text


async def test_a_document_in_the_bucket_alone_is_downloaded_or_it_is_said_why_not(world: World, tmp_path: Path) -> None:
    digest = next(iter(world.digests.values()))
    whole = b"".join([piece async for piece in world.documents.read(digest)])
    async with FolderBucket(tmp_path / "bucket") as folder:
        bucket = Watched(folder)
        async with tiered(tmp_path, bucket) as documents, world.served(documents=documents) as one:
            assert await away(documents, bucket, whole) == digest
            bucket.is_away = True
            status, text, _ = await one.get(f"/source/{digest}/raw")
            assert status == 503
            assert "cannot be had from the bucket now" in text
            bucket.is_away = False
            status, text, _ = await one.get(f"/source/{digest}/raw")
            assert (status, text.encode("latin-1")) == (200, whole)
            bucket.is_away = True
            assert (await one.get(f"/source/{digest}/raw"))[0] == 200
            await documents.put(chunks(whole))
            assert (await one.get(f"/source/{digest}/raw"))[0] == 200
