"""The demo's files: which are real, which is constructed, and that the timeline shows only those."""

from __future__ import annotations

import csv
import zipfile
from pathlib import Path

import pytest

from spotlightd.demo import construct_swaps
from spotlightd.demo.construct import ADDED, CHANGED, CORRECTION, ORIGINAL, REMOVED, construct, read_rows
from spotlightd.demo.publishers.sec import STAGES

DATA = Path("spotlightd/demo/data")
REAL = ("cnsfails202101a.zip", "cnsfails202101b.zip", "cnsfails202102a.zip", "cnsfails202102b.zip")
MARKED = {"cnsfails202101b-constructed-correction.zip", "cnsfails202102b-real-rows-cut.zip"}


def _read(path: Path) -> bytes:
    with zipfile.ZipFile(path) as opened:
        return opened.read(opened.namelist()[0])


def test_the_constructed_file_is_what_construct_writes(tmp_path: Path) -> None:
    assert _read(construct(DATA, tmp_path)) == _read(DATA / CORRECTION)


def test_only_the_listed_rows_are_constructed() -> None:
    real, corrected = read_rows(DATA / ORIGINAL), read_rows(DATA / CORRECTION)
    added, removed = set(corrected) - set(real), set(real) - set(corrected)
    assert added == {ADDED} | {row for row in corrected if row.startswith(tuple(CHANGED.values()))}
    assert removed == {row for row in real if row.startswith((*CHANGED, REMOVED))}
    assert (len(added), len(removed)) == (3, 3)
    assert len(real) == len(corrected)


def test_the_constructed_file_has_a_member_that_is_called_so() -> None:
    with zipfile.ZipFile(DATA / CORRECTION) as opened:
        assert opened.namelist() == ["cnsfails202101b-constructed-correction.txt"]


@pytest.mark.parametrize("name", REAL)
def test_the_real_files_end_with_the_publishers_own_trailers(name: str) -> None:
    rows = read_rows(DATA / name)
    count, shares = _read(DATA / name).decode("latin-1").splitlines()[-2:]
    assert count == f"Trailer record count {len(rows)}"
    assert shares == f"Trailer total quantity of shares {sum(int(row.split('|')[3]) for row in rows)}"


def test_the_cut_file_is_the_begin_of_the_real_one() -> None:
    assert _read(DATA / "cnsfails202102b.zip").startswith(_read(DATA / "cnsfails202102b-real-rows-cut.zip").rstrip())


def test_the_timeline_shows_bundled_files_only_and_names_what_is_not_real() -> None:
    files = {path for stage in STAGES for path in stage.files.values()}
    assert all(path.is_file() for path in files)
    assert {path.name for path in files} == {*REAL, *MARKED} == {path.name for path in DATA.glob("*.zip")}
    assert [path.name for path in STAGES[-1].files.values()] == [REAL[0], CORRECTION, REAL[2], REAL[3]]


def test_the_constructed_swaps_are_what_construct_swaps_writes_and_say_that_they_are_constructed(
    tmp_path: Path,
) -> None:
    written = {path.name: _read(path) for path in construct_swaps.construct(tmp_path)}
    assert written == {path.name: _read(path) for path in (DATA / "dtcc").glob("SEC_*.zip")}
    assert all(name.endswith("-constructed.zip") for name in written)
    for text in written.values():
        rows = list(csv.DictReader(text.decode().splitlines()))
        assert {row["Unique Product Identifier"] for row in rows} <= {"QZCONSTRUCT1", "QZCONSTRUCT2"}
        assert all(row["Underlying Asset Name"].startswith("CONSTRUCTED ") for row in rows)


def test_the_slices_of_the_constructed_day_are_a_part_of_it() -> None:
    def messages(name: str) -> set[str]:
        return {line.split(",")[0] for line in _read(DATA / "dtcc" / name).decode().splitlines()[1:] if line}

    whole = messages("SEC_CUMULATIVE_EQUITIES_2026_07_15-constructed.zip")
    slices = [messages(f"SEC_SLICE_EQUITIES_2026_07_15_{number}-constructed.zip") for number in (1, 2, 3)]
    assert set.union(*slices) < whole
    assert sum(map(len, slices)) == len(set.union(*slices))
