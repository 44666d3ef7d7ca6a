"""A swap data repository of Cboe, which does not exist as far as anybody can tell.

Lists of sources name it. But the repositories that the CFTC's and the SEC's public pages name are those of DTCC, ICE and CME, and
no public program requests a file of one of Cboe. So it is here with the reason, and nothing is requested.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import date

from spotlightd import Batch, Body, Expected, FormatError, Link, OutsideRows, Pages, Reject, Rows, swaps

REASON = "Cboe runs no swap data repository: the CFTC and the SEC name those of DTCC, ICE and CME only"


async def discover(_: Pages) -> AsyncIterator[Link]:
    return
    yield


def parse(body: Body) -> Iterator[Rows | Reject]:
    raise FormatError(f"{body.name} has no known form: {REASON}")


def expected(day: date) -> Expected:
    return Expected("none", day)


source = Batch(
    name="cboe_sdr",
    title="Swap messages at Cboe",
    home="https://www.cboe.com",
    datasets=(swaps,),
    discover=discover,
    parse=parse,
    parser="1",
    hosts=(),
    cron="0 6 1 * *",
    expected=expected,
    outside=OutsideRows.REFUSE,
    suspended=REASON,
)
