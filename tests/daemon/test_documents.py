"""The daemon takes its raw documents to the bucket: after kills, and with nothing but the bucket left, all is read again."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from spotlightd.errors import SettingsError
from spotlightd.runtime.archive import make_document_tiering
from spotlightd.runtime.instance import open_instance
from spotlightd.settings import stores
from spotlightd.settings.settings import Settings
from tests.daemon.place import Place
from tests.daemon.process import Daemon
from tests.daemon.publisher import half_month
from tests.daemon.test_bucket import s3
from tests.polling import until
from tests.real.store import Store

LEAVING = {"hot_days": {"fast_ftd": 1}, "every_seconds": 0.2, "cache_bytes": 1 << 30}


def local(place: Place) -> list[Path]:
    return sorted((place.state / "documents").glob("??/??/*"))


def aged(place: Place) -> None:
    """As if they had come two days ago; those that come after are new."""
    for path in local(place):
        modified = path.stat().st_mtime - 2 * 86_400
        os.utime(path, (modified, modified))


async def all_downloaded(place: Place, daemon: Daemon) -> None:
    for document in place.documents:
        address = f"{daemon.web}/source/{hashlib.sha256(document.content).hexdigest()}/raw"

        async def known(address: str = address) -> bool:
            async with daemon.session.head(address) as answer:
                return answer.status == 200

        await until(known, "the records in the warehouse are in step")
        async with daemon.session.get(address) as answer:
            assert (answer.status, await answer.read()) == (200, document.content)


async def all_read(place: Place, daemon: Daemon) -> None:
    """Each document is downloaded whole, and its line is shown."""
    await all_downloaded(place, daemon)
    for document in place.documents:
        page = await daemon.get(f"/source/{hashlib.sha256(document.content).hexdigest()}?line=2&member=0")
        assert "The line cannot be shown" not in page.text


@pytest.mark.parametrize("where", ["folder", "minio"])
async def test_documents_leave_the_folder_and_are_read_from_the_bucket(
    place: Place, request: pytest.FixtureRequest, where: str
) -> None:
    store: Store | None = request.getfixturevalue("minio") if where == "minio" else None
    sections: dict[str, Any] = {"documents": LEAVING}
    if store:
        sections["bucket"] = s3(
            place.folder, store.url, store.access_key, store.secret_key, prefix=f"{place.folder.name}/"
        )
    place.show(half_month(0), half_month(1))
    async with place.ready(**sections) as daemon:
        await place.wait_until_visible()
        aged(place)
        await until(lambda: not local(place), "they left")
        await all_read(place, daemon)
        beside = await place.command("audit", "--json")
        assert beside.json()["same"] == sum(document.rows for document in place.documents), beside.err
        await daemon.kill()
    shutil.rmtree(place.state / "cache")
    alone = await place.command("audit", "--json")
    assert alone.json()["same"] == sum(document.rows for document in place.documents), alone.err
    async with place.ready(**sections) as again:

        async def are_in_the_bucket() -> bool:
            tiers = (await again.get("/archive.json")).json()["documents"]
            return bool(tiers["bucket_only"]["documents"] == 2 and not tiers["problems"])

        await until(are_in_the_bucket, "the page shows where they are")
        await all_read(place, again)
        assert await again.stop() == 0


@pytest.mark.parametrize(
    ("settings", "detail"),
    [
        ({"hot_days": {"nothing": 3}}, "setting documents.hot_days names no source: 'nothing'"),
        ({"hot_days": {"sec_ftd": 3}, "cache_bytes": 1000}, "setting documents.cache_bytes: a document of sec_ftd may"),
    ],
)
async def test_a_policy_that_cannot_work_is_refused(tmp_path: Path, settings: dict[str, Any], detail: str) -> None:
    async with open_instance(
        Settings(state_dir=tmp_path / "state", documents=stores.DocumentsSettings(**settings))
    ) as instance:
        with pytest.raises(SettingsError) as caught:
            make_document_tiering(instance)
    assert str(caught.value).startswith(detail)
