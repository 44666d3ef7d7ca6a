"""The documents folder on a real file system: crashes, full disks, forbidden folders, damage."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from spotlightd.clients.documents import folder as module
from spotlightd.clients.documents.folder import FolderDocuments, document_path
from spotlightd.errors import StoreError
from tests.clients import documents_crash


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


async def test_only_this_user_has_access_and_a_document_is_two_folders_deep(tmp_path: Path) -> None:
    root = tmp_path / "state" / "documents"
    async with FolderDocuments(root) as documents:
        digest = (await documents.put(chunks(b"abc"))).digest
        assert document_path(root, digest) == root / digest[:2] / digest[2:4] / digest
    assert files(root) == [root / digest[:2] / digest[2:4] / digest]
    assert {folder.stat().st_mode & 0o777 for folder in (root, root / digest[:2], root / digest[:2] / digest[2:4])} == {
        0o700
    }


async def test_what_a_crash_left_behind_is_removed_at_opening_and_objects_stay(tmp_path: Path) -> None:
    async with FolderDocuments(tmp_path) as documents:
        digest = (await documents.put(chunks(b"abc"))).digest
    (tmp_path / "incoming" / "torn").write_bytes(b"half")
    async with FolderDocuments(tmp_path) as documents:
        assert files(tmp_path) == [document_path(tmp_path, digest)]


async def test_a_reader_beside_the_daemon_sweeps_nothing(tmp_path: Path) -> None:
    async with FolderDocuments(tmp_path) as documents:
        digest = (await documents.put(chunks(b"abc"))).digest
        (tmp_path / "incoming" / "coming").write_bytes(b"half")
        assert [piece async for piece in FolderDocuments(tmp_path).read(digest)] == [b"abc"]
        assert (tmp_path / "incoming" / "coming").exists()


async def test_an_object_that_is_there_is_not_replaced(tmp_path: Path) -> None:
    async with FolderDocuments(tmp_path) as documents:
        path = document_path(tmp_path, (await documents.put(chunks(b"abc"))).digest)
        before = path.stat()
        await documents.put(chunks(b"abc"))
        assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
        assert files(tmp_path) == [path]


async def test_a_death_at_any_step_of_a_put_leaves_the_whole_object_or_none(tmp_path: Path) -> None:
    ran = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, documents_crash.__file__, str(tmp_path)],
        capture_output=True,
        check=True,
        text=True,
    )
    deaths = [json.loads(line) for line in ran.stdout.splitlines()]
    assert {death["call"] for death in deaths} == set(documents_crash.CALLS)
    content = b"".join(documents_crash.PARTS)
    digest = hashlib.sha256(content).hexdigest()
    survived = [await after_death(tmp_path / str(death["at"]) / "documents", digest, content) for death in deaths]
    linked = [death["call"] for death in deaths].index("link")
    assert survived == [number > linked for number in range(len(deaths))]


async def after_death(root: Path, digest: str, content: bytes) -> bool:
    """Whether the object was there when the folder was opened again; in either case the next put completes it."""
    async with FolderDocuments(root) as documents:
        existing = files(root)
        assert [path.read_bytes() for path in existing] in ([], [content])
        stored = await documents.put(chunks(content))
        assert (stored.digest, stored.new) == (digest, not existing)
        assert files(root) == [document_path(root, digest)]
        assert b"".join([piece async for piece in documents.read(digest)]) == content
    return bool(existing)


async def test_file_and_folders_are_flushed_before_a_put_returns_and_in_that_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[Path] = []
    fsync, link = os.fsync, os.link

    def record_call(handle: int) -> None:
        flushed.append(Path(f"/proc/self/fd/{handle}").readlink())
        fsync(handle)

    def linked(source: Path, target: Path) -> None:
        flushed.append(target)
        link(source, target)

    async with FolderDocuments(tmp_path) as documents:
        monkeypatch.setattr(os, "fsync", record_call)
        monkeypatch.setattr(os, "link", linked)
        for _ in range(2):
            path = document_path(tmp_path, (await documents.put(chunks(b"abc"))).digest)
            incoming, *rest = flushed
            assert incoming.parent == tmp_path / "incoming"
            assert rest == [path, tmp_path, path.parent.parent, path.parent]
            flushed.clear()


# ---- disks that refuse


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB, where this user may mount one."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "spotlightd-test", str(path)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs root to mount a small tmpfs; run the tests as root once")
    yield path
    subprocess.run(["umount", str(path)], check=True)


async def test_a_full_disk_is_reported_with_the_remedy_leaves_nothing_and_recovers(small_disk: Path) -> None:
    root = small_disk / "documents"
    async with FolderDocuments(root) as documents:
        await check_full(documents, root)
        assert files(root) == []
        assert (await documents.put(chunks(b"x" * 500_000))).new


async def test_a_disk_that_is_full_to_the_last_byte_fails_its_ping(small_disk: Path) -> None:
    root = small_disk / "documents"
    async with FolderDocuments(root) as documents:
        (small_disk / "ballast").write_bytes(bytes(os.statvfs(small_disk).f_bavail * 4096))
        with pytest.raises(StoreError, match="is full"):
            await documents.ping()
        (small_disk / "ballast").unlink()
        await documents.ping()


async def test_a_disk_turned_read_only_is_reported_with_the_remedy(small_disk: Path) -> None:
    root = small_disk / "documents"
    async with FolderDocuments(root) as documents:
        digest = (await documents.put(chunks(b"abc"))).digest
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
        with pytest.raises(StoreError) as caught:
            await documents.put(chunks(b"def"))
        assert str(caught.value).startswith(
            f"documents folder {root} is not writable (Read-only file system: {root}/incoming/"
        )
        assert str(caught.value).endswith("): make it writable for the user that runs spotlightd")
        with pytest.raises(StoreError, match="is not writable"):
            await documents.ping()
        assert [piece async for piece in documents.read(digest)] == [b"abc"]


async def check_full(documents: FolderDocuments, root: Path) -> None:
    with pytest.raises(StoreError) as caught:
        await documents.put(chunks(*[b"x" * 500_000] * 5))
    assert str(caught.value) == (
        f"documents folder {root} is full (No space left on device): free space there; the fetch is repeated"
    )


@pytest.mark.parametrize("call", ["write", "fsync", "link", "mkdir"])
async def test_a_disk_that_fills_up_at_any_step_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    async with FolderDocuments(tmp_path) as documents:
        with monkeypatch.context() as patch:
            patch.setattr(os, call, refuse)
            await check_full(documents, tmp_path)
        assert files(tmp_path) == []
        assert (await documents.put(chunks(b"abc"))).new


async def test_a_write_that_takes_only_a_part_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, piece: write(file, bytes(piece[:1000])))
    async with FolderDocuments(tmp_path) as documents:
        stored = await documents.put(chunks(b"abc" * 5000))
        assert document_path(tmp_path, stored.digest).read_bytes() == b"abc" * 5000


async def test_a_folder_that_cannot_be_created_is_reported_at_opening(tmp_path: Path) -> None:
    (tmp_path / "documents").write_text("a file where the folder should be")
    with pytest.raises(StoreError) as caught:
        async with FolderDocuments(tmp_path / "documents"):
            pass
    assert str(caught.value) == (
        f"documents folder {tmp_path / 'documents'} failed (File exists): check that it exists, and check its disk"
    )


async def test_a_folder_of_another_user_is_reported_at_opening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(path: object, *_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, "mkdir", forbidden)
    root = tmp_path / "documents"
    with pytest.raises(StoreError) as caught:
        async with FolderDocuments(root):
            pass
    assert str(caught.value) == (
        f"documents folder {root} is not writable (Permission denied: {root}): make it writable for the user that runs spotlightd"
    )


async def test_an_object_whose_bytes_changed_is_refused_when_read_whole(tmp_path: Path) -> None:
    async with FolderDocuments(tmp_path) as documents:
        stored = await documents.put(chunks(b"abc"))
        path = document_path(tmp_path, stored.digest)
        path.chmod(0o600)
        path.write_bytes(b"abd")
        with pytest.raises(StoreError) as caught:
            [piece async for piece in documents.read(stored.digest)]
    assert str(caught.value) == (
        f"document {path} is damaged: its bytes no longer have its SHA-256; restore it or fetch it again"
    )


async def test_an_object_that_was_cut_short_is_found_when_it_is_fetched_again(tmp_path: Path) -> None:
    async with FolderDocuments(tmp_path) as documents:
        path = document_path(tmp_path, (await documents.put(chunks(b"abc"))).digest)
        path.chmod(0o600)
        path.write_bytes(b"a")
        with pytest.raises(StoreError) as caught:
            await documents.put(chunks(b"abc"))
    assert str(caught.value) == f"document {path} is damaged: its length is wrong; delete it, then it is fetched again"


async def test_a_disk_that_hangs_fails_the_ping_takes_one_thread_and_leaves_the_loop_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    thaw, probes = threading.Event(), []

    def hang(_: Path) -> None:
        probes.append(threading.current_thread().name)
        thaw.wait()

    monkeypatch.setattr(module, "PING_SECONDS", 0.05)
    monkeypatch.setattr(module, "_probe", hang)
    async with FolderDocuments(tmp_path) as documents:
        for _ in range(3):
            with pytest.raises(StoreError) as caught:
                await documents.ping()
            assert str(caught.value) == f"documents folder {tmp_path} did not answer within 0.05 s: check its disk"
        assert len(probes) == 1
        thaw.set()
        await documents.ping()


async def test_no_file_is_closed_while_a_thread_still_writes_to_it_however_often_the_put_is_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, close, writing, closed = os.write, os.close, threading.Event(), []

    def slowly(file: int, piece: bytes) -> int:
        writing.set()
        time.sleep(0.1)
        took = write(file, piece)
        writing.clear()
        return took

    def record_call(file: int) -> None:
        closed.append(writing.is_set())
        close(file)

    async with FolderDocuments(tmp_path) as documents:
        monkeypatch.setattr(os, "write", slowly)
        monkeypatch.setattr(os, "close", record_call)
        putting = asyncio.create_task(documents.put(chunks(b"x" * 2_000_000)))
        await asyncio.to_thread(writing.wait)
        while not putting.done():
            putting.cancel()
            await asyncio.sleep(0)
        assert putting.cancelled()
    assert closed == [False]
    assert files(tmp_path) == []
