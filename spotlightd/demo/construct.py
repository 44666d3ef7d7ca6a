"""Builds the demo's constructed correction from the real file beside it. It gives the same text each time.

`python -m spotlightd.demo.construct` writes into spotlightd/demo/data; a test compares. data/SOURCES.md lists which files
are real and which are constructed.
"""

from __future__ import annotations

import zipfile
from importlib import resources
from pathlib import Path

from spotlightd.files import open_scratch

HEADER = "SETTLEMENT DATE|CUSIP|SYMBOL|QUANTITY (FAILS)|DESCRIPTION|PRICE"
ORIGINAL = "cnsfails202101b.zip"
CORRECTION = "cnsfails202101b-constructed-correction.zip"
MEMBER = "cnsfails202101b-constructed-correction.txt"
CHANGED = {
    "20210120|36467W109|GME|1007562|": "20210120|36467W109|GME|997562|",
    "20210122|36467W109|GME|273600|": "20210122|36467W109|GME|301112|",
}
REMOVED = "20210120|C96657116|VMAR|"
ADDED = "20210129|000000000|CNSTRD|12345|CONSTRUCTED ROW OF THE DEMO|1.00"


def read_rows(archive: Path) -> list[str]:
    """The rows of a half-month's zip, without header and trailers."""
    with zipfile.ZipFile(archive) as opened:
        text = opened.read(opened.namelist()[0]).decode("latin-1")
    header, *rows = text.splitlines()
    if header != HEADER:
        raise ValueError(f"{archive} has another header: {header}")
    return [row for row in rows if not row.startswith("Trailer")]


def correct_rows(rows: list[str]) -> list[str]:
    """The constructed republication: two balances changed, one row removed, one row added at the end."""
    return [_correct_row(row) for row in rows if not row.startswith(REMOVED)] + [ADDED]


def _correct_row(row: str) -> str:
    for old, new in CHANGED.items():
        if row.startswith(old):
            return row.replace(old, new, 1)
    return row


def add_trailers(rows: list[str]) -> str:
    """The text with the SEC's header and last two lines: the number of rows and the sum of shares."""
    shares = sum(int(row.split("|")[3]) for row in rows)
    end = f"Trailer record count {len(rows)}\nTrailer total quantity of shares {shares}\n"
    return "\n".join([HEADER, *rows]) + "\n" + end


def write_zip(archive: Path, member: str, text: str) -> None:
    """A zip with one member. The same library writes the same bytes each time."""
    info = zipfile.ZipInfo(member, (2021, 3, 16, 0, 0, 0))
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o600 << 16
    with open_scratch(archive) as file, zipfile.ZipFile(file, "w") as opened:
        opened.writestr(info, text.encode("latin-1"), compresslevel=9)


def construct(data: Path, out: Path) -> Path:
    """Write the constructed correction. Returns its path."""
    write_zip(out / CORRECTION, MEMBER, add_trailers(correct_rows(read_rows(data / ORIGINAL))))
    return out / CORRECTION


if __name__ == "__main__":
    folder = Path(str(resources.files("spotlightd.demo"))) / "data"
    construct(folder, folder)
