"""A process that is killed during a put leaves no object under the key, and its leftovers are swept."""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from spotlightd.clients.bucket.folder import INCOMING, FolderBucket
from spotlightd.model.bucket import BucketAccess
from tests.clients.bucket_crash import SIZE
from tests.clients.bucket_world import digest, list_keys, open_bucket, put_object, read_object
from tests.real.store import BUCKET, Store
from tests.streams.proxy import proxying

ROOT = Path(__file__).parent.parent.parent


async def kill_during_put(target: dict[str, str], is_due: Callable[[], bool]) -> None:
    """Start a put in a process of its own, and kill that process when `is_due`."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.clients.bucket_crash", json.dumps(target), cwd=ROOT
    )
    try:
        async with asyncio.timeout(60):
            while not await asyncio.to_thread(is_due):
                assert child.returncode is None
                await asyncio.sleep(0.001)
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()


async def test_a_folder_is_swept_of_what_a_killed_process_left(tmp_path: Path) -> None:
    root = tmp_path / "bucket"
    await kill_during_put(
        {"folder": str(root)}, lambda: any(path.stat().st_size > 1 << 16 for path in root.glob(f"{INCOMING}/*"))
    )
    leftovers = list((root / INCOMING).iterdir())
    assert len(leftovers) == 1
    assert not (root / "large").exists()
    async with FolderBucket(root) as bucket:
        assert list((root / INCOMING).iterdir()) == []
        assert await list_keys(bucket) == []
        await put_object(bucket, "large", bytes(SIZE))


@pytest.mark.parametrize("name", ["minio", "seaweedfs"])
async def test_a_store_is_swept_of_what_a_killed_process_left(request: pytest.FixtureRequest, name: str) -> None:
    store: Store = request.getfixturevalue(name)
    access = BucketAccess(store.access_key, store.secret_key, f"tests/{secrets.token_hex(6)}/")

    def list_uploads() -> list[str]:
        uploads = store.client()._list_multipart_uploads(BUCKET).uploads
        return [str(upload.upload_id) for upload in uploads if upload.object_name == f"{access.prefix}large"]

    async with proxying(store.port) as proxy:
        proxy.delay_seconds = 0.02
        target = {
            "url": f"http://{proxy.address}",
            "access_key": access.access_key,
            "secret_key": access.secret_key,
            "prefix": access.prefix,
        }
        await kill_during_put(target, lambda: bool(list_uploads()))
    async with open_bucket(store, access=access) as bucket:
        assert await bucket.sweep() == 0  # the upload may still be under way in another process
        assert len(list_uploads()) == 1
        assert await bucket.head("large") is None
        assert await list_keys(bucket) == []
    async with open_bucket(store, access=access, dangling_seconds=-5) as later:
        assert await later.sweep() == 1
        assert list_uploads() == []
        await put_object(later, "large", bytes(SIZE))
        assert digest(await read_object(later, "large")) == digest(bytes(SIZE))


@pytest.mark.parametrize("name", ["minio", "seaweedfs"])
async def test_the_upload_of_a_cancelled_put_is_ended_at_once(request: pytest.FixtureRequest, name: str) -> None:
    store: Store = request.getfixturevalue(name)
    async with open_bucket(store) as bucket:

        def has_upload() -> bool:
            return any(bucket._requests.has_prefix(upload.name) for upload in bucket._requests.list_uploads(None)[0])

        putting = asyncio.create_task(put_object(bucket, "large", bytes(SIZE)))
        async with asyncio.timeout(30):
            while not (putting.done() or await asyncio.to_thread(has_upload)):  # noqa: ASYNC110 - a request to the store
                await asyncio.sleep(0)
            putting.cancel()
            await asyncio.wait([putting])
            while await asyncio.to_thread(has_upload):  # noqa: ASYNC110 - a request to the store
                await asyncio.sleep(0.05)
