"""What the demo calls constructed is made of the real rows by the code that says so, and its publisher shows files that exist."""

from __future__ import annotations

import zipfile
from pathlib import Path

from spotlightd.demo.construct import construct, real_rows
from spotlightd.demo.mirror import timeline

DATA = Path("spotlightd/demo/data")


def _text(path: Path) -> bytes:
    with zipfile.ZipFile(path) as opened:
        return opened.read(opened.namelist()[0])


def test_the_constructed_files_are_what_construct_makes(tmp_path: Path) -> None:
    for made in construct(DATA, tmp_path):
        assert _text(made) == _text(DATA / made.name)


def test_only_the_said_rows_are_constructed() -> None:
    real = set(real_rows(DATA / "cnsfails202101b-real-rows-cut.zip"))
    corrected = set(real_rows(DATA / "cnsfails202101b-constructed-correction.zip"))
    assert len(corrected - real) == 3
    assert all("GME" in row or "CNSTRD" in row for row in corrected - real)


def test_every_file_of_the_timeline_is_bundled() -> None:
    _, stages = timeline()
    assert all(path.is_file() for stage in stages for path in stage.files.values())
