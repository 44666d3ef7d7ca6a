from __future__ import annotations

import importlib
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

from spotlightd import SettingsError
from spotlightd.runtime.catalog import load_catalog, load_source
from spotlightd.settings.settings import Settings
from spotlightd.workers.inline import parse_inline

SOURCE = """
from __future__ import annotations
from dataclasses import dataclass
from datetime import date
import pyarrow as pa
from spotlightd import Batch, Column, Dataset, Expected, OutsideRows, Rhythm, Rows

@dataclass(frozen=True)
class Kept:
    number: int = 1

{name} = Dataset(
    name="{name}", title="{title}", publisher="nobody", about="constructed",
    columns=(Column("day", "Date", "a day"),), key=("day",), order=("day",), time="day",
    rhythm=Rhythm("never", stale_days=1),
)

async def discover(pages):
    return
    yield

def parse(body):
    arrays = [pa.array([date(2021, 1, 4)], pa.date32()), pa.array([0], pa.uint16()), pa.array([1], pa.uint32())]
    yield Rows({name}, pa.record_batch(arrays, ["day", "member", "line"]))

source = Batch(
    name="{source}", title="{title}", home="", datasets=({name},), discover=discover, parse=parse, parser="1",
    hosts=(), cron="0 0 * * *", expected=lambda day: Expected("x", day), outside=OutsideRows.REFUSE,
)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sources").mkdir()
    return tmp_path / "sources"


def write(path: Path, name: str = "mine", title: str = "Mine", source: str = "") -> None:
    path.write_text(textwrap.dedent(SOURCE.format(name=name, title=title, source=source or name)))


def settings(folder: Path) -> Settings:
    return Settings(state_dir=folder.parent)


def built_in() -> list[str]:
    return [dataset.name for dataset in load_catalog().datasets]


def test_the_built_in_sources_are_found_by_looking() -> None:
    catalog = load_catalog()
    assert "sec_ftd" in {source.name for source in catalog.sources}
    assert [stream.name for stream in catalog.streams] == ["finnhub"]
    assert catalog.places["finnhub"] == "spotlightd.sources.finnhub"
    assert catalog.places["sec_ftd"] == "spotlightd.sources.sec_ftd"
    assert {"finnhub_frames", "sec_ftd", "trades"} <= set(built_in())


def test_folders_group_the_sources_of_one_publisher(folder: Path) -> None:
    """Files in folders are found, and two of one name do not disturb each other; cases and drafts are not sources."""
    for place in ("rates/day", "credits/day", "rates/golden/day", "_old/day", ".git/day"):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        write(folder / f"{place}.py", place.replace("/", "_").strip("_."))
    catalog = load_catalog(settings(folder))
    assert [source.name for source in catalog.sources if "_day" in source.name] == ["credits_day", "rates_day"]
    assert catalog.places["rates_day"] == str(folder / "rates/day.py")


def test_sub_packages_of_the_built_in_sources_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "toy_sources"
    (package / "toys").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "toys/__init__.py").touch()
    write(package / "toys/blocks.py", "blocks")
    monkeypatch.syspath_prepend(str(tmp_path))
    catalog = load_catalog(packages=(importlib.import_module("toy_sources"),))
    assert catalog.places == {"blocks": "toy_sources.toys.blocks"}


def test_an_operators_file_is_a_source_after_the_built_in_ones(folder: Path) -> None:
    write(folder / "mine.py")
    write(folder / "_draft.py", "draft")
    (folder / "notes.txt").write_text("nothing")
    (folder / "golden").mkdir()
    write(folder / "golden" / "case.py", "case")
    catalog = load_catalog(settings(folder))
    assert [source.name for source in catalog.sources] == [*(source.name for source in load_catalog().sources), "mine"]
    assert catalog.places["mine"] == str(folder / "mine.py")
    assert sorted(dataset.name for dataset in catalog.datasets) == sorted([*built_in(), "mine"])


def test_a_source_of_a_file_parses(folder: Path) -> None:
    write(folder / "mine.py")
    (rows,) = parse_inline(load_source(folder / "mine.py"), folder / "mine.py", "mine.py")
    assert rows.columns.num_rows == 1  # type: ignore[union-attr]


def test_without_an_operators_folder_there_are_the_built_in_sources(tmp_path: Path) -> None:
    assert load_catalog(Settings(state_dir=tmp_path)) == load_catalog()


def test_a_name_taken_twice_is_refused_naming_both_places(folder: Path) -> None:
    write(folder / "mine.py", "mine", source="sec_ftd")
    with pytest.raises(
        SettingsError, match=r"two sources are called sec_ftd: in spotlightd\.sources\.sec_ftd and in /"
    ):
        load_catalog(settings(folder))


def test_two_different_datasets_of_one_name_are_refused(folder: Path) -> None:
    write(folder / "a.py", "shared", "One", source="a")
    write(folder / "b.py", "shared", "Another", source="b")
    with pytest.raises(SettingsError, match=r"two different datasets are called shared: in .*a\.py and in .*b\.py"):
        load_catalog(settings(folder))


def test_one_dataset_may_be_fed_by_two_sources(folder: Path) -> None:
    write(folder / "a.py", "shared", "One", source="a")
    write(folder / "b.py", "shared", "One", source="b")
    assert sorted(dataset.name for dataset in load_catalog(settings(folder)).datasets) == sorted(
        [*built_in(), "shared"]
    )


@pytest.mark.parametrize("name", ["anew_runs", "drill_mine", "runs_all", "sec_ftd_current"])
def test_a_dataset_may_not_have_a_reserved_name(folder: Path, name: str) -> None:
    write(folder / "mine.py", name, source="mine")
    with pytest.raises(SettingsError, match=rf"no dataset may be called {name}, in /.*: such names are reserved"):
        load_catalog(settings(folder))


def test_a_dataset_may_not_take_the_name_of_a_system_dataset(folder: Path) -> None:
    write(folder / "mine.py", "runs", source="mine")
    with pytest.raises(SettingsError, match=r"two different datasets are called runs: in spotlightd itself and in /"):
        load_catalog(settings(folder))


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero (mine.py line 1 in <module>)"),
        ("import nothing_of_that_name", "ModuleNotFoundError: No module named 'nothing_of_that_name' (mine.py line 1"),
        ("def", "SyntaxError"),
        ("from spotlightd import Column\nColumn('x', 'Text', 'x')", "'Text' is not a type that a dataset may use"),
    ],
)
def test_a_file_that_cannot_be_loaded_is_reported_with_its_line(folder: Path, text: str, error: str) -> None:
    (folder / "mine.py").write_text(text)
    with pytest.raises(SettingsError) as refused:
        load_catalog(settings(folder))
    assert error in str(refused.value)


def test_a_file_to_try_must_hold_one_source(folder: Path) -> None:
    with pytest.raises(SettingsError, match="there is no source file"):
        load_source(folder / "none.py")
    (folder / "none.py").write_text("")
    with pytest.raises(SettingsError, match="must hold one Batch, not 0"):
        load_source(folder / "none.py")


def test_a_mirror_may_have_fewer_documents_than_the_publisher(tmp_path: Path) -> None:
    def least(mirrors: dict[str, str]) -> int:
        settings = Settings()
        publisher = replace(settings.publisher, mirrors=mirrors)
        catalog = load_catalog(replace(settings, state_dir=tmp_path, publisher=publisher))
        return next(source for source in catalog.sources if source.name == "sec_ftd").least_links

    assert least({}) == least({"example.org": "http://127.0.0.1:1"}) == 100
    assert least({"WWW.sec.gov": "http://127.0.0.1:1"}) == 1
