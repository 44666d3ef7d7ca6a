"""A process that is killed in the middle of a put leaves nothing under the key, and what it leaves is swept."""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from spotlightd.clients.bucket.folder import INCOMING, FolderBucket
from spotlightd.model.bucket import Access
from tests.clients.bucket_crash import SIZE
from tests.clients.bucket_world import bucket_of, digest, kept, keys, whole
from tests.real.store import BUCKET, Store
from tests.streams.proxy import proxying

ROOT = Path(__file__).parent.parent.parent


async def killed(told: dict[str, str], when: Callable[[], bool]) -> None:
    """Begin a put in a process of its own, and kill that when it has got so far."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.clients.bucket_crash", json.dumps(told), cwd=ROOT
    )
    try:
        async with asyncio.timeout(60):
            while not await asyncio.to_thread(when):
                assert child.returncode is None
                await asyncio.sleep(0.001)
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()


async def test_a_folder_is_swept_of_what_a_killed_process_left(tmp_path: Path) -> None:
    root = tmp_path / "bucket"
    await killed(
        {"folder": str(root)}, lambda: any(path.stat().st_size > 1 << 16 for path in root.glob(f"{INCOMING}/*"))
    )
    left = list((root / INCOMING).iterdir())
    assert len(left) == 1
    assert not (root / "large").exists()
    async with FolderBucket(root) as bucket:
        assert list((root / INCOMING).iterdir()) == []
        assert await keys(bucket) == []
        await kept(bucket, "large", bytes(SIZE))


@pytest.mark.parametrize("name", ["minio", "seaweedfs"])
async def test_a_store_is_swept_of_what_a_killed_process_left(request: pytest.FixtureRequest, name: str) -> None:
    store: Store = request.getfixturevalue(name)
    access = Access(store.access_key, store.secret_key, f"tests/{secrets.token_hex(6)}/")

    def begun() -> list[str]:
        found = store.client()._list_multipart_uploads(BUCKET).uploads
        return [str(one.upload_id) for one in found if one.object_name == f"{access.prefix}large"]

    async with proxying(store.port) as proxy:
        proxy.delay_seconds = 0.02
        told = {
            "url": f"http://{proxy.address}",
            "access_key": access.access_key,
            "secret_key": access.secret_key,
            "prefix": access.prefix,
        }
        await killed(told, lambda: bool(begun()))
    async with bucket_of(store, access=access) as bucket:
        assert await bucket.sweep() == 0  # it may still be under way elsewhere
        assert len(begun()) == 1
        assert await bucket.head("large") is None
        assert await keys(bucket) == []
    async with bucket_of(store, access=access, dangling_seconds=-5) as later:
        assert await later.sweep() == 1
        assert begun() == []
        await kept(later, "large", bytes(SIZE))
        assert digest(await whole(later, "large")) == digest(bytes(SIZE))


@pytest.mark.parametrize("name", ["minio", "seaweedfs"])
async def test_an_upload_that_is_given_up_is_ended_at_once(request: pytest.FixtureRequest, name: str) -> None:
    store: Store = request.getfixturevalue(name)
    async with bucket_of(store) as bucket:

        def begun() -> bool:
            return any(bucket._calls.is_ours(one.name) for one in bucket._calls.uploads(None)[0])

        putting = asyncio.create_task(kept(bucket, "large", bytes(SIZE)))
        async with asyncio.timeout(30):
            while not (putting.done() or await asyncio.to_thread(begun)):  # noqa: ASYNC110 - asked of the store
                await asyncio.sleep(0)
            putting.cancel()
            await asyncio.wait([putting])
            while await asyncio.to_thread(begun):  # noqa: ASYNC110 - asked of the store
                await asyncio.sleep(0.05)
