"""The layouts of ICE Trade Vault's files, told apart by their headers. No file of either was seen: both are lists of names of
public readers.

SEC     62 fields named as the rules name them, but with other capitals than DTCC's, and for one leg only
TICKER  the older ticker under the CFTC's rules, 48 fields, as public readers of 2013 have them
"""

from __future__ import annotations

from spotlightd.parse.messages import printed, swaps
from spotlightd.parse.messages.swaps import from_fields
from spotlightd.parse.messages.table import Layout

SEC = Layout(
    version="ICE SEC",
    marks=("Dissemination identifier", "Reference Entity Name"),
    words={"action": swaps.ACTIONS, "cleared": swaps.CLEARED},
    take=from_fields(
        message_id="Dissemination identifier",
        original_id="Original dissemination identifier",
        action="Action type",
        action_printed="Action type",
        event_type="Event type",
        amendment="Amendment indicator",
        event_time="Event timestamp",
        execution_time="Execution timestamp",
        dissemination_time="Dissemination timestamp",
        upi="Unique product identifier",
        effective_date="Effective date",
        notional_1="Notional amount",
        notional_1_printed="Notional amount",
        notional_currency_1="Notional currency",
        fixed_rate_1="Fixed rate",
        spread_1="Spread",
        spread_notation_1="Spread notation",
        spread_currency_1="Spread currency",
        payment_types="Other payment type",
        payment_amounts="Other payment amount",
        payment_currencies="Other payment currency",
        underlier_ids="Reference Entity Ticker",
        underlier_name="Reference Entity Name",
        strike_price="Strike price",
        strike_notation="Strike price notation",
        strike_currency="Strike price currency/currency pair",
        embedded_option="Embedded option type",
        premium="Option premium amount",
        premium_currency="Option premium currency",
        first_exercise_date="First exercise date",
        cleared="Cleared",
        venue="Platform identifier",
        block="Block trade election indicator",
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
        settlement_currency_1="Settlement currency",
    )
    | {
        "product": ("Classification", "Contract Type"),
        "expiration_date": ("Expiration date", "Scheduled Termination Date"),
    },
)

_ASSET_CLASSES = {
    "Credit": "CR", "CR": "CR", "InterestRate": "IR", "IR": "IR", "Equity": "EQ", "EQ": "EQ",
    "ForeignExchange": "FX", "FX": "FX", "Commodity": "CO", "CO": "CO",
}  # fmt: skip
_CLEARED = {"Cleared": "Y", "Bilateral": "N", "": ""}

TICKER = Layout(
    version="ICE ticker",
    marks=("TVProductMnemonic", "TradeReportID"),
    formats=printed.Formats(days="%Y-%m-%d", times="%Y-%m-%dT%H:%M:%S"),
    words={"action": swaps.ACTIONS, "asset_class": _ASSET_CLASSES, "cleared": _CLEARED},
    take=from_fields(
        message_id="TradeReportID",
        original_id="TradeReportRefID",
        asset_class="AssetClass",
        action="TradeAction",
        action_printed="TradeAction",
        event_type="ContinuationEvent",
        execution_time="ExecutionTime",
        product="TVProductMnemonic",
        effective_date="StartDate",
        expiration_date="EndDate",
        price="Price",
        price_notation="PriceType",
        quantity_1="TotalQuantity",
        quantity_unit_1="NotionalUnit",
        strike_price="OptionStrikePrice",
        option_type="OptionType",
        option_style="OptionStyle",
        premium="OptionPremium",
        embedded_option="EmbeddedOption",
        cleared="ClearedOrBilateral",
        venue="ExecutionVenue",
        block="Block/LargeNotional",
        non_standard="OtherPriceTerm",
        settlement_currency_1="SettlementCurrency",
        notional_2="NotionalAmount2",
        notional_2_printed="NotionalAmount2",
        notional_currency_1="NotionalCurrency1",
        notional_currency_2="NotionalCurrency2",
    )
    | {
        "notional_1": ("NotionalAmount1", "NotionalAmount"),
        "notional_1_printed": ("NotionalAmount1", "NotionalAmount"),
    },
)
