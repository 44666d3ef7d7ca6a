"""The four layouts of DTCC's files, told apart by their headers. Authors disagree on the days of the changes by weeks.

V1  2013 to 2020-11-30, 44 fields      V3  December 2022 to January 2024, 112 fields
V2  to about 2022-12-04, 69 fields     V4  since about 2024-01-28, 110 fields

- Files of V1, V3 and V4 were read; for V2 there is only a list of names.
- V1 has one price with a word that says what it is. It stays in `price`, also where it is a rate in percent, because
  the rates of later layouts are decimals. Its additional price is an amount of money, and is in `other`.
- V3 prints amounts of calls and puts for each leg, V4 once. Both are in `other`, like schedules of notionals, frequencies and
  day counts.
- `-Leg 1` and `-leg 1` are in one header, so names are compared without regard to case.
"""

from __future__ import annotations

from spotlightd.parse.messages import swaps
from spotlightd.parse.messages.swaps import from_fields
from spotlightd.parse.messages.table import Layout

_WORDS = {"action": swaps.ACTIONS, "asset_class": swaps.ASSET_CLASSES, "cleared": swaps.CLEARED}

V1 = Layout(
    version="V1",
    marks=("DISSEMINATION_ID", "ROUNDED_NOTIONAL_AMOUNT_1"),
    words=_WORDS,
    take=from_fields(
        message_id="DISSEMINATION_ID",
        original_id="ORIGINAL_DISSEMINATION_ID",
        asset_class="ASSET_CLASS",
        action="ACTION",
        action_printed="ACTION",
        event_type="PRICE_FORMING_CONTINUATION_DATA",
        execution_time="EXECUTION_TIMESTAMP",
        product="TAXONOMY",
        effective_date="EFFECTIVE_DATE",
        expiration_date="END_DATE",
        notional_1="ROUNDED_NOTIONAL_AMOUNT_1",
        notional_2="ROUNDED_NOTIONAL_AMOUNT_2",
        notional_1_printed="ROUNDED_NOTIONAL_AMOUNT_1",
        notional_2_printed="ROUNDED_NOTIONAL_AMOUNT_2",
        notional_currency_1="NOTIONAL_CURRENCY_1",
        notional_currency_2="NOTIONAL_CURRENCY_2",
        price="PRICE_NOTATION",
        price_notation="PRICE_NOTATION_TYPE",
        underlier_ids="UNDERLYING_ASSET_1",
        underlier_ids_2="UNDERLYING_ASSET_2",
        strike_price="OPTION_STRIKE_PRICE",
        option_type="OPTION_TYPE",
        option_style="OPTION_FAMILY",
        embedded_option="EMBEDED_OPTION",
        premium="OPTION_PREMIUM",
        premium_currency="OPTION_CURRENCY",
        cleared="CLEARED",
        venue="EXECUTION_VENUE",
        block="BLOCK_TRADES_AND_LARGE_NOTIONAL_OFF-FACILITY_SWAPS",
        non_standard="INDICATION_OF_OTHER_PRICE_AFFECTING_TERM",
        settlement_currency_1="SETTLEMENT_CURRENCY",
    ),
)

V2 = Layout(
    version="V2",
    marks=("Dissemination ID", "Primary Asset Class"),
    words=_WORDS,
    take=from_fields(
        message_id="Dissemination ID",
        original_id="Original Dissemination ID",
        asset_class="Primary Asset Class",
        action="Action",
        action_printed="Action",
        event_type="Transaction Type",
        event_time="Event Timestamp",
        execution_time="Execution Timestamp",
        product="Product ID",
        effective_date="Effective Date",
        expiration_date="Expiration Date",
        notional_1="Notional Amount 1",
        notional_2="Notional Amount 2",
        notional_1_printed="Notional Amount 1",
        notional_2_printed="Notional Amount 2",
        notional_currency_1="Notional Currency 1",
        notional_currency_2="Notional Currency 2",
        quantity_1="Total Notional Quantity 1",
        quantity_2="Total Notional Quantity 2",
        quantity_unit_1="Quantity Unit Of Measure",
        price="Price 1",
        price_unit="Price Unit Of Measure 1",
        exchange_rate="Exchange Rate",
        exchange_rate_basis="Exchange Rate Basis",
        fixed_rate_1="Fixed Rate 1",
        fixed_rate_2="Fixed Rate 2",
        spread_1="Spread 1",
        spread_2="Spread 2",
        spread_currency_1="Spread Currency 1",
        spread_currency_2="Spread Currency 2",
        payment_amounts="Other Payment Amount",
        underlier_sources="Underlying Asset ID Type",
        underlier_name="Underlying Asset Name",
        strike_price="Strike Price",
        strike_currency="Strike Price Currency",
        option_type="Option Type",
        option_style="Option Style",
        embedded_option="Embedded Option Type",
        premium="Option Premium Amount",
        premium_currency="Option Premium Currency",
        first_exercise_date="First Exercise Date",
        cleared="Cleared",
        venue="Execution Venue Type",
        block="Block Trade Election Indicator",
        non_standard="Non-Standardized Pricing Indicator",
        settlement_currency_1="Settlement Currency 1",
        settlement_currency_2="Settlement Currency 2",
    )
    | {
        "underlier_ids": ("Underlying Asset ID", "Leg 1 - Floating Rate Index", "Leg 1 - Commodity Underlyer ID"),
        "underlier_ids_2": ("Leg 2 - Floating Rate Index", "Leg 2 - Commodity Underlyer ID"),
    },
)

_V3 = from_fields(
    message_id="Dissemination Identifier",
    original_id="Original Dissemination Identifier",
    asset_class="Asset Class",
    action="Action type",
    action_printed="Action type",
    event_type="Event type",
    amendment="Amendment indicator",
    event_time="Event timestamp",
    execution_time="Execution Timestamp",
    product="Product name",
    effective_date="Effective Date",
    expiration_date="Expiration Date",
    underlier_maturity="Maturity date of the underlier",
    notional_1="Notional amount-Leg 1",
    notional_2="Notional amount-Leg 2",
    notional_1_printed="Notional amount-Leg 1",
    notional_2_printed="Notional amount-Leg 2",
    notional_currency_1="Notional currency-Leg 1",
    notional_currency_2="Notional currency-Leg 2",
    quantity_1="Total notional quantity-Leg 1",
    quantity_2="Total notional quantity-Leg 2",
    quantity_unit_1="Quantity unit of measure-Leg 1",
    quantity_unit_2="Quantity unit of measure-Leg 2",
    price="Price",
    price_notation="Price notation",
    price_unit="Price unit of measure",
    price_currency="Price currency",
    exchange_rate="Exchange rate",
    exchange_rate_basis="Exchange rate basis",
    fixed_rate_1="Fixed rate-Leg 1",
    fixed_rate_2="Fixed rate-Leg 2",
    spread_1="Spread-Leg 1",
    spread_2="Spread-Leg 2",
    spread_notation_1="Spread notation-Leg 1",
    spread_notation_2="Spread notation-Leg 2",
    spread_currency_1="Spread currency-Leg 1",
    spread_currency_2="Spread currency-Leg 2",
    payment_types="Other payment type",
    payment_amounts="Other payment amount",
    payment_currencies="Other payment currency",
    underlier_ids="Underlier ID-Leg 1",
    underlier_ids_2="Underlier ID-Leg 2",
    underlier_sources="Underlier ID source-Leg 1",
    underlier_name="Underlying Asset Name",
    strike_price="Strike Price",
    strike_notation="Strike price notation",
    strike_currency="Strike price currency/currency pair",
    option_type="Option Type",
    option_style="Option Style",
    embedded_option="Embedded Option type",
    premium="Option Premium Amount",
    premium_currency="Option Premium Currency",
    first_exercise_date="First exercise date",
    cleared="Cleared",
    venue="Platform identifier",
    block="Block trade election indicator",
    large_off_facility="Large notional off-facility swap election indicator",
    non_standard="Non-standardized term indicator",
    post_priced="Post-priced swap indicator",
    prime_brokerage="Prime brokerage transaction indicator",
    package="Package indicator",
    package_price="Package transaction price",
    package_price_notation="Package transaction price notation",
    package_price_currency="Package transaction price currency",
    package_spread="Package transaction spread",
    package_spread_notation="Package transaction spread notation",
    package_spread_currency="Package transaction spread currency",
    custom_basket="Custom basket indicator",
    index_factor="Index factor",
    settlement_currency_1="Settlement currency-Leg 1",
    settlement_currency_2="Settlement currency-Leg 2",
)

V3 = Layout(version="V3", marks=("Dissemination Identifier", "Call amount-Leg 1"), words=_WORDS, take=_V3)

V4 = Layout(
    version="V4",
    marks=("Dissemination Identifier", "Unique Product Identifier"),
    words=_WORDS,
    take=_V3
    | from_fields(upi="Unique Product Identifier", upi_fisn="UPI FISN", upi_underlier="UPI Underlier Name")
    | {
        "product": ("Product name", "UPI FISN"),
        "underlier_name": ("Underlying Asset Name", "UPI Underlier Name"),
    },
)

LAYOUTS = (V4, V3, V2, V1)
