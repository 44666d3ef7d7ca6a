"""Where raw documents are, as `/archive` shows it; and one that is only in the bucket, with and without the bucket."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from spotlightd.clients.bucket.folder import FolderBucket
from spotlightd.model.document_tiers import DocumentTiers, Tally
from tests.clients.documents_world import WatchedBucket, chunks, put_in_bucket, tiered
from tests.web.world import World

pytestmark = pytest.mark.asyncio(loop_scope="session")

CHECKED_AT = datetime(2021, 3, 20, 9, 0, tzinfo=UTC)


async def test_the_page_shows_how_many_documents_are_where_and_problems(world: World) -> None:
    problem = "document <b>0000 is neither in the folder nor in the bucket"
    document_tiers = DocumentTiers(
        Tally(1234, 5_000_000), Tally(900, 4_000_000), Tally(800, 3_000_000), (problem,), CHECKED_AT, {"sec_ftd": 90}
    )
    async with world.served(document_tiers=lambda: document_tiers) as served:
        _, text, _ = await served.get("/archive")
        _, plain, _ = await served.get("/archive.json")
    assert "1,234 in the folder, 800 in the bucket only" in text
    assert "1 problem</mark>" in text
    assert "<b>0000" not in text
    assert "90 days" in text
    documents_json = json.loads(plain)["documents"]
    assert (documents_json["local"], documents_json["problems"]) == ({"documents": 1234, "bytes": 5_000_000}, [problem])


async def test_before_the_first_check_nothing_is_shown(world: World) -> None:
    _, text, _ = await world.get("/archive")
    assert "Raw documents" not in text


async def test_a_document_only_in_the_bucket_is_downloaded_or_the_reason_is_given(world: World, tmp_path: Path) -> None:
    digest = next(iter(world.digests.values()))
    whole = b"".join([piece async for piece in world.documents.read(digest)])
    async with FolderBucket(tmp_path / "bucket") as folder:
        bucket = WatchedBucket(folder)
        async with tiered(tmp_path, bucket) as documents, world.served(documents=documents) as served:
            assert await put_in_bucket(documents, bucket, whole) == digest
            bucket.is_away = True
            status, text, _ = await served.get(f"/source/{digest}/raw")
            assert status == 503
            assert "cannot be read from the bucket now" in text
            bucket.is_away = False
            status, text, _ = await served.get(f"/source/{digest}/raw")
            assert (status, text.encode("latin-1")) == (200, whole)
            bucket.is_away = True
            assert (await served.get(f"/source/{digest}/raw"))[0] == 200
            await documents.put(chunks(whole))
            assert (await served.get(f"/source/{digest}/raw"))[0] == 200
