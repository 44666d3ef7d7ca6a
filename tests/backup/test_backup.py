"""A backup restores the same state, whatever crashed before; and nothing but the same state."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from spotlightd.clients.bucket.folder import FolderBucket
from spotlightd.commands.doctor.findings import Harm, judge_backups
from spotlightd.datasets.system import hidden_rows
from spotlightd.datasets.trades import trades
from spotlightd.errors import SettingsError, StoreError
from spotlightd.flows.backup.manifest import read_manifest
from spotlightd.flows.backup.prune import Pruned, prune
from spotlightd.flows.backup.record import note_backup, read_backups
from spotlightd.flows.backup.writer import WrittenBackup, write_backup
from spotlightd.ports.progress import ignore_progress
from spotlightd.ports.storage import Bucket
from spotlightd.runtime import restoring
from spotlightd.runtime.instance import LEDGER_FILE
from spotlightd.runtime.restoring import restore_on_trial, restore_state
from spotlightd.settings.settings import Settings
from tests.archive.archive_world import tick
from tests.backup.conftest import DAYS, OWN_SOURCE, State, read_facts
from tests.flows.world import CrashError, Fuse, Fused, crash_steps


class FusedReads:
    """A bucket of which each read is two steps."""

    def __init__(self, bucket: Bucket, fuse: Fuse) -> None:
        self._bucket, self._fuse = bucket, fuse

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bucket, name)

    async def read(self, key: str) -> AsyncIterator[bytes]:
        self._fuse.step()
        async for piece in self._bucket.read(key):
            yield piece
        self._fuse.step()


async def restore(state: State, target: Settings, fuse: Fuse | None = None) -> None:
    async with FolderBucket(state.backups) as bucket:
        source: Any = FusedReads(bucket, fuse) if fuse else bucket
        await restore_state(target, source, "", None, ignore_progress)


def changed(later: WrittenBackup, earlier: WrittenBackup) -> set[str]:
    """The kinds of the objects that the later backup added."""
    known = {item.key for item in earlier.manifest.objects}
    return {item.kind for item in later.manifest.objects if item.key not in known}


def fresh(state: State, name: str) -> Settings:
    return replace(state.settings, state_dir=state.backups.parent / name)


async def test_a_second_backup_adds_what_is_new_and_a_restore_gives_the_state_that_the_ledger_knows(
    state: State,
) -> None:
    """A row of a load that the ledger does not know came after it was copied: its next load gets that number."""
    assert state.first is not None
    kinds = [item.kind for item in state.first.manifest.objects]
    assert (kinds.count("ledger"), kinds.count("source"), kinds.count("document")) == (1, 2, 2)
    assert kinds.count("bucket") >= 2
    assert state.first.new_objects == len(kinds)
    unknown = list(tick(DAYS[2], 7))
    unknown[[column.name for column in trades.stored].index("load_id")] = 77
    async with state.context() as context:
        again = await write_backup(context, ignore_progress)
        await context.warehouse.insert(trades, [unknown])
        at = datetime(2026, 3, 1, tzinfo=UTC)
        pairs = [(1, 77), (77, 1)]  # what that load hides, and what is hidden of it
        hidden = [("trades", load_id, 0, 1, by_load, at) for load_id, by_load in pairs]
        await context.warehouse.insert(hidden_rows, hidden)
        second = await write_backup(context, ignore_progress)
    assert changed(again, state.first) <= {"ledger"}  # a start may note something in it
    assert changed(second, again) == {"rows"}
    assert {item.name: item.rows for item in second.manifest.rows_of("trades")} == {
        "trades/20260301-1": 1, "trades/20260319-0": 101,
    }  # fmt: skip
    target = fresh(state, "restored")
    await restore(state, target)
    assert (target.state_dir / "sources" / "own.py").read_text() == OWN_SOURCE
    assert (target.state_dir / "sources" / "own" / "daily.py").read_text() == OWN_SOURCE * 2
    assert await read_facts(target) == state.facts
    with pytest.raises(SettingsError, match="exists: a backup is restored into a new state folder only"):
        await restore(state, target)
    async with replace(state, settings=target).context() as context:  # late rows are of the next generation
        await context.warehouse.insert(trades, [tick(DAYS[0], 501), tick(DAYS[2], 901)])
        sql = "SELECT _partition_id, count() FROM trades GROUP BY 1 ORDER BY 1"
        assert (await context.warehouse.rows(sql)).rows == (("20260301-1", 2), ("20260319-0", 101))


@pytest.mark.parametrize("kind", ["rows", "ledger"])
async def test_a_damaged_object_is_refused_by_name(state: State, kind: str) -> None:
    assert state.first is not None
    item = next(item for item in state.first.manifest.objects if item.kind == kind)
    path = state.backups / item.key
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(content)
    target = fresh(state, "restored")
    with pytest.raises(StoreError, match=item.key):
        await restore(state, target)
    assert not (target.state_dir / LEDGER_FILE).exists()


async def test_partitions_that_move_in_every_pass_end_the_backup_without_a_manifest(state: State) -> None:
    class Moving:
        """A warehouse whose archive goes on all the time."""

        def __init__(self, warehouse: Any) -> None:
            self._warehouse, self._looks = warehouse, 0

        def __getattr__(self, name: str) -> Any:
            return getattr(self._warehouse, name)

        async def rows(self, sql: str, *values: Any) -> Any:
            if "FROM archives" not in sql:
                return await self._warehouse.rows(sql, *values)
            self._looks += 1
            return await self._warehouse.rows(f"SELECT {self._looks}")

    shutil.rmtree(state.backups)
    async with state.context() as context:
        moving: Any = Moving(context.warehouse)
        with pytest.raises(StoreError, match="partitions moved during each of 5 passes"):
            await write_backup(replace(context, warehouse=moving), ignore_progress)
        with pytest.raises(StoreError, match="there is no backup"):
            await read_manifest(context.target, "")


async def test_older_backups_are_removed_with_what_only_they_list(state: State) -> None:
    assert state.first is not None
    async with state.context() as context:
        await context.warehouse.insert(trades, [tick(DAYS[2], 902)])
        second = await write_backup(context, ignore_progress)
    only_first = {item.key for item in state.first.manifest.objects} - {item.key for item in second.manifest.objects}
    async with FolderBucket(state.backups) as target:
        assert await prune(target, "", 2) == Pruned(0, 0)
        assert await prune(target, "", 1) == Pruned(1, len(only_first))
        keys = {item.key async for item in target.list("")}
        assert keys == {item.key for item in second.manifest.objects} | {second.key}
        (state.backups / second.key).write_bytes(b"{}")
        with pytest.raises(StoreError, match="is damaged"):
            await prune(target, "", 1)
        assert {item.key async for item in target.list("")} == keys


async def test_a_trial_restores_everything_beside_the_state_and_leaves_nothing(state: State) -> None:
    folder = state.settings.state_dir / "backup" / "trial"
    async with FolderBucket(state.backups) as bucket:
        restored = await restore_on_trial(state.settings, bucket, "", None, folder, ignore_progress)
        assert restored.rows["trades"] == 101  # the others are in the bucket
        assert not folder.exists()
        assert state.first is not None
        (state.backups / state.first.manifest.rows_of("trades")[0].key).unlink()
        with pytest.raises(StoreError, match="there is no object rows/trades"):
            await restore_on_trial(state.settings, bucket, "", None, folder, ignore_progress)
        assert not folder.exists()


def test_what_is_noted_of_backups_is_read_by_the_daemon(tmp_path: Path) -> None:
    (tmp_path / "backup").mkdir()
    assert read_backups(tmp_path) == {}
    began = datetime(2026, 3, 1, 4, tzinfo=UTC)
    note_backup(tmp_path, "written", began)
    assert read_backups(tmp_path) == {"written": began}
    assert [finding.harm for finding in judge_backups({}, began)] == [Harm.ADVICE]
    assert list(judge_backups({"written": began}, began + timedelta(days=2))) == []
    late = list(judge_backups({"written": began}, began + timedelta(days=3)))
    assert [(finding.harm, finding.problem) for finding in late] == [
        (Harm.LATE, "the newest backup is of 2026-03-01 04:00 UTC")
    ]


@pytest.mark.slow
async def test_a_backup_that_crashes_at_any_step_is_none_and_the_next_one_is_whole(state: State) -> None:
    shutil.rmtree(state.backups)
    crashes = 0
    async with state.context() as context:
        for step in crash_steps():
            fused: Any = Fused(context.target, Fuse(step), only={"put"})
            try:
                written = await write_backup(replace(context, target=fused), ignore_progress)
                break
            except CrashError:
                crashes += 1
                with pytest.raises(StoreError, match="there is no backup"):
                    await read_manifest(context.target, "")
        assert await read_manifest(context.target, "") == written.manifest
    assert crashes
    target = fresh(state, "restored")
    await restore(state, target)
    assert await read_facts(target) == state.facts


@pytest.mark.slow
async def test_a_restore_that_crashes_at_any_step_is_finished_by_the_next_one(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, crashes = fresh(state, "restored"), 0

    def end(*_: Path) -> None:
        raise CrashError

    with monkeypatch.context() as patched:
        patched.setattr(restoring, "_commit", end)
        for step in crash_steps():
            fuse = Fuse(step)
            with pytest.raises(CrashError):
                await restore(state, target, fuse)
            assert not (target.state_dir / LEDGER_FILE).exists()
            crashes += 1
            if fuse.steps < step:
                break  # it came as far as the last step, which is the ledger's rename
    assert crashes > 2
    with monkeypatch.context() as patched:
        patched.setattr("shutil.rmtree", end)
        with pytest.raises(CrashError):
            await restore(state, target)
    assert await read_facts(target) == state.facts


async def test_tables_without_a_ledger_are_not_taken_for_a_new_state(state: State) -> None:
    for path in state.settings.state_dir.glob(f"{LEDGER_FILE}*"):
        path.unlink()
    with pytest.raises(SettingsError, match="holds tables without a ledger"):
        await restore(state, state.settings)
