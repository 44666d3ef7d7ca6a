"""Documents from one instance to another: the same rows from the same bytes, once, whatever ends in between."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from spotlightd.clients.bundle import BundlePen, opened_bundle
from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.clients.ledger.ledger import SqliteLedger
from spotlightd.datasets.system import SYSTEM_DATASETS
from spotlightd.engine.process import Engine
from spotlightd.errors import FormatError, SettingsError, StoreError
from spotlightd.flows.bundle.select import Days
from spotlightd.model.bundle import Manifest
from spotlightd.settings import stores

from .bundle_world import came, desk_of, nothing
from .world import CrashError, Fuse, World, constructed_counts, source, url

DAYS = {"2021/a": "2021-01-04,1\n2021-01-05,2\n", "2022/a": "2022-01-04,7\n?odd\n", "2023/a": "2023-01-02,3\n"}
SEEN = {"2021-01-04": 1, "2021-01-05": 2, "2022-01-04": 7, "2023-01-02": 3}


@pytest.fixture
async def other(tmp_path: Path, engine: Engine) -> AsyncIterator[World]:
    """A colleague's instance: nothing is in it."""
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
    world.shows(DAYS)
    await world.look()
    async with desk_of(world, source()) as desk:
        await desk.bundle(constructed_counts, tmp_path / "all.bundle.tar")
    return tmp_path / "all.bundle.tar"


async def test_the_other_instance_has_the_same_rows_documents_and_rejects(
    world: World, other: World, file: Path
) -> None:
    async with desk_of(other, source()) as desk:
        brought = await desk.bring(file)
        document = (await desk.stores.ledger.loads())[0].digest
        kept = await desk.stores.ledger.document(document)
    assert came(brought) == dict.fromkeys(DAYS, "imported")
    assert await other.seen() == SEEN
    assert other.documents.objects == world.documents.objects
    assert kept is not None
    assert kept.url in {url(covers) for covers in DAYS}
    assert "bundle" in kept.via
    async with SqliteLedger(other.folder / "ledger.sqlite") as ledger:
        assert [row[7] for row in await ledger.history("rejects", 0, 10)] == ["?odd"]


async def test_a_second_import_changes_nothing_and_says_so(other: World, file: Path) -> None:
    async with desk_of(other, source()) as desk:
        await desk.bring(file)
        published = await desk.stores.ledger.loads()
        assert came(await desk.bring(file)) == dict.fromkeys(DAYS, "here")
        assert await desk.stores.ledger.loads() == published
    assert await other.seen() == SEEN


async def test_a_bundle_of_what_was_imported_is_the_same_bundle(other: World, file: Path, tmp_path: Path) -> None:
    async with desk_of(other, source()) as desk:
        await desk.bring(file)
        again = await desk.bundle(constructed_counts, tmp_path / "again.bundle.tar")
    async with opened_bundle(file, nothing) as found:
        first = found.manifest
    said = {one.digest: (one.rows, one.covers, one.parser) for one in again.loads}
    assert said == {one.digest: (one.rows, one.covers, one.parser) for one in first.loads}
    async with opened_bundle(tmp_path / "again.bundle.tar", nothing) as found:
        assert {*found.manifest.members} == {*first.members}


async def test_only_documents_with_rows_of_the_days_come_and_each_as_a_whole(
    world: World, other: World, file: Path, tmp_path: Path
) -> None:
    del file
    some = tmp_path / "some.bundle.tar"
    async with desk_of(world, source()) as desk:
        await desk.bundle(constructed_counts, some, Days(date(2021, 1, 5), date(2022, 1, 3)))
        with pytest.raises(SettingsError, match="has no rows between"):
            await desk.bundle(constructed_counts, tmp_path / "x", Days(date(2024, 1, 1), date(2024, 1, 2)))
    assert not (tmp_path / "x").exists()
    async with desk_of(other, source()) as desk:
        assert came(await desk.bring(some)) == {"2021/a": "imported"}
    assert await other.seen() == {"2021-01-04": 1, "2021-01-05": 2}


async def test_a_disk_that_refuses_leaves_no_bundle_and_is_told(world: World, file: Path, tmp_path: Path) -> None:
    del file
    async with desk_of(world, source()) as desk:
        desk.folder = tmp_path / "none"
        with pytest.raises(StoreError, match="is there room for the bundle"):
            await desk.bundle(constructed_counts, tmp_path / "x")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("x")]


async def test_a_document_that_is_damaged_here_is_not_bundled(world: World, file: Path, tmp_path: Path) -> None:
    del file
    digest = next(iter(world.documents.objects))
    (world.folder / digest).unlink(missing_ok=True)
    world.documents.objects[digest] += b"more"
    async with desk_of(world, source()) as desk:
        with pytest.raises(StoreError, match="was to have"):
            await desk.bundle(constructed_counts, tmp_path / "x")
    assert not (tmp_path / "x").exists()


@pytest.mark.slow
async def test_an_import_that_dies_at_any_step_is_made_up_by_the_next(other: World, file: Path, tmp_path: Path) -> None:
    step = 1
    while True:
        for dataset in (*SYSTEM_DATASETS, constructed_counts):
            await other.warehouse.execute(f"TRUNCATE TABLE {dataset.name}")
        folder = tmp_path / f"died-{step}"
        folder.mkdir()
        fresh, fuse = World(folder, other.warehouse), Fuse(step)
        try:
            async with desk_of(fresh, source(), fuse) as desk:
                await desk.bring(file)
        except (CrashError, BaseExceptionGroup):
            assert (await fresh.seen()).items() <= SEEN.items()
        else:
            break
        async with desk_of(fresh, source()) as desk:
            assert set(came(await desk.bring(file)).values()) <= {"here", "imported"}
        assert await fresh.seen() == SEEN
        loads = await fresh.warehouse.rows("SELECT count(), uniqExact(document) FROM loads")
        assert loads.rows == ((3, 3),)
        step += 1
    assert step > 40


async def test_what_this_instance_fetched_itself_is_not_doubled(other: World, file: Path) -> None:
    other.shows({"2021/a": DAYS["2021/a"]})
    await other.look()
    async with desk_of(other, source()) as desk:
        assert came(await desk.bring(file)) == {"2021/a": "here", "2022/a": "imported", "2023/a": "imported"}
    assert await other.seen() == SEEN
    other.shows(DAYS)
    assert {one.outcome for one in await other.look()} == {"unchanged"}


async def test_what_was_fetched_later_stays_and_what_was_fetched_earlier_is_replaced(
    world: World, other: World, file: Path, tmp_path: Path
) -> None:
    other.shows({"2021/a": "2021-01-04,100\n"})
    await other.look()
    async with desk_of(other, source()) as desk:
        brought = await desk.bring(file)
        assert came(brought) == {"2021/a": "older", "2022/a": "imported", "2023/a": "imported"}
        assert "was fetched" in brought[-1].says
    assert (await other.seen())["2021-01-04"] == 100
    world.shows(DAYS | {"2021/a": "2021-01-04,5\n"})
    await world.look()
    async with desk_of(world, source()) as desk:
        await desk.bundle(constructed_counts, tmp_path / "later.bundle.tar")
    async with desk_of(other, source()) as desk:
        assert came(await desk.bring(tmp_path / "later.bundle.tar"))["2021/a"] == "imported"
    assert await other.seen() == {"2021-01-04": 5, "2022-01-04": 7, "2023-01-02": 3}
    assert (await other.seen(seq=3))["2021-01-04"] == 100  # what was known before


async def test_what_the_publisher_serves_stands_above_what_a_bundle_says(
    world: World, other: World, file: Path, tmp_path: Path
) -> None:
    del file
    other.shows({"2021/a": "2021-01-04,100\n"})
    await other.look()
    world.shows({"2021/a": "2021-01-04,5\n"})
    await world.look()
    async with desk_of(world, source()) as desk:
        await desk.bundle(constructed_counts, tmp_path / "later.bundle.tar", Days(date(2021, 1, 1), date(2021, 12, 31)))
    async with desk_of(other, source()) as desk:
        assert came(await desk.bring(tmp_path / "later.bundle.tar")) == {"2021/a": "imported"}
    assert await other.seen() == {"2021-01-04": 5}
    assert [one.outcome for one in await other.look(again=False)] == ["published"]
    assert await other.seen() == {"2021-01-04": 100}


async def test_two_sources_of_the_same_bytes_are_in_one_bundle(world: World, other: World, tmp_path: Path) -> None:
    twin = replace(source(), name="constructed_twin")
    world.shows({"2021/a": DAYS["2021/a"]})
    for one in (source(), twin):
        await world.look(one)
    path = tmp_path / "twins.bundle.tar"
    for at, mine in ((world, True), (other, False)):
        async with desk_of(at, source()) as desk:
            desk.feeds = {one.name: one for one in (source(), twin)}
            if mine:
                made = await desk.bundle(constructed_counts, path)
                assert len({one.digest for one in made.loads}) == 1
            else:
                assert [(one.source, one.came) for one in await desk.bring(path)] == [
                    ("constructed", "imported"), ("constructed_twin", "imported"),
                ]  # fmt: skip


async def test_a_month_is_not_added_to_the_year_that_has_it(other: World, file: Path) -> None:
    other.shows({"2021": "2021-01-04,1\n2021-06-01,9\n"})
    await other.look()
    async with desk_of(other, source()) as desk:
        assert came(await desk.bring(file))["2021/a"] == "older"
    assert await other.seen() == {"2021-01-04": 1, "2021-06-01": 9, "2022-01-04": 7, "2023-01-02": 3}


async def test_another_version_of_the_parser_is_this_instances_own(other: World, file: Path) -> None:
    async with desk_of(other, source(parser="2")) as desk:
        assert set(came(await desk.bring(file)).values()) == {"imported"}
        assert {one.parser for one in await desk.stores.ledger.loads()} == {"2"}
    assert await other.seen() == SEEN


async def changed(file: Path, made: Path, change: object) -> Path:
    """The bundle with another manifest, otherwise sound: as somebody would make it who wants to deceive."""
    async with opened_bundle(file, nothing) as found, BundlePen(made) as pen:
        for one in found.manifest.members:
            await pen.add(one.name, one.size, found.read(one.name))
        assert callable(change)
        told: Manifest = change(found.manifest)
        await pen.keep(told)
    return made


async def test_rows_that_the_bytes_do_not_bear_out_are_not_published(other: World, file: Path, tmp_path: Path) -> None:
    def lie(manifest: Manifest) -> Manifest:
        first, *others = manifest.loads
        (name, mark), *_ = first.rows.items()
        return replace(manifest, loads=(replace(first, rows={name: replace(mark, total=mark.total ^ 1)}), *others))

    forged = await changed(file, tmp_path / "forged", lie)
    async with desk_of(other, source()) as desk:
        brought = await desk.bring(forged)
    assert [one.came for one in brought] == ["refused", "imported", "imported"]
    assert "not the" in brought[0].says
    assert await other.seen() == {day: count for day, count in SEEN.items() if day < "2023"}
    assert ("refused", "2023/a") in {run[:2] for run in await other.runs()}


async def test_another_parser_version_that_finds_other_rows_says_so(other: World, file: Path, tmp_path: Path) -> None:
    def lie(manifest: Manifest) -> Manifest:
        first, *others = manifest.loads
        (name, mark), *_ = first.rows.items()
        return replace(
            manifest, loads=(replace(first, parser="0", rows={name: replace(mark, total=mark.total ^ 1)}), *others)
        )

    forged = await changed(file, tmp_path / "forged", lie)
    async with desk_of(other, source()) as desk:
        brought = await desk.bring(forged)
        assert [one.came for one in brought] == ["differs", "imported", "imported"]
        assert [one.came for one in await desk.bring(forged)] == ["differs", "here", "here"]
    assert await other.seen() == SEEN


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (lambda m: replace(m, dataset="nothing"), SettingsError, "has no dataset nothing"),
        (lambda m: replace(m, columns={"constructed_counts": (("day", "Date"),)}), SettingsError, "other columns here"),
        (lambda m: _documents(m, url="https://example.com/x"), FormatError, "no host of constructed"),
        (lambda m: _documents(m, url="javascript:alert(1)"), FormatError, "not https"),
        (lambda m: _documents(m, fetched_at=datetime.now(UTC) + timedelta(days=30)), FormatError, "in the future"),
        (lambda m: _documents(m, etag="\x1b[2J"), FormatError, "no plain text"),
        (lambda m: replace(m, loads=m.loads[1:]), FormatError, "belongs to no load"),
        (lambda m: replace(m, loads=(*m.loads, m.loads[0])), FormatError, "names a load twice"),
        (lambda m: _documents(m, size=1), FormatError, "another size or SHA-256"),
        (lambda m: replace(m, loads=tuple(replace(one, covers="../x") for one in m.loads)), FormatError, "'covers'"),
    ],
)
async def test_what_cannot_be_or_is_not_known_here_is_refused_before_anything_is_kept(
    other: World, file: Path, tmp_path: Path, change: object, error: type[Exception], says: str
) -> None:
    forged = await changed(file, tmp_path / "forged", change)
    async with desk_of(other, source()) as desk:
        with pytest.raises(error, match=says):
            await desk.bring(forged)
        assert await desk.stores.ledger.loads() == ()
    assert other.documents.objects == {}


async def test_a_source_that_is_not_here_is_named(other: World, file: Path) -> None:
    async with desk_of(other, source()) as desk:
        desk.feeds = {"another": replace(source(), name="another")}
        with pytest.raises(SettingsError, match="has no source constructed: use the release, or the source file"):
            await desk.bring(file)


def _documents(manifest: Manifest, **values: object) -> Manifest:
    loads = []
    for one in manifest.loads:
        assert one.document is not None
        loads.append(replace(one, document=replace(one.document, **values)))  # type: ignore[arg-type]
    return replace(manifest, loads=tuple(loads))
