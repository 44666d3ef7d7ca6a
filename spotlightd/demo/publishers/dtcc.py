"""DTCC: lists in JSON on its site, files in a bucket.

The list of a regime and an asset class names whole days; the list of slices names those of the last day. A bucket answers
403 both to what does not exist yet and to what was moved to its archive. Only a request by HEAD tells them apart: 200 with
a storage class for the latter. The second stage has the whole day whose slices the first one shows.
"""

from __future__ import annotations

import re
import zipfile
from datetime import date
from pathlib import Path

from spotlightd.demo.publisher import DATA, Answer, Publisher, Request, Stage, json_answer, serve_files
from spotlightd.model.source import Period

SITE, BUCKET = "pddata.dtcc.com", "kgc0418-tdw-data-0.s3.amazonaws.com"
LIST = re.compile(r"/ppd/api/(cumulative|slice)/(CFTC|SEC)/(CR|IR|EQ|FX|CO)$")
ASSETS = {"CR": "CREDITS", "IR": "RATES", "EQ": "EQUITIES", "FX": "FOREX", "CO": "COMMODITIES"}
NAME = re.compile(r"_(?P<year>\d{4})_(?P<month>\d\d)_(?P<day>\d\d)(?:_(?P<slice>\d+))?\.zip$")
OLDEST = date(2026, 7, 4)
"""Days before it are in the bucket's archive, if they are not among the files."""

WHOLE_DAYS = (
    "CFTC_CUMULATIVE_FOREX_2023_08_19",
    "CFTC_CUMULATIVE_CREDITS_2026_07_15",
    "CFTC_CUMULATIVE_RATES_2026_07_15",
    "SEC_CUMULATIVE_EQUITIES_2026_07_13",
    "SEC_CUMULATIVE_EQUITIES_2026_07_14",
)
SLICES = (
    "CFTC_SLICE_FOREX_2023_08_20_1",
    "CFTC_SLICE_FOREX_2023_08_20_2",
    "SEC_SLICE_EQUITIES_2026_07_15_1",
    "SEC_SLICE_EQUITIES_2026_07_15_2",
    "SEC_SLICE_EQUITIES_2026_07_15_3",
)
LATER_DAYS = ("SEC_CUMULATIVE_EQUITIES_2026_07_15",)


def answer(request: Request, stage: Stage) -> Answer | None:
    if match := LIST.search(request.target):
        return json_answer(_list_files(stage, *match.groups()))
    return serve_files(request, stage) or _refuse(request)


def _refuse(request: Request) -> Answer | None:
    """What a bucket says of a file that it does not give."""
    if request.host == SITE:
        return None
    match = NAME.search(request.path)
    is_archived = match and date(int(match["year"]), int(match["month"]), int(match["day"])) < OLDEST
    if is_archived and request.method == "HEAD":
        return Answer(b"", "application/zip", headers={"x-amz-storage-class": "DEEP_ARCHIVE"})
    code = "InvalidObjectState" if is_archived else "AccessDenied"
    return Answer(f"<Error><Code>{code}</Code></Error>".encode(), "application/xml", 403)


def _list_files(stage: Stage, kind: str, regime: str, asset: str) -> list[dict[str, str | int]]:
    prefix = f"{regime}_{kind.upper()}_{ASSETS[asset]}_"
    files = {target.rpartition("/")[2]: (target, file) for target, file in stage.files.items()}
    return [
        _describe(name, *files[name], number) for number, name in enumerate(sorted(files)) if name.startswith(prefix)
    ]


def _describe(name: str, target: str, file: Path, number: int) -> dict[str, str | int]:
    """An entry of a list. The time of the archive's member is taken for that of its publication."""
    with zipfile.ZipFile(file) as opened:
        (info,) = opened.infolist()
        rows = sum(1 for line in opened.read(info).splitlines() if line) - 1
    moment = "{}-{:02}-{:02}T{:02}:{:02}:{:02}Z".format(*info.date_time)
    return {
        "sliceId": number + 1, "fileName": name, "startTs": moment, "endTs": moment, "rowCount": rows, "dissemDTM": moment,
        "fullFilePath": f"https://{target}",
    }  # fmt: skip


def _locate(stem: str) -> tuple[str, Path]:
    """The target of a file, and its place in the bundle. A constructed file says so in its own name only."""
    constructed = DATA / "dtcc" / f"{stem}-constructed.zip"
    file = constructed if constructed.exists() else DATA / "dtcc" / f"{stem}.zip"
    folder = "slices" if "_SLICE_" in stem else "eod"
    return f"{BUCKET}/{stem.partition('_')[0].lower()}/{folder}/{stem}.zip", file


BEFORE = Stage("slices of a day, and whole days before it", dict(map(_locate, (*WHOLE_DAYS, *SLICES))))
AFTER = Stage("the whole day of these slices", {**BEFORE.files, **dict(map(_locate, LATER_DAYS))})
_SUMMER = Period(date(2026, 7, 1), date(2026, 7, 31))
DAYS = {
    "dtcc_cftc_credits": _SUMMER,
    "dtcc_cftc_rates": _SUMMER,
    "dtcc_cftc_forex": Period(date(2023, 8, 1), date(2023, 8, 31)),
    "dtcc_sec_equities": _SUMMER,
}
PUBLISHER = Publisher(
    hosts=(SITE, BUCKET),
    sources=tuple(DAYS),
    stages=(BEFORE, AFTER),
    answer=answer,
    days=DAYS,
)
