"""The layouts of CME's files, told apart by their headers. No file was seen: the names are those of public readers.

OLD       until December 2022: fields of all classes, and others for rates, foreign exchange and commodities; American days and times
STANDARD  since then: the names of the CFTC's rules
CAMEL     the same in one word each (`disseminationIdentifier`), as public readers of 2025 and 2026 have the hourly files

The names of STANDARD are those of DTCC, who has to use the same rules. A file with others is refused and kept. Fields without a
column, such as the terms of a leg in commodities, are in `other` by CME's names. The asset class is that of the file's name.
"""

from __future__ import annotations

import re
from dataclasses import replace

from spotlightd.parse.messages import printed, swaps
from spotlightd.parse.messages.swaps import from_fields
from spotlightd.parse.messages.table import Layout

_WORDS = {"action": swaps.ACTIONS, "cleared": swaps.CLEARED}

OLD = Layout(
    version="CME old",
    marks=("Rpt ID", "Prev Rpt ID"),
    words=_WORDS,
    formats=printed.Formats(days="%m/%d/%Y", times="%m/%d/%Y %H:%M:%S"),
    take=from_fields(
        message_id="Rpt ID",
        original_id="Prev Rpt ID",
        action="Event",
        action_printed="Event",
        execution_time="Execution Timestamp",
        dissemination_time="Dissemination Time",
        product="Product",
        effective_date="Effective Date",
        expiration_date="Maturity Date",
        strike_price="Option Strike Price",
        option_type="Option Type",
        option_style="Option Family",
        embedded_option="Embedded Option",
        premium="Option Premium",
        premium_currency="Option Currency",
        cleared="Cleared",
        venue="Execution Venue",
        block="Block/Off Facility",
        settlement_currency_1="Settlement Currency",
    ),
)
OLD_RATES = replace(
    OLD,
    version="CME old rates",
    marks=(*OLD.marks, "Leg 1 Fixed Rate"),
    take={
        **OLD.take,
        **from_fields(
            notional_1="Leg 1 Notional",
            notional_2="Leg 2 Notional",
            notional_1_printed="Leg 1 Notional",
            notional_2_printed="Leg 2 Notional",
            notional_currency_1="Leg 1 Notional Currency",
            notional_currency_2="Leg 2 Notional Currency",
            fixed_rate_1="Leg 1 Fixed Rate",
            fixed_rate_2="Leg 2 Fixed Rate",
            spread_1="Leg 1 Spread",
            spread_2="Leg 2 Spread",
            underlier_ids="Leg 1 Floating Index",
            underlier_ids_2="Leg 2 Floating Index",
            payment_amounts="Upfront Payment",
            payment_currencies="Upfront Payment Currency",
        ),
    },
)
OLD_FOREX = replace(
    OLD,
    version="CME old forex",
    marks=(*OLD.marks, "Notional Amount 1", "Exchange Rate"),
    take={
        **OLD.take,
        **from_fields(
            notional_1="Notional Amount 1",
            notional_2="Notional Amount 2",
            notional_1_printed="Notional Amount 1",
            notional_2_printed="Notional Amount 2",
            notional_currency_1="Currency 1",
            notional_currency_2="Currency 2",
            exchange_rate="Exchange Rate",
        ),
    },
)
OLD_COMMODITIES = replace(
    OLD,
    version="CME old commodities",
    marks=(*OLD.marks, "Price Unit"),
    take={**OLD.take, **from_fields(price_unit="Price Unit")},
)

STANDARD = Layout(
    version="CME standard",
    marks=("Dissemination Identifier", "Action type"),
    words=_WORDS,
    take=from_fields(
        message_id="Dissemination Identifier",
        original_id="Original Dissemination Identifier",
        action="Action type",
        action_printed="Action type",
        event_type="Event type",
        event_time="Event timestamp",
        amendment="Amendment indicator",
        execution_time="Execution Timestamp",
        effective_date="Effective Date",
        expiration_date="Expiration Date",
        notional_1="Notional amount-Leg 1",
        notional_2="Notional amount-Leg 2",
        notional_1_printed="Notional amount-Leg 1",
        notional_2_printed="Notional amount-Leg 2",
        notional_currency_1="Notional currency-Leg 1",
        notional_currency_2="Notional currency-Leg 2",
        price="Price",
        price_notation="Price notation",
        price_currency="Price currency",
        price_unit="Price unit of measure",
        exchange_rate="Exchange rate",
        exchange_rate_basis="Exchange rate basis",
        fixed_rate_1="Fixed rate-Leg 1",
        fixed_rate_2="Fixed rate-Leg 2",
        spread_1="Spread-Leg 1",
        spread_2="Spread-Leg 2",
        spread_notation_1="Spread notation-Leg 1",
        spread_notation_2="Spread notation-Leg 2",
        strike_price="Strike Price",
        strike_notation="Strike price notation",
        option_type="Option Type",
        option_style="Option Style",
        premium="Option Premium Amount",
        premium_currency="Option Premium Currency",
        cleared="Cleared",
        venue="Platform identifier",
        block="Block trade election indicator",
        package="Package indicator",
        settlement_currency_1="Settlement currency-Leg 1",
        settlement_currency_2="Settlement currency-Leg 2",
    ),
)


def _join_words(name: str) -> str:
    """`Fixed rate-Leg 1` as `fixedRateLeg1`."""
    words: list[str] = re.findall(r"[A-Za-z]+|\d+", name)
    first, *others = words
    return first.lower() + "".join(word.capitalize() for word in others)


CAMEL = replace(
    STANDARD,
    version="CME camel",
    marks=tuple(map(_join_words, STANDARD.marks)),
    take={column: tuple(map(_join_words, names)) for column, names in STANDARD.take.items()},
)

LAYOUTS = (CAMEL, STANDARD, OLD_RATES, OLD_FOREX, OLD_COMMODITIES, OLD)
