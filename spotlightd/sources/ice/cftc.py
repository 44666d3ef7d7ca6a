"""Swaps at ICE under the rules of the CFTC: commodities, credit and foreign exchange.

Not collected: no address is proven. The ticker that public readers of 2013 requested (icetradevault.com/tvus-ticker) has moved,
and nobody of whom we know requests its successor, which may be the SEC's path with `tvus` in it. The layout is that of
the older ticker, by its names alone. Its words are those of DTCC's files of that time, because no value was seen; an export with
other words is refused. Whoever knows the address copies this file to the state folder under another name of the source.
"""

from __future__ import annotations

from datetime import date

from spotlightd import Batch, OutsideRows, swaps
from spotlightd.sources.ice import layouts, trade_vault

FIRST = date(2013, 1, 1)

source = Batch(
    name="ice_cftc",
    title="Swap messages at ICE under CFTC rules",
    home="https://www.icetradevault.com/tvus-ticker",
    datasets=(swaps,),
    discover=trade_vault.make_discover("tvus", FIRST),
    parse=trade_vault.make_parse(layouts.TICKER, "CFTC"),
    parser="1",
    hosts=(trade_vault.HOST,),
    authorize=trade_vault.make_authorize("tvus"),
    cron="35 6,14 * * *",
    expected=trade_vault.expected,
    outside=OutsideRows.REFUSE,
    rejects_allowed=0.02,
    max_bytes=64 << 20,
    requests_per_second=0.5,
    suspended="no address of ICE's CFTC ticker is proven: its path may be the SEC's with tvus for tvsec",
)
