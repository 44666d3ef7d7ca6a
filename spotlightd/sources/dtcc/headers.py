"""The fields of DTCC's four layouts in their printed order, one a line: for reading one line without its header.

Files are read by the names in their own header (`layouts.py`). V2 is a list of one public reader, the others are of files.
"""

V1 = """
DISSEMINATION_ID
ORIGINAL_DISSEMINATION_ID
ACTION
EXECUTION_TIMESTAMP
CLEARED
INDICATION_OF_COLLATERALIZATION
INDICATION_OF_END_USER_EXCEPTION
INDICATION_OF_OTHER_PRICE_AFFECTING_TERM
BLOCK_TRADES_AND_LARGE_NOTIONAL_OFF-FACILITY_SWAPS
EXECUTION_VENUE
EFFECTIVE_DATE
END_DATE
DAY_COUNT_CONVENTION
SETTLEMENT_CURRENCY
ASSET_CLASS
SUB-ASSET_CLASS_FOR_OTHER_COMMODITY
TAXONOMY
PRICE_FORMING_CONTINUATION_DATA
UNDERLYING_ASSET_1
UNDERLYING_ASSET_2
PRICE_NOTATION_TYPE
PRICE_NOTATION
ADDITIONAL_PRICE_NOTATION_TYPE
ADDITIONAL_PRICE_NOTATION
NOTIONAL_CURRENCY_1
NOTIONAL_CURRENCY_2
ROUNDED_NOTIONAL_AMOUNT_1
ROUNDED_NOTIONAL_AMOUNT_2
PAYMENT_FREQUENCY_1
PAYMENT_FREQUENCY_2
RESET_FREQUENCY_1
RESET_FREQUENCY_2
EMBEDED_OPTION
OPTION_STRIKE_PRICE
OPTION_TYPE
OPTION_FAMILY
OPTION_CURRENCY
OPTION_PREMIUM
OPTION_LOCK_PERIOD
OPTION_EXPIRATION_DATE
PRICE_NOTATION2_TYPE
PRICE_NOTATION2
PRICE_NOTATION3_TYPE
PRICE_NOTATION3
""".strip().splitlines()

V2 = """
Dissemination ID
Original Dissemination ID
Primary Asset Class
Product ID
Action
Transaction Type
Block Trade Election Indicator
Cleared
Clearing Exception or Exemption Indicator
Day Count Convention
Effective Date
Embedded Option Type
Event Timestamp
Exchange Rate
Exchange Rate Basis
Execution Timestamp
Expiration Date
First Exercise Date
Fixed Rate 1
Fixed Rate 2
Fixed Recovery CDS Final Price
Floating Rate Reset Frequency Period 1
Floating Rate Reset Frequency Period 2
Floating Rate Reset Frequency Period Multiplier 1
Floating Rate Reset Frequency Period Multiplier 2
Leg 1 - Commodity Underlyer ID
Leg 2 - Commodity Underlyer ID
Leg 1 - Floating Rate Index
Leg 2 - Floating Rate Index
Non-Standardized Pricing Indicator
Notional Amount 1
Notional Amount 2
Notional Currency 1
Notional Currency 2
Notional Quantity 1
Notional Quantity 2
Total Notional Quantity 1
Total Notional Quantity 2
Option Entitlement
Option Premium Amount
Option Premium Currency
Other Payment Amount
Payment Frequency Period 1
Payment Frequency Period 2
Payment Frequency Period Multiplier 1
Payment Frequency Period Multiplier 2
Price 1
Price 2
Price Unit Of Measure 1
Price Unit Of Measure 2
Quantity Frequency
Quantity Unit Of Measure
Settlement Currency 1
Settlement Currency 2
Spread 1
Spread 2
Spread Currency 1
Spread Currency 2
Strike Price
Strike Price Currency
Underlying Asset ID
Underlying Asset ID Type
Underlying Asset Name
Leg 1 - Commodity Instrument ID
Leg 2 - Commodity Instrument ID
Option Type
Option Style
Execution Venue Type
Collateralization Type
""".strip().splitlines()

V4 = """
Dissemination Identifier
Original Dissemination Identifier
Action type
Event type
Event timestamp
Amendment indicator
Asset Class
Product name
Cleared
Mandatory clearing indicator
Execution Timestamp
Effective Date
Expiration Date
Maturity date of the underlier
Non-standardized term indicator
Platform identifier
Prime brokerage transaction indicator
Block trade election indicator
Large notional off-facility swap election indicator
Notional amount-Leg 1
Notional amount-Leg 2
Notional currency-Leg 1
Notional currency-Leg 2
Notional quantity-Leg 1
Notional quantity-Leg 2
Total notional quantity-Leg 1
Total notional quantity-Leg 2
Quantity frequency multiplier-Leg 1
Quantity frequency multiplier-Leg 2
Quantity unit of measure-Leg 1
Quantity unit of measure-Leg 2
Quantity frequency-Leg 1
Quantity frequency-Leg 2
Notional amount in effect on associated effective date-Leg 1
Notional amount in effect on associated effective date-Leg 2
Effective date of the notional amount-Leg 1
Effective date of the notional amount-Leg 2
End date of the notional amount-Leg 1
End date of the notional amount-Leg 2
Call amount
Call currency
Put amount
Put currency
Exchange rate
Exchange rate basis
First exercise date
Fixed rate-Leg 1
Fixed rate-Leg 2
Option Premium Amount
Option Premium Currency
Price
Price unit of measure
Spread-Leg 1
Spread-Leg 2
Spread currency-Leg 1
Spread currency-Leg 2
Strike Price
Strike price currency/currency pair
Post-priced swap indicator
Price currency
Price notation
Spread notation-Leg 1
Spread notation-Leg 2
Strike price notation
Fixed rate day count convention-leg 1
Fixed rate day count convention-leg 2
Floating rate day count convention-leg 1
Floating rate day count convention-leg 2
Floating rate reset frequency period-leg 1
Floating rate reset frequency period-leg 2
Floating rate reset frequency period multiplier-leg 1
Floating rate reset frequency period multiplier-leg 2
Other payment amount
Fixed rate payment frequency period-Leg 1
Floating rate payment frequency period-Leg 1
Fixed rate payment frequency period-Leg 2
Floating rate payment frequency period-Leg 2
Fixed rate payment frequency period multiplier-Leg 1
Floating rate payment frequency period multiplier-Leg 1
Fixed rate payment frequency period multiplier-Leg 2
Floating rate payment frequency period multiplier-Leg 2
Other payment type
Other payment currency
Settlement currency-Leg 1
Settlement currency-Leg 2
Settlement location
Collateralisation category
Custom basket indicator
Index factor
Underlier ID-Leg 1
Underlier ID-Leg 2
Underlier ID source-Leg 1
Underlying Asset Name
Underlying asset subtype or underlying contract subtype-Leg 1
Underlying asset subtype or underlying contract subtype-Leg 2
Embedded Option type
Option Type
Option Style
Package indicator
Package transaction price
Package transaction price currency
Package transaction price notation
Package transaction spread
Package transaction spread currency
Package transaction spread notation
Physical delivery location-Leg 1
Delivery Type
Unique Product Identifier
UPI FISN
UPI Underlier Name
""".strip().splitlines()

_TWICE = ("Call amount", "Call currency", "Put amount", "Put currency", "Settlement location")
_LATER = ("Unique Product Identifier", "UPI FISN", "UPI Underlier Name")
V3 = [
    printed
    for name in V4
    if name not in _LATER
    for printed in ((f"{name}-Leg 1", f"{name}-Leg 2") if name in _TWICE else (name,))
]

BY_LENGTH = {len(names): (version, names) for version, names in (("V1", V1), ("V2", V2), ("V3", V3), ("V4", V4))}
