"""Makes the demo's constructed files from the real rows beside them. Run it again and the same bytes come out.

`python -m spotlightd.demo.construct` writes into spotlightd/demo/data; a test compares. What is real and what is not
stands in data/SOURCES.md.
"""

from __future__ import annotations

import zipfile
from importlib import resources
from pathlib import Path

HEADER = "SETTLEMENT DATE|CUSIP|SYMBOL|QUANTITY (FAILS)|DESCRIPTION|PRICE"
FIFTEENTH = "20210115"
CORRECTED = {
    "20210120|36467W109|GME|1007562|": "20210120|36467W109|GME|997562|",
    "20210122|36467W109|GME|273600|": "20210122|36467W109|GME|301112|",
}
REMOVED = ("20210121|C96657116|VMAR|",)
ADDED = "20210125|000000000|CNSTRD|12345|CONSTRUCTED ROW OF THE DEMO|1.00"


def real_rows(archive: Path) -> list[str]:
    """The rows of a half-month's zip, header and trailers left out."""
    with zipfile.ZipFile(archive) as opened:
        text = opened.read(opened.namelist()[0]).decode("latin-1")
    header, *rows = text.splitlines()
    if header != HEADER:
        raise ValueError(f"{archive} has another header: {header}")
    return [row for row in rows if not row.startswith("Trailer")]


def without_fifteenth(rows: list[str]) -> list[str]:
    """What was settled on 15 January stays out: so a sum over the days before the 16th is the real file's own trailer."""
    return [row for row in rows if not row.startswith(FIFTEENTH)]


def corrected(rows: list[str]) -> list[str]:
    """The constructed republication: two balances changed, one row removed, one row added at the end."""
    kept = [row for row in rows if not row.startswith(REMOVED)]
    return [_changed(row) for row in kept] + [ADDED]


def _changed(row: str) -> str:
    for old, new in CORRECTED.items():
        if row.startswith(old):
            return row.replace(old, new, 1)
    return row


def with_trailers(rows: list[str]) -> str:
    """The text as the SEC would end it: number of rows, sum of shares."""
    shares = sum(int(row.split("|")[3]) for row in rows)
    end = f"Trailer record count {len(rows)}\nTrailer total quantity of shares {shares}\n"
    return "\n".join([HEADER, *rows]) + "\n" + end


def write(archive: Path, member: str, text: str) -> None:
    """A zip with one member, the same bytes whenever it is made with the same library."""
    info = zipfile.ZipInfo(member, (2021, 3, 16, 0, 0, 0))
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o600 << 16
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr(info, text.encode("latin-1"), compresslevel=9)


def construct(data: Path, out: Path) -> list[Path]:
    """Write all constructed files; answers their paths."""
    january = without_fifteenth(real_rows(data / "cnsfails202101b-real-rows-cut.zip"))
    february = real_rows(data / "cnsfails202102b-real-rows-cut.zip")
    made = {
        "cnsfails202101b-constructed-trailers.zip": ("cnsfails202101b.txt", january),
        "cnsfails202101b-constructed-correction.zip": ("cnsfails202101b.txt", corrected(january)),
        "cnsfails202102b-constructed-trailers.zip": ("cnsfails202102b.txt", february),
    }
    for name, (member, rows) in made.items():
        write(out / name, member, with_trailers(rows))
    return [out / name for name in made]


if __name__ == "__main__":
    folder = Path(str(resources.files("spotlightd.demo"))) / "data"
    construct(folder, folder)
