"""The daemon and its bucket: wrong settings are refused, and a store that does not answer holds up nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from spotlightd.errors import SettingsError
from spotlightd.runtime.instance import open_instance
from spotlightd.settings.settings import Settings
from spotlightd.settings.stores import BucketSettings
from tests.daemon.place import Place
from tests.daemon.publisher import half_month
from tests.polling import until
from tests.real.store import Store

ACCESS, SECRET = "constructed-access-key", "constructed-secret-key"


def s3(folder: Path, url: str, access: str = ACCESS, secret: str = SECRET, **changes: Any) -> dict[str, Any]:
    """The section [bucket], with its keys in files."""
    names = {"access_key_file": access, "secret_key_file": secret}
    for name, key in names.items():
        path = folder / name
        path.touch(mode=0o600)
        path.write_text(key)
    files = {name: str(folder / name) for name in names}
    timeouts = {"connect_seconds": 1.0, "read_seconds": 1.0}
    return {"kind": "s3", "url": url, "prefix": "box1/", **files, **timeouts, **changes}


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"url": "127.0.0.1:9000"}, "setting bucket.url: '127.0.0.1:9000' is not like http://127.0.0.1:9000"),
        ({"url": "http://127.0.0.1:9000/path"}, "is not like http://127.0.0.1:9000"),
        ({"url": "http://me:secret@127.0.0.1:9000"}, "is not like http://127.0.0.1:9000"),
        ({"name": "No"}, "setting bucket.name: 'No' is no name of a bucket"),
        ({"prefix": "a b"}, "setting bucket.prefix: 'a b' must be words"),
        ({"threads": 0}, "must not be 0"),
        ({"secret": "minioadmin"}, "holds a secret that is too short or well known"),
        ({"secret": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}, "holds a secret that is too short or well known"),
        ({"secret_key_file": ""}, "setting bucket.secret_key_file names no file"),
    ],
)
async def test_settings_that_cannot_work_are_refused_before_anything_starts(
    tmp_path: Path, changes: dict[str, Any], detail: str
) -> None:
    settings = s3(tmp_path, "http://127.0.0.1:9000", secret=changes.pop("secret", SECRET)) | changes
    with pytest.raises(SettingsError) as caught:
        async with open_instance(Settings(state_dir=tmp_path / "state", bucket=BucketSettings(**settings))):
            pass
    assert detail in str(caught.value)
    assert not (tmp_path / "state" / "engine").exists()


async def test_a_store_that_is_down_stops_nothing_and_comes_back(place: Place, free_port: int, minio: Store) -> None:
    place.show(half_month(0))
    error = f"bucket spotlightd at 127.0.0.1:{free_port} cannot be reached"
    async with place.start(bucket=s3(place.folder, f"http://127.0.0.1:{free_port}")) as daemon:
        await daemon.wait_for("daemon ready")
        await place.wait_until_visible()
        await until(lambda: daemon.is_degraded(f"bucket: {error}"), "it says so")
        assert daemon.find_events("store failed", flow="bucket")
    done = await place.command("check")
    assert done.status == 0
    assert f"ready to start; the archive and documents would wait for the bucket: {error}" in done.out
    place.settings(bucket=s3(place.folder, minio.url, minio.access_key, minio.secret_key))
    done = await place.command("check")
    assert done.status == 0, done.err
    assert minio.secret_key not in done.out
    async with place.ready(bucket=s3(place.folder, minio.url, minio.access_key, minio.secret_key)) as again:
        await again.wait_for("bucket swept")
    assert SECRET not in daemon.other_lines
    assert minio.secret_key not in again.other_lines


async def test_a_folder_on_a_disk_that_is_gone_is_reported(place: Place) -> None:
    (place.folder / "disk").write_text("no folder\n")
    async with place.start(bucket={"folder": str(place.folder / "disk" / "bucket")}) as daemon:
        text = f"bucket: bucket folder {place.folder}/disk/bucket failed (Not a directory)"
        await until(lambda: daemon.is_degraded(text), "it says so")
