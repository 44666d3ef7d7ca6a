"""Credit derivatives on single names at ICE under the rules of the SEC, which began on 2022-02-14."""

from __future__ import annotations

from datetime import date

from spotlightd import Batch, OutsideRows, swaps
from spotlightd.sources.ice import layouts, trade_vault

FIRST = date(2022, 2, 14)

source = Batch(
    name="ice_sec_credits",
    title="Credit: swap messages at ICE under SEC rules",
    home=trade_vault.HOME,
    datasets=(swaps,),
    discover=trade_vault.make_discover("tvsec", FIRST),
    parse=trade_vault.make_parse(layouts.SEC, "SEC", {"asset_class": "CR"}),
    parser="1",
    hosts=(trade_vault.HOST,),
    authorize=trade_vault.make_authorize("tvsec"),
    cron="25 6,14 * * *",
    expected=trade_vault.expected,
    outside=OutsideRows.REFUSE,
    rejects_allowed=0.02,
    max_bytes=64 << 20,
    requests_per_second=0.5,
)
