"""CME Group's swap data repository, under the rules of the CFTC: one zip with a CSV for each day and asset class.

CME offers the files by FTP (`ftp://ftp.cmegroup.com/sdr/…`) and, by one public author's word, under the same path on its site,
which is requested here. Nothing lists them, so names are computed: `RT.IRS.20260709.csv.zip`, on some days without `.csv`. A day
has files of single hours (`RT.IRS.20260709.0800.csv.zip`) until it has one of its own, which replaces them. They are requested for
today and yesterday. Files of 2017 and later were still there in 2026; older ones are not requested.

No file was seen. The day in the name is taken for the day of publication. Since December 2022 there are hardly any messages, by
a public author's word.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, date, datetime, timedelta

from spotlightd import Batch, Body, Expected, FormatError, Link, OutsideRows, Pages, Reject, Rows, swaps
from spotlightd.parse import dates, zipped
from spotlightd.parse.messages import swaps as messages
from spotlightd.sources.cme import layouts

HOST = "www.cmegroup.com"
FIRST = date(2017, 1, 2)
HOURS = 24
FOLDERS = {"IRS": "rates", "FX": "fx", "COMMODITY": "commodities", "CDS": "credit", "EQUITY": "equity"}
ASSET_CLASSES = {"IRS": "IR", "FX": "FX", "COMMODITY": "CO", "CDS": "CR", "EQUITY": "EQ"}
ENDINGS = (".csv.zip", ".zip")
NAME = re.compile(r"RT\.(?P<asset>[A-Z]+)\.(?P<day>20\d{6})(?:\.(?P<hour>\d{4}))?(?:\.csv)?\.zip$")
READER = messages.make_reader(swaps, layouts.LAYOUTS)


async def discover(_: Pages) -> AsyncIterator[Link]:
    for link in list_links(datetime.now(UTC)):
        yield link


def list_links(now: datetime) -> Iterator[Link]:
    """The files of business days until now, and those of the hours of the last two days that have ended."""
    for day in dates.business_days(dates.Period(FIRST, now.date())):
        for asset in FOLDERS:
            for ending in ENDINGS:
                yield _make_link(asset, day, ending)
    for number in range(now.hour + HOURS):
        hour = now - timedelta(hours=number + 1)
        for asset in FOLDERS:
            yield _make_link(asset, hour.date(), ENDINGS[0], f"{hour:%H}00")


def _make_link(asset: str, day: date, ending: str, hour: str = "") -> Link:
    name = f"RT.{asset}.{day:%Y%m%d}{f'.{hour}' if hour else ''}{ending}"
    address = f"https://{HOST}/ftp/sdr/{FOLDERS[asset]}/{day:%Y/%m}/{name}"
    covers = f"{day:%Y/%m/%d}/{FOLDERS[asset]}{f'/h{hour}' if hour else ''}"
    return Link(address, covers, day, day, is_probe=True)


def parse(body: Body) -> Iterator[Rows | Reject]:
    match = NAME.search(body.name)
    if match is None or match["asset"] not in ASSET_CLASSES:
        raise FormatError(f"{body.name} is not the name of a file of CME's repository")
    day = datetime.strptime(match["day"], "%Y%m%d").date()  # noqa: DTZ007  # only its day is used
    constants = {
        "publisher": "CME", "regime": "CFTC", "report_date": day, "asset_class": ASSET_CLASSES[match["asset"]],
    }  # fmt: skip
    members = zipped.members(body)
    if len(members) != 1:
        raise FormatError(f"{body.name} holds {len(members)} files, where one CSV is expected")
    yield from READER.read(zipped.pieces(members[0]), constants)


def expected(day: date) -> Expected:
    """The foreign exchange of the business day a week before: when files come is not known."""
    return Expected(f"{dates.add_business_days(day, -5):%Y/%m/%d}/fx", day)


source = Batch(
    name="cme_cftc",
    title="Swap messages at CME under CFTC rules",
    home="https://www.cmegroup.com/market-data/repository/data.html",
    datasets=(swaps,),
    discover=discover,
    parse=parse,
    parser="1",
    hosts=(HOST,),
    begins_with=b"PK",
    page_is_absent=True,
    cron="50 * * * *",
    expected=expected,
    outside=OutsideRows.REFUSE,
    rejects_allowed=0.02,
    max_bytes=64 << 20,
    requests_per_second=1.0,
)
