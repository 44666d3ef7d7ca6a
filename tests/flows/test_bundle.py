"""Documents from one instance to another: the same rows from the same bytes, once, whatever ends in between."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from spotlightd.clients.bundle import BundleWriter, open_bundle
from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.clients.ledger.ledger import SqliteLedger
from spotlightd.datasets.system import SYSTEM_DATASETS
from spotlightd.engine.process import Engine
from spotlightd.errors import FormatError, SettingsError, StoreError
from spotlightd.flows.bundle.select import DayRange
from spotlightd.model.bundle import Manifest
from spotlightd.model.source import OutsideRows
from spotlightd.settings import stores

from .bundle_world import document_transfer, ignore_progress, statuses
from .test_repeated_messages import DAYS as MESSAGES
from .test_repeated_messages import ONCE, messages, repository
from .test_repeated_messages import read as read_messages
from .world import CrashError, Fuse, World, constructed_counts, crash_steps, repeating, source, url

DAYS = {"2021/a": "2021-01-04,1\n2021-01-05,2\n", "2022/a": "2022-01-04,7\n?odd\n", "2023/a": "2023-01-02,3\n"}
EXPECTED = {"2021-01-04": 1, "2021-01-05": 2, "2022-01-04": 7, "2023-01-02": 3}


@pytest.fixture
async def other(tmp_path: Path, engine: Engine) -> AsyncIterator[World]:
    """Another instance, still empty."""
    database = f"flows_{uuid4().hex[:12]}"
    async with ClickHouse(engine.url, engine.user, engine.password, database, stores.WarehouseSettings()) as opened:
        for dataset in (*SYSTEM_DATASETS, constructed_counts):
            await opened.ensure(dataset)
        (tmp_path / "other").mkdir()
        yield World(tmp_path / "other", opened)
        await opened.execute(f"DROP DATABASE {database} SYNC")


@pytest.fixture
async def file(world: World, tmp_path: Path) -> Path:
    """A bundle of all that the first instance has."""
    world.serve(DAYS)
    await world.ingest()
    async with document_transfer(world, source()) as transfer:
        await transfer.export(constructed_counts, tmp_path / "all.bundle.tar")
    return tmp_path / "all.bundle.tar"


async def test_the_other_instance_has_the_same_rows_documents_and_rejects(
    world: World, other: World, file: Path
) -> None:
    async with document_transfer(other, source()) as transfer:
        outcomes = await transfer.import_file(file)
        document = (await transfer.context.ledger.loads())[0].digest
        stored = await transfer.context.ledger.document(document)
    assert statuses(outcomes) == dict.fromkeys(DAYS, "imported")
    assert await other.read_counts() == EXPECTED
    assert other.documents.objects == world.documents.objects
    assert stored is not None
    assert stored.url in {url(covers) for covers in DAYS}
    assert "bundle" in stored.via
    async with SqliteLedger(other.folder / "ledger.sqlite") as ledger:
        assert [row[7] for row in await ledger.history("rejects", 0, 10)] == ["?odd"]


async def test_a_row_of_another_day_is_not_loaded_at_the_other_instance_either(
    world: World, other: World, tmp_path: Path
) -> None:
    """The bundle does not name the days of its documents, but those of the rows that were loaded from them."""
    owner_only = replace(source(), outside=OutsideRows.OWNER_ONLY)
    world.serve({"2021/a": "2021-12-31,1\n2022-01-01,5\n", "2022/a": "2022-01-01,5\n"})
    await world.ingest(owner_only)
    async with document_transfer(world, owner_only) as transfer:
        await transfer.export(constructed_counts, tmp_path / "all.bundle.tar")
    async with document_transfer(other, owner_only) as transfer:
        outcomes = await transfer.import_file(tmp_path / "all.bundle.tar")
    assert statuses(outcomes) == {"2021/a": "imported", "2022/a": "imported"}
    assert await other.read_counts() == {"2021-12-31": 1, "2022-01-01": 5}


async def test_a_message_that_two_documents_have_counts_once_at_the_other_instance_too(
    world: World, other: World, tmp_path: Path
) -> None:
    """Also when the two come in different bundles, the document of the later day first."""
    world.serve(MESSAGES)
    await world.ingest(repository())
    async with document_transfer(world, repository()) as transfer:
        for day in (5, 4):
            days = DayRange(date(2021, 1, day), date(2021, 1, day))
            await transfer.export(messages, tmp_path / f"{day}.bundle.tar", days)
    async with document_transfer(other, repository()) as transfer:
        for day in (5, 4):
            outcomes = await transfer.import_file(tmp_path / f"{day}.bundle.tar")
            assert statuses(outcomes) == {f"2021/01/0{day}": "imported"}
    assert await other.count_stored() == await world.count_stored() == 4
    assert await read_messages(other) == await read_messages(world) == ONCE


async def test_a_second_import_changes_nothing(other: World, file: Path) -> None:
    async with document_transfer(other, source()) as transfer:
        await transfer.import_file(file)
        published = await transfer.context.ledger.loads()
        assert statuses(await transfer.import_file(file)) == dict.fromkeys(DAYS, "here")
        assert await transfer.context.ledger.loads() == published
    assert await other.read_counts() == EXPECTED


async def test_a_bundle_of_what_was_imported_is_the_same_bundle(other: World, file: Path, tmp_path: Path) -> None:
    async with document_transfer(other, source()) as transfer:
        await transfer.import_file(file)
        again = await transfer.export(constructed_counts, tmp_path / "again.bundle.tar")
    async with open_bundle(file, ignore_progress) as bundle:
        first = bundle.manifest
    contents = {load.digest: (load.rows, load.covers, load.parser) for load in again.loads}
    assert contents == {load.digest: (load.rows, load.covers, load.parser) for load in first.loads}
    async with open_bundle(tmp_path / "again.bundle.tar", ignore_progress) as bundle:
        assert {*bundle.manifest.members} == {*first.members}


async def test_only_documents_with_rows_of_the_days_come_and_each_as_a_whole(
    world: World, other: World, file: Path, tmp_path: Path
) -> None:
    del file
    some = tmp_path / "some.bundle.tar"
    async with document_transfer(world, source()) as transfer:
        await transfer.export(constructed_counts, some, DayRange(date(2021, 1, 5), date(2022, 1, 3)))
        with pytest.raises(SettingsError, match="has no rows between"):
            await transfer.export(constructed_counts, tmp_path / "x", DayRange(date(2024, 1, 1), date(2024, 1, 2)))
    assert not (tmp_path / "x").exists()
    async with document_transfer(other, source()) as transfer:
        assert statuses(await transfer.import_file(some)) == {"2021/a": "imported"}
    assert await other.read_counts() == {"2021-01-04": 1, "2021-01-05": 2}


async def test_a_full_disk_leaves_no_bundle_and_raises_an_error(world: World, file: Path, tmp_path: Path) -> None:
    del file
    async with document_transfer(world, source()) as transfer:
        transfer.folder = tmp_path / "none"
        with pytest.raises(StoreError, match="is there room for the bundle"):
            await transfer.export(constructed_counts, tmp_path / "x")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("x")]


async def test_a_document_that_is_damaged_here_is_not_bundled(world: World, file: Path, tmp_path: Path) -> None:
    del file
    digest = next(iter(world.documents.objects))
    (world.folder / digest).unlink(missing_ok=True)
    world.documents.objects[digest] += b"more"
    async with document_transfer(world, source()) as transfer:
        with pytest.raises(StoreError, match="should have"):
            await transfer.export(constructed_counts, tmp_path / "x")
    assert not (tmp_path / "x").exists()


@pytest.mark.slow
async def test_an_import_killed_at_any_step_is_completed_by_the_next(other: World, file: Path, tmp_path: Path) -> None:
    for step in crash_steps():
        for dataset in (*SYSTEM_DATASETS, constructed_counts):
            await other.warehouse.execute(f"TRUNCATE TABLE {dataset.name}")
        folder = tmp_path / f"died-{step}"
        folder.mkdir()
        fresh, fuse = World(folder, other.warehouse), Fuse(step)
        try:
            async with document_transfer(fresh, source(), fuse) as transfer:
                await transfer.import_file(file)
        except (CrashError, BaseExceptionGroup):
            assert (await fresh.read_counts()).items() <= EXPECTED.items()
        else:
            break
        async with document_transfer(fresh, source()) as transfer:
            assert set(statuses(await transfer.import_file(file)).values()) <= {"here", "imported"}
        assert await fresh.read_counts() == EXPECTED
        loads = await fresh.warehouse.rows("SELECT count(), uniqExact(document) FROM loads")
        assert loads.rows == ((3, 3),)
    assert step > 40


async def test_what_this_instance_fetched_itself_is_not_doubled(other: World, file: Path) -> None:
    other.serve({"2021/a": DAYS["2021/a"]})
    await other.ingest()
    async with document_transfer(other, source()) as transfer:
        assert statuses(await transfer.import_file(file)) == {
            "2021/a": "here",
            "2022/a": "imported",
            "2023/a": "imported",
        }
    assert await other.read_counts() == EXPECTED
    other.serve(DAYS)
    assert {result.outcome for result in await other.ingest()} == {"unchanged"}


async def test_later_documents_stay_and_earlier_ones_are_replaced(
    world: World, other: World, file: Path, tmp_path: Path
) -> None:
    other.serve({"2021/a": "2021-01-04,100\n"})
    await other.ingest()
    async with document_transfer(other, source()) as transfer:
        outcomes = await transfer.import_file(file)
        assert statuses(outcomes) == {"2021/a": "older", "2022/a": "imported", "2023/a": "imported"}
        assert "was fetched" in outcomes[-1].detail
    assert (await other.read_counts())["2021-01-04"] == 100
    world.serve(DAYS | {"2021/a": "2021-01-04,5\n"})
    await world.ingest()
    async with document_transfer(world, source()) as transfer:
        await transfer.export(constructed_counts, tmp_path / "later.bundle.tar")
    async with document_transfer(other, source()) as transfer:
        assert statuses(await transfer.import_file(tmp_path / "later.bundle.tar"))["2021/a"] == "imported"
    assert await other.read_counts() == {"2021-01-04": 5, "2022-01-04": 7, "2023-01-02": 3}
    assert (await other.read_counts(seq=3))["2021-01-04"] == 100  # what was known before


async def test_a_publishers_own_answer_outranks_a_bundle(
    world: World, other: World, file: Path, tmp_path: Path
) -> None:
    del file
    other.serve({"2021/a": "2021-01-04,100\n"})
    await other.ingest()
    world.serve({"2021/a": "2021-01-04,5\n"})
    await world.ingest()
    async with document_transfer(world, source()) as transfer:
        await transfer.export(
            constructed_counts, tmp_path / "later.bundle.tar", DayRange(date(2021, 1, 1), date(2021, 12, 31))
        )
    async with document_transfer(other, source()) as transfer:
        assert statuses(await transfer.import_file(tmp_path / "later.bundle.tar")) == {"2021/a": "imported"}
    assert await other.read_counts() == {"2021-01-04": 5}
    assert [result.outcome for result in await other.ingest(again=False)] == ["published"]
    assert await other.read_counts() == {"2021-01-04": 100}


async def test_two_sources_of_the_same_bytes_are_in_one_bundle(world: World, other: World, tmp_path: Path) -> None:
    first, twin = repeating(), replace(repeating(), name="constructed_twin")
    world.serve({"2021/a": DAYS["2021/a"]})
    for feed in (first, twin):
        await world.ingest(feed)
    path = tmp_path / "twins.bundle.tar"
    for at, mine in ((world, True), (other, False)):
        async with document_transfer(at, source()) as transfer:
            transfer.feeds = {feed.name: feed for feed in (first, twin)}
            if mine:
                manifest = await transfer.export(constructed_counts, path)
                assert len({load.digest for load in manifest.loads}) == 1
            else:
                assert [(outcome.source, outcome.status) for outcome in await transfer.import_file(path)] == [
                    ("constructed", "imported"), ("constructed_twin", "imported"),
                ]  # fmt: skip


async def test_a_month_is_not_added_to_the_year_that_has_it(other: World, file: Path) -> None:
    other.serve({"2021": "2021-01-04,1\n2021-06-01,9\n"})
    await other.ingest()
    async with document_transfer(other, source()) as transfer:
        assert statuses(await transfer.import_file(file))["2021/a"] == "older"
    assert await other.read_counts() == {"2021-01-04": 1, "2021-06-01": 9, "2022-01-04": 7, "2023-01-02": 3}


async def test_another_version_of_the_parser_is_this_instances_own(other: World, file: Path) -> None:
    async with document_transfer(other, source(parser="2")) as transfer:
        assert set(statuses(await transfer.import_file(file)).values()) == {"imported"}
        assert {load.parser for load in await transfer.context.ledger.loads()} == {"2"}
    assert await other.read_counts() == EXPECTED


async def forge(file: Path, path: Path, change: object) -> Path:
    """The bundle with another manifest, otherwise sound: a forgery."""
    async with open_bundle(file, ignore_progress) as bundle, BundleWriter(path) as writer:
        for member in bundle.manifest.members:
            await writer.add(member.name, member.size, bundle.read(member.name))
        assert callable(change)
        manifest: Manifest = change(bundle.manifest)
        await writer.finish(manifest)
    return path


async def test_rows_that_do_not_follow_from_the_bytes_are_not_published(
    other: World, file: Path, tmp_path: Path
) -> None:
    def falsify(manifest: Manifest) -> Manifest:
        first, *others = manifest.loads
        (name, mark), *_ = first.rows.items()
        return replace(manifest, loads=(replace(first, rows={name: replace(mark, total=mark.total ^ 1)}), *others))

    forged = await forge(file, tmp_path / "forged", falsify)
    async with document_transfer(other, source()) as transfer:
        outcomes = await transfer.import_file(forged)
    assert [outcome.status for outcome in outcomes] == ["refused", "imported", "imported"]
    assert "not the" in outcomes[0].detail
    assert await other.read_counts() == {day: count for day, count in EXPECTED.items() if day < "2023"}
    assert ("refused", "2023/a") in {run[:2] for run in await other.runs()}


async def test_another_parser_version_with_other_rows_is_reported(other: World, file: Path, tmp_path: Path) -> None:
    def falsify(manifest: Manifest) -> Manifest:
        first, *others = manifest.loads
        (name, mark), *_ = first.rows.items()
        return replace(
            manifest, loads=(replace(first, parser="0", rows={name: replace(mark, total=mark.total ^ 1)}), *others)
        )

    forged = await forge(file, tmp_path / "forged", falsify)
    async with document_transfer(other, source()) as transfer:
        outcomes = await transfer.import_file(forged)
        assert [outcome.status for outcome in outcomes] == ["differs", "imported", "imported"]
        assert [outcome.status for outcome in await transfer.import_file(forged)] == ["differs", "here", "here"]
    assert await other.read_counts() == EXPECTED


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda m: replace(m, dataset="nothing"), SettingsError, "has no dataset nothing"),
        (lambda m: replace(m, columns={"constructed_counts": (("day", "Date"),)}), SettingsError, "other columns here"),
        (lambda m: _documents(m, url="https://example.com/x"), FormatError, "no host of constructed"),
        (lambda m: _documents(m, url="javascript:alert(1)"), FormatError, "not https"),
        (lambda m: _documents(m, fetched_at=datetime.now(UTC) + timedelta(days=30)), FormatError, "in the future"),
        (lambda m: _documents(m, etag="\x1b[2J"), FormatError, "not plain text"),
        (lambda m: replace(m, loads=m.loads[1:]), FormatError, "belongs to no load"),
        (lambda m: replace(m, loads=(*m.loads, m.loads[0])), FormatError, "names a load twice"),
        (lambda m: _documents(m, size=1), FormatError, "another size or SHA-256"),
        (lambda m: replace(m, loads=tuple(replace(load, covers="../x") for load in m.loads)), FormatError, "'covers'"),
    ],
)
async def test_impossible_or_unknown_content_is_refused_before_anything_is_stored(
    other: World, file: Path, tmp_path: Path, change: object, error: type[Exception], message: str
) -> None:
    forged = await forge(file, tmp_path / "forged", change)
    async with document_transfer(other, source()) as transfer:
        with pytest.raises(error, match=message):
            await transfer.import_file(forged)
        assert await transfer.context.ledger.loads() == ()
    assert other.documents.objects == {}


async def test_the_error_names_a_source_that_is_missing_here(other: World, file: Path) -> None:
    async with document_transfer(other, source()) as transfer:
        transfer.feeds = {"another": replace(source(), name="another")}
        with pytest.raises(SettingsError, match="has no source constructed: use the release, or the source file"):
            await transfer.import_file(file)


def _documents(manifest: Manifest, **values: object) -> Manifest:
    loads = []
    for load in manifest.loads:
        assert load.document is not None
        loads.append(replace(load, document=replace(load.document, **values)))  # type: ignore[arg-type]
    return replace(manifest, loads=tuple(loads))
