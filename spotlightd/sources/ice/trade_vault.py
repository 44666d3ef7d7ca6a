"""ICE Trade Vault, a swap data repository: what its exports under both regimes have in common.

An export is the CSV of one day, requested with a token. The token is had without a login, by a POST without a body; how long it
lives is not known, so a new one is requested when the publisher answers 401. A day without trades is answered with a header,
or with nothing at all.

All of this is from one public reader of the SEC's exports. No export was seen: neither the order of its fields nor how it prints
times is known. So fields are found by name, times are read in the form of ISO 8601, as DTCC has them, and a value that is
printed otherwise makes its line a reject.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

from spotlightd import Body, Expected, FormatError, Link, Pages, PublisherError, Reject, Rows, swaps
from spotlightd.parse import dates, json_text, lines
from spotlightd.parse.messages import swaps as messages
from spotlightd.parse.messages.table import Layout

HOST = "tradevault.ice.com"
HOME = f"https://{HOST}/tvsec/ticker/"
NAME = re.compile(r"exportTicks\?date=(20\d\d)-(\d\d)-(\d\d)$")


def make_discover(service: str, first: date) -> Callable[[Pages], AsyncIterator[Link]]:
    """A computed address for each day until yesterday: today's export grows."""

    async def discover(_: Pages) -> AsyncIterator[Link]:
        for link in list_links(service, first, datetime.now(UTC).date() - timedelta(days=1)):
            yield link

    return discover


def list_links(service: str, first: date, last: date) -> Iterator[Link]:
    """The exports of all days, also of weekends."""
    for number in range((last - first).days + 1):
        day = first + timedelta(days=number)
        address = f"https://{HOST}/{service}/ticker/webpi/exportTicks?date={day}"
        yield Link(address, f"{day:%Y/%m/%d}", day, day, is_probe=True)


def make_authorize(service: str) -> Callable[[Pages], Awaitable[Mapping[str, str]]]:
    """The header with a new token."""
    address = f"https://{HOST}/{service}/ticker/webpi/getToken"

    async def authorize(pages: Pages) -> Mapping[str, str]:
        answer = json_text.read(await pages.page(address, post=""), address)
        token = answer.get("token") if isinstance(answer, dict) else None
        if not isinstance(token, str) or not token:
            raise PublisherError(f"{address} gives no token", outcome="wrong body")
        return {"Authorization": f"Bearer {token}"}

    return authorize


def make_parse(
    layout: Layout, regime: str, constants: Mapping[str, Any] | None = None
) -> Callable[[Body], Iterator[Rows | Reject]]:
    """`parse` for exports of that layout. `constants` are values that no field has."""
    reader = messages.make_reader(swaps, (layout,))
    return partial(_parse, reader.read, {"publisher": "ICE", "regime": regime, **(constants or {})})


def _parse(
    read: Callable[..., Iterator[Rows | Reject]], constants: Mapping[str, Any], body: Body
) -> Iterator[Rows | Reject]:
    match = NAME.search(body.name)
    if match is None:
        raise FormatError(f"{body.name} has no day in its name")
    if body.path.stat().st_size:  # nothing at all is a day without trades
        day = date(*map(int, match.groups()))
        yield from read(lines.read_file(body.path), {**constants, "report_date": day})


def expected(day: date) -> Expected:
    """The export of the business day before yesterday."""
    return Expected(f"{dates.add_business_days(day, -2):%Y/%m/%d}", day)
