"""All asset classes under the rules of the CFTC from 2013 to 2020-11-30, as files of layout V1 at their older addresses.

The publisher has moved files of more than two years to the bucket's deep archive, where a request by GET is refused. So they
are not requested. Whoever has a mirror that kept them copies this file to the state folder under another name of the source,
without `suspended`, and sets the mirror in `publisher.mirrors`. The days from 2020-12-01 to two years ago are in the archive too.

Only a file of 2019-03-20 was seen. Each asset class has a file of its own, so a path ends with its name: `2019/03/20/rates`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date, timedelta
from functools import partial

from spotlightd import Batch, Expected, Link, OutsideRows, Pages, swaps
from spotlightd.sources.dtcc import repository
from spotlightd.sources.dtcc.reread import reread

FOLDER = "https://kgc0418-tdw-data2-0.s3.amazonaws.com/slices"
ASSETS = ("RATES", "CREDITS", "EQUITIES", "FOREX", "COMMODITIES")
FIRST, LAST = date(2013, 1, 1), date(2020, 11, 30)


async def discover(_: Pages) -> AsyncIterator[Link]:
    """A computed address for each asset class and day, newest first."""
    for day in (LAST - timedelta(days=back) for back in range((LAST - FIRST).days + 1)):
        for asset in ASSETS:
            address = f"{FOLDER}/CUMULATIVE_{asset}_{day:%Y_%m_%d}.zip"
            yield Link(address, f"{repository.cover(day)}/{asset.lower()}", day, day, is_probe=True)


def expected(_: date) -> Expected:
    """The last file: nothing new will come."""
    return Expected(f"{repository.cover(LAST)}/{ASSETS[0].lower()}", LAST)


source = Batch(
    name="dtcc_cftc_until_2020",
    title="Swap messages at DTCC under CFTC rules, 2013 to 2020",
    home=repository.HOME,
    datasets=(swaps,),
    discover=discover,
    parse=repository.make_parse("CFTC"),
    reread=partial(reread, publisher="DTCC", regime="CFTC"),
    parser="1",
    hosts=("kgc0418-tdw-data2-0.s3.amazonaws.com",),
    begins_with=b"PK",
    forbidden_is_absent=True,
    cron="40 3 * * 0",
    expected=expected,
    outside=OutsideRows.REFUSE,
    rejects_allowed=0.02,
    max_bytes=256 << 20,
    requests_per_second=0.5,
    suspended="files of 2013 to 2020 are in the publisher's deep archive, which answers no request for them",
)
