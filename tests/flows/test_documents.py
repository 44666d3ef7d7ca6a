"""Raw documents are proven in the bucket before they leave the folder, after any crash, damage or outage."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest

from spotlightd.backoff import Clock
from spotlightd.clients.bucket.folder import FolderBucket
from spotlightd.clients.documents.folder import document_path
from spotlightd.clients.documents.tiered import TieredDocuments
from spotlightd.clients.ledger.ledger import SqliteLedger
from spotlightd.clients.ledger.partitions import SqliteArchive
from spotlightd.errors import StoreError
from spotlightd.flows.gate import Gate
from spotlightd.flows.supervise import Board
from spotlightd.flows.upkeep.documents import DocumentTiering, Inventory, TieringPolicy
from spotlightd.model.bucket import BucketAccess, document_key
from spotlightd.model.document_tiers import DocumentTiers, LocalDocument, StoredDocument, Tally
from spotlightd.model.partition import RetentionRule
from spotlightd.model.provenance import Document
from tests.clients.bucket_world import open_bucket
from tests.clients.documents_world import WatchedBucket, chunks, content, read, tiered
from tests.flows.world import CrashError, Fuse, Fused
from tests.real.store import BUCKET
from tests.real.stores import Minio

ROOT = Path(__file__).parent.parent.parent
NOW = datetime(2026, 3, 20, 12, tzinfo=UTC)
STEPS = {"documents", "put", "head", "drop", "save_check"}


@dataclass
class World:
    folder: Path
    documents: TieredDocuments
    bucket: WatchedBucket
    ledger: SqliteLedger
    policy: TieringPolicy = field(default_factory=lambda: TieringPolicy({"constructed": 10}))
    gate: Gate = field(default_factory=Gate)
    board: Board = field(default_factory=Board)

    async def keep(self, *numbers: int, days: float = 20, source: str = "constructed") -> list[str]:
        """Documents that came so many days ago."""
        return [await self._save(content(number), days, source) for number in numbers]

    async def _save(self, whole: bytes, days: float, source: str) -> str:
        stored, at = await self.documents.put(chunks(whole)), NOW - timedelta(days=days)
        url = f"https://example.org/{source}/{stored.digest}"
        await self.ledger.save_document(Document(stored.digest, stored.size, source, url, "2026", at))
        os.utime(self.path(stored.digest), (at.timestamp(), at.timestamp()))
        return stored.digest

    def tiering(self, around: Any = lambda port: port, clock: Clock | None = None) -> DocumentTiering:
        """A new flow, as after a start of the daemon."""
        return DocumentTiering(
            around(self.documents.folder), around(self.bucket), around(self.ledger), around(SqliteArchive(self.ledger)),
            self.policy, gate=self.gate, clock=clock or Clock(wall=lambda: int(NOW.timestamp()) * 10**9),
        )  # fmt: skip

    async def round(self, tiering: DocumentTiering | None = None) -> DocumentTiers:
        return await (tiering or self.tiering()).run_round(self.board.reporter("documents"))

    def path(self, name: str) -> Path:
        return document_path(self.folder / "documents", name)

    def copy(self, name: str) -> Path:
        return self.folder / "bucket" / document_key(name)

    def spoil(self, name: str, whole: bytes) -> None:
        self.copy(name).chmod(0o600)
        self.copy(name).write_bytes(whole)

    def in_folder(self, *names: str) -> list[bool]:
        return [self.path(name).exists() for name in names]

    async def check(self) -> tuple[bool, str]:
        check = (await SqliteArchive(self.ledger).checks())["documents"]
        return check.passed, check.detail


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with (
        FolderBucket(tmp_path / "bucket") as bucket,
        SqliteLedger(tmp_path / "ledger.sqlite") as ledger,
    ):
        await SqliteArchive(ledger).save_retention_rule(RetentionRule("documents of constructed", 1, 1))
        watched = WatchedBucket(bucket)
        async with tiered(tmp_path, watched) as documents:
            yield World(tmp_path, documents, watched, ledger)


async def test_new_documents_are_copied_old_ones_leave_and_all_are_read(world: World) -> None:
    old, new = await world.keep(1, 2), await world.keep(3, days=3)
    tiers = await world.round()
    assert tiers == DocumentTiers(Tally(1, 1000), Tally(3, 3000), Tally(2, 2000), (), NOW)
    assert world.in_folder(*old, *new) == [False, False, True]
    for number, name in enumerate((*old, *new), 1):
        assert await read(world.documents, name) == content(number)
    assert await world.check() == (
        True, "1 document (1,000 bytes) in the folder, 2 documents (2,000 bytes) in the bucket alone: all are there",
    )  # fmt: skip


def test_a_round_works_only_on_documents_without_a_copy_and_those_that_are_due() -> None:
    days = {"old": 30, "older": 40, "copied": 3, "new": 2, "kept": 99}
    local = {name: LocalDocument(name, 1, NOW - timedelta(days=age)) for name, age in days.items()}
    stored = {name: StoredDocument(name, 1, ("patient" if name == "kept" else "constructed",)) for name in days}
    inventory = Inventory(stored, local, {"old": 1, "copied": 1})
    leaving = inventory.list_leaving(TieringPolicy({"constructed": 10}), NOW)
    assert [(document.digest, is_due) for document, is_due in leaving] == [
        ("older", True),
        ("old", True),
        ("new", False),
    ]


async def test_a_copy_is_read_back_when_it_is_made_and_again_before_the_drop(world: World) -> None:
    (name,) = await world.keep(1, days=3)
    await world.round()
    assert world.bucket.reads == [document_key(name)]
    await world.round()
    assert world.bucket.reads == [document_key(name)]
    at = (NOW - timedelta(days=11)).timestamp()
    os.utime(world.path(name), (at, at))
    await world.round()
    assert world.bucket.reads == [document_key(name)] * 2
    assert world.in_folder(name) == [False]


async def test_without_a_policy_the_bucket_is_not_read(world: World) -> None:
    world.policy, world.bucket.is_away = TieringPolicy(), True
    names = await world.keep(1, 2, days=4000)
    assert await world.round() == DocumentTiers(Tally(2, 2000), Tally(), Tally(), (), NOW)
    assert world.in_folder(*names) == [True, True]


async def test_each_source_has_its_retention_and_of_two_the_longest_counts(world: World) -> None:
    world.policy = TieringPolicy({"constructed": 10, "patient": 100})
    (mine,), (other,), (third,) = (
        await world.keep(1),
        await world.keep(2, source="patient"),
        await world.keep(3, source="no"),
    )
    both = await world.keep(4)
    await world.keep(4, source="patient")
    await world.round()
    assert world.in_folder(mine, other, third, *both) == [False, True, True, True]
    assert not world.copy(third).exists()
    many = StoredDocument("", 0, ("constructed", "no"))
    assert world.policy.retention(many) is None
    assert world.policy.retention(None) is None


async def test_what_the_ledger_does_not_know_is_left_where_it_is(world: World) -> None:
    stored = await world.documents.put(chunks(b"abc"))
    os.utime(world.path(stored.digest), (0, 0))
    await world.round()
    assert world.in_folder(stored.digest) == [True]
    assert not world.copy(stored.digest).exists()


async def test_a_document_that_is_read_stays_for_this_round(world: World) -> None:
    (name,) = await world.keep(1)
    async with world.documents.file(name) as path:
        await world.round()
        assert path.read_bytes() == content(1)
    assert (await world.round()).bucket_only == Tally(1, 1000)
    assert world.in_folder(name) == [False]


async def test_a_dropped_document_that_comes_again_leaves_again(world: World) -> None:
    (name,) = await world.keep(1)
    await world.round()
    await world.keep(1)
    assert world.in_folder(name) == [True]
    await world.round()
    assert world.in_folder(name) == [False]
    assert await read(world.documents, name) == content(1)


async def test_on_a_full_disk_only_what_leaves_at_once_is_copied(world: World) -> None:
    (old,), (new,) = await world.keep(1), await world.keep(2, days=3)
    world.gate.hold({"batch loads": "the disk is full"})
    await world.round()
    assert (world.in_folder(old, new), world.copy(new).exists()) == ([False, True], False)


# ---- crashes


async def test_a_crash_at_any_step_loses_nothing_and_the_next_round_finishes(world: World) -> None:
    names, step = list[str](), 0
    while True:
        step += 1
        names += await world.keep(step * 2, step * 2 + 1)
        fuse = Fuse(step)

        async def piece(fuse: Fuse = fuse) -> None:
            fuse.step()

        world.bucket.before_piece = piece
        try:
            await world.round(world.tiering(lambda port, fuse=fuse: Fused(port, fuse, STEPS)))
        except CrashError:
            world.bucket.before_piece = None
        else:
            break
        for name in names:
            local, copied = world.path(name).exists(), world.copy(name).exists()
            assert local or (copied and world.copy(name).stat().st_size == 1000)
        await world.round()
        assert not any(world.in_folder(*names))
    world.bucket.before_piece = None
    assert step > 20
    for number, name in enumerate(names, 2):
        assert await read(world.documents, name) == content(number)


async def test_a_process_killed_again_and_again_on_the_way_loses_no_document(world: World) -> None:
    """By the real clock of the child the documents are years old."""
    draw, kills, names = random.Random(11), 0, await world.keep(*range(60))
    for name in names:
        os.utime(world.path(name), (0, 0))
    while any(world.in_folder(*names)):
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.flows.tiering_crash", str(world.folder), stdout=PIPE, cwd=ROOT
        )
        assert child.stdout
        assert await child.stdout.readline() == b"begins\n"
        with suppress(TimeoutError):  # where on its way it dies is drawn by lot
            async with asyncio.timeout(draw.uniform(0.0, 0.01 * (kills + 1))):
                await child.stdout.readline()
        with suppress(ProcessLookupError):
            child.kill()
        await child.wait()
        kills += 1
        for name in names:
            assert world.path(name).exists() or world.copy(name).read_bytes()
        assert kills < 100
    assert kills > 1
    for number, name in enumerate(names):
        assert await read(world.documents, name) == content(number)


# ---- damage and silence


@pytest.mark.parametrize("damage", ["flipped byte", "cut off", "gone"])
async def test_a_copy_damaged_before_the_drop_stops_all_drops_and_is_reported(world: World, damage: str) -> None:
    (bad,) = await world.keep(1, days=3)
    tiering = world.tiering()
    await world.round(tiering)
    at = (NOW - timedelta(days=30)).timestamp()
    os.utime(world.path(bad), (at, at))
    (good,) = await world.keep(2)
    if damage == "gone":
        world.copy(bad).unlink()
        await world.round(tiering)  # it is copied again, and proven
        assert world.in_folder(bad, good) == [False, False]
        return
    world.spoil(bad, b"D" + content(1)[1:] if damage == "flipped byte" else content(1)[:-1])
    for flow in (tiering, tiering, world.tiering()):
        tiers = await world.round(flow)
        assert len(tiers.problems) == 1
        assert tiers.problems[0].startswith(f"document {bad}")
        assert world.in_folder(bad, good) == [True, True]
        well, detail = await world.check()
        assert not well
        assert detail.startswith(f"1 document is missing or damaged; nothing is dropped: document {bad}")
    assert await read(world.documents, bad) == content(1)
    world.copy(bad).unlink()
    await world.round(tiering)
    assert world.in_folder(bad, good) == [False, False]
    assert (await world.check())[0]


async def test_a_document_damaged_in_the_folder_is_not_copied_and_does_not_hold_up_the_copies_of_others(
    world: World,
) -> None:
    bad, good = await world.keep(1, 2, days=3)
    world.path(bad).chmod(0o600)
    world.path(bad).write_bytes(b"D" + content(1)[1:])
    tiers = await world.round()
    assert "should have the SHA-256" in tiers.problems[0]
    assert (world.copy(bad).exists(), world.copy(good).exists()) == (False, True)


async def test_a_bucket_emptied_by_another_program_is_reported_and_stops_drops(world: World) -> None:
    first, second = await world.keep(1, 2)
    await world.round()
    for name in (first, second):
        world.copy(name).unlink()
    (new,) = await world.keep(3)
    tiers = await world.round()
    assert set(tiers.problems) == {
        f"document {name} is neither in the folder nor in the bucket" for name in (first, second)
    }
    assert world.in_folder(new) == [True]
    assert not (await world.check())[0]
    with pytest.raises(StoreError, match=f"^there is no document {first} in /.*, nor in the bucket"):
        await read(world.documents, first)
    await world.keep(1)  # the publisher still has it
    world.policy = replace(world.policy, lost=frozenset({second}))
    assert (await world.round()).problems == ()
    assert world.in_folder(first, new) == [False, False]


async def test_without_a_policy_missing_documents_are_reported_too(world: World) -> None:
    world.policy = TieringPolicy()
    (name,) = await world.keep(1)
    await world.documents.folder.drop(name)
    assert (await world.round()).problems == (f"document {name} is neither in the folder nor in the bucket",)


async def test_while_the_bucket_is_away_nothing_leaves_and_then_it_goes_on(world: World) -> None:
    old, new = await world.keep(1, 2)
    world.bucket.is_away = True
    with pytest.raises(StoreError, match="cannot be reached"):
        await world.round()
    assert world.in_folder(old, new) == [True, True]
    world.bucket.is_away = False
    await world.round()
    assert world.in_folder(old, new) == [False, False]


async def test_a_bucket_that_goes_away_in_the_middle_of_a_proof_blames_no_document(world: World) -> None:
    names = await world.keep(1, 2)

    async def goes() -> None:
        world.bucket.is_away = True

    world.bucket.before_piece = goes
    with pytest.raises(StoreError, match="cannot be reached"):
        await world.round()
    assert world.in_folder(*names) == [True, True]
    world.bucket.before_piece, world.bucket.is_away = None, False
    assert (await world.round()).problems == ()
    assert world.in_folder(*names) == [False, False]


async def test_the_flow_holds_while_it_fails_and_tries_sooner_than_usual(world: World) -> None:
    await world.keep(1)
    world.bucket.is_away, pauses = True, list[tuple[str, float]]()

    async def sleep(seconds: float) -> None:
        (status,) = world.board.read()
        pauses.append((status.state, seconds))
        world.bucket.is_away = len(pauses) < 3
        if len(pauses) == 5:
            raise asyncio.CancelledError

    tiering = world.tiering(clock=Clock(wall=lambda: int(NOW.timestamp()) * 10**9, sleep=sleep))
    with suppress(asyncio.CancelledError):
        await tiering(world.board.reporter("documents"))
    assert [state for state, _ in pauses] == ["holding"] * 3 + ["waiting"] * 2
    assert [
        0.8 * expected <= pause <= expected
        for expected, (_, pause) in zip((60, 120, 240, 3600, 3600), pauses, strict=True)
    ] == [True] * 5


async def test_the_same_on_a_real_store(tmp_path: Path, minio: Minio) -> None:
    access = BucketAccess(minio.access_key, minio.secret_key, f"tests/{token_hex(6)}/")
    async with open_bucket(minio, access=access) as store, SqliteLedger(tmp_path / "ledger.sqlite") as ledger:
        bucket = WatchedBucket(store)
        async with tiered(tmp_path, bucket) as documents:
            world = World(tmp_path, documents, bucket, ledger)
            await world.tiering().update_retention()  # as a start notes the rules of a new state
            old, new = await world.keep(1, 2), await world.keep(3, days=3)
            tiers = await world.round()
            assert (tiers.local, tiers.copied, tiers.bucket_only, tiers.problems) == (
                Tally(1, 1000), Tally(3, 3000), Tally(2, 2000), (),
            )  # fmt: skip
            for number, name in enumerate((*old, *new), 1):
                assert await read(documents, name) == content(number)
            assert len(tiers.problems) == 0
            (bad,), whole = await world.keep(4, days=3), content(4)
            await world.round()
            key = f"{access.prefix}{document_key(bad)}"
            digest = {"sha256": bad}
            minio.client().put_object(BUCKET, key, BytesIO(b"D" + whole[1:]), len(whole), metadata=dict(digest))
            os.utime(world.path(bad), (0, 0))
            for _ in range(2):
                (error,) = (await world.round()).problems
                assert f"document {bad}: its copy in the bucket is damaged" in error
                assert world.in_folder(bad) == [True]


async def test_a_shorter_rule_for_documents_is_told_and_waits_for_a_day(world: World) -> None:
    names = await world.keep(1, 2, days=20)
    world.policy = TieringPolicy({"constructed": 0})
    await world.round()
    world.policy = TieringPolicy({"constructed": 10})
    tiers = await world.round()
    (alarm,) = tiers.shortened
    assert alarm.startswith("documents of constructed: the settings say 10 days instead of permanently.")
    assert "2 documents (2,000 bytes)" in alarm
    assert world.in_folder(*names) == [True, True]
    later = NOW + timedelta(days=1)
    tiers = await world.round(world.tiering(clock=Clock(wall=lambda: int(later.timestamp()) * 10**9)))
    assert tiers.shortened == ()
    assert world.in_folder(*names) == [False, False]
