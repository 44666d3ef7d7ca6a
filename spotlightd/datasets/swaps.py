"""The dataset `swaps`: every message that a swap data repository made public, one row each, whatever repository sent it.

Repositories print 44 to 112 columns and rename them every few years. A column here has one meaning for all of them; what has
no column of its own is in `other`, by the publisher's own name, so nothing of a message is lost.

- Until 2022 CANCEL is the word for a message that should not be there, so it is ERROR. It does not end a trade. The file
  of 2019-03-20 reports ends and changes as NEW messages, whose event_type is Termination, Amendment or Novation; nearly
  all of them name no earlier message.
- A message is a step in the life of a trade: reported, changed, corrected, ended, withdrawn. `original_id` leads to an
  earlier message of the same trade, mostly the one before, sometimes the first. `swap_trades` has one row for each trade.
- `report_date` is the day of the file, in UTC: no column of the files says when a message was made public. Executions and
  events can be years older, so nothing is ever filtered by them.
- Amounts are decimals of the printed digits. `capped` amounts are printed with a plus sign: the true one is larger. Rates
  and spreads have the unit that the message has: `..._notation` tells it. CFTC codes are 1 money, 2 percent, 3 decimal
  (0.0544 is 5.44 %), 4 basis points; until 2020 there are words (`Percent`).
- Prices and premiums of a package stand in each of its messages as a whole, so they must not be added up.
- `flags` marks what breaks a rule, and never changes it:

  placeholder:COLUMN   nines only, at least five of them, so it means "not known": 9.9999999999, 99.9999, 99999
  capped:COLUMN        an amount other than the notional that is printed with a plus sign
  price_in_spread      the spread of a credit message is 20 or more and not in basis points: it looks like a price, as of
                       CDX.EM and CDX.NA.HY, which are quoted so (98.21, 107.925)
  price_per_10000      the spread of CDX.EM or CDX.NA.HY is 0.005 to 0.015 in decimals: it looks like the price divided by 10,000
                       (0.010798 for 107.98), as do all 256 decimals of both on 2026-07-15
  off_by_100           the spread of a credit message is 0.5 to 20 in decimals, which is 50 % to 2,000 %: it looks like percent
  points_to_itself     the message names itself as the one before
  far_date:COLUMN      a day that a Date cannot hold (before 1970 or after 2149-06-06), or a time before 1900: the column is
                       empty, and `other` has the text

Printed texts of notionals are kept, because of the plus sign and because people search for them in the file.
"""

from __future__ import annotations

from spotlightd.model.dataset import Column, Dataset, Rhythm

AMOUNT = "Nullable(Decimal(38, 5))"
RATE = "Nullable(Decimal(38, 13))"
TIME = "Nullable(DateTime64(6, 'UTC'))"
NAME = "LowCardinality(String)"
CHOICE = "Nullable(Bool)"

INSTRUMENT = "if(upi_fisn != '', upi_fisn, product)"
UNDERLIER = (
    "multiIf(length(underlier_ids) > 1, 'basket', length(underlier_ids) = 1, underlier_ids[1], upi_underlier != '', "
    "upi_underlier, underlier_name)"
)

swaps = Dataset(
    name="swaps",
    title="Swap messages",
    publisher="swap data repositories (DTCC, ICE Trade Vault, CME), under the rules of the CFTC and the SEC",
    about="Every message about a swap trade that a repository made public: new, changed, corrected, ended and withdrawn trades.",
    columns=(
        Column("publisher", NAME, "the repository: DTCC, ICE or CME"),
        Column("regime", NAME, "whose rules it is reported under: CFTC, or SEC for security-based swaps"),
        Column("report_date", "Date", "the day (UTC) of the file that made the message public"),
        Column("asset_class", NAME, "CR credit, IR interest rates, EQ equity, FX foreign exchange, CO commodities"),
        Column("schema_version", NAME, "which of the publisher's layouts the file has, by its header"),
        Column("message_id", "String", "the publisher's number of the message"),
        Column("original_id", "String", "the earlier message that this one changes; empty for a new trade"),
        Column("action", NAME, "NEW, MODIFY, CORRECT, TERMINATE, ERROR (withdrawn: it never was valid), REVIVE or OTHER"),
        Column("action_printed", NAME, "the same in the publisher's word"),
        Column("event_type", NAME, "what happened, in the publisher's word; corrections mostly have none"),
        Column("amendment", CHOICE, "whether the event changes terms that were agreed before"),
        Column("event_time", TIME, "when it happened"),
        Column("execution_time", TIME, "when the trade was made; it stays the same through the trade's life"),
        Column("dissemination_time", TIME, "when the message was made public, where the file says so"),
        Column("product", NAME, "the product in the publisher's taxonomy; since 2024 its short name (FISN)"),
        Column("upi", NAME, "unique product identifier (ISO 4914), since 2024"),
        Column("upi_fisn", NAME, "short name of that product"),
        Column("upi_underlier", NAME, "the underlier in the register of products; one index has several spellings"),
        Column("effective_date", "Nullable(Date)", "first day of the swap"),
        Column("expiration_date", "Nullable(Date)", "last day of the swap"),
        Column("underlier_maturity", "Nullable(Date)", "when the underlier ends"),
        Column("notional_1", AMOUNT, "notional of the first leg; negative occurs", unit="notional_currency_1"),
        Column("notional_2", AMOUNT, "notional of the second leg", unit="notional_currency_2"),
        Column("notional_1_capped", "Bool", "the true notional is larger: the rules allow a cap"),
        Column("notional_2_capped", "Bool", "the same for the second leg"),
        Column("notional_1_printed", NAME, "notional of the first leg as printed"),
        Column("notional_2_printed", NAME, "notional of the second leg as printed"),
        Column("notional_currency_1", NAME, "currency of the first notional"),
        Column("notional_currency_2", NAME, "currency of the second notional"),
        Column("quantity_1", AMOUNT, "total quantity of the first leg, mostly of commodities and equities", unit="quantity_unit_1"),
        Column("quantity_2", AMOUNT, "total quantity of the second leg", unit="quantity_unit_2"),
        Column("quantity_unit_1", NAME, "unit of the first quantity, as printed"),
        Column("quantity_unit_2", NAME, "unit of the second quantity, as printed"),
        Column("price", RATE, "price, in the unit of its notation", unit="price_notation"),
        Column("price_notation", NAME, "what the price is: a code of the CFTC, until 2020 a word such as Percent"),
        Column("price_unit", NAME, "unit of measure of the price, as printed"),
        Column("price_currency", NAME, "currency of the price"),
        Column("exchange_rate", RATE, "rate of exchange", unit="exchange_rate_basis"),
        Column("exchange_rate_basis", NAME, "currencies of that rate, as printed"),
        Column("fixed_rate_1", RATE, "fixed rate of the first leg, as printed; since 2022 a decimal: 0.0544 is 5.44 %"),
        Column("fixed_rate_2", RATE, "fixed rate of the second leg"),
        Column("spread_1", RATE, "spread of the first leg", unit="spread_notation_1"),
        Column("spread_2", RATE, "spread of the second leg", unit="spread_notation_2"),
        Column("spread_notation_1", NAME, "what the first spread is: 1 money, 2 percent, 3 decimal, 4 basis points"),
        Column("spread_notation_2", NAME, "what the second spread is"),
        Column("spread_currency_1", NAME, "currency of the first spread, if it is money"),
        Column("spread_currency_2", NAME, "currency of the second spread, if it is money"),
        Column("payment_types", f"Array({NAME})", "other payments: their types; UFRO is upfront, UWIN unwind, PEXH exchange of principal"),
        Column("payment_amounts", "Array(Decimal(38, 5))", "other payments: their amounts, in the same order"),
        Column("payment_currencies", f"Array({NAME})", "other payments: their currencies, in the same order"),
        Column("underlier_ids", f"Array({NAME})", "what the first leg depends on: identifiers or index names; several for a basket"),
        Column("underlier_sources", f"Array({NAME})", "the kinds of these identifiers, such as ISIN, in the same order"),
        Column("underlier_ids_2", f"Array({NAME})", "what the second leg depends on"),
        Column("underlier_name", NAME, "name of the underlier as printed; free text with several spellings"),
        Column("strike_price", RATE, "strike of an option", unit="strike_notation"),
        Column("strike_notation", NAME, "what the strike is: a code of the CFTC"),
        Column("strike_currency", NAME, "currency or currency pair of the strike"),
        Column("option_type", NAME, "kind of option, as printed"),
        Column("option_style", NAME, "when it can be exercised, as printed"),
        Column("embedded_option", NAME, "kind of option within the swap, as printed"),
        Column("premium", AMOUNT, "premium of the option; in a package often of the whole package", unit="premium_currency"),
        Column("premium_currency", NAME, "currency of the premium"),
        Column("first_exercise_date", "Nullable(Date)", "first day on which the option can be exercised"),
        Column("cleared", NAME, "Y cleared, N not cleared, I to be cleared; empty where it is not said"),
        Column("venue", NAME, "market code of the platform; XXXX, XOFF, BILT and OFF are off-facility"),
        Column("block", CHOICE, "reported as a block trade; until 2020 also as a large trade off-facility"),
        Column("large_off_facility", CHOICE, "reported as a large notional off-facility swap"),
        Column("non_standard", CHOICE, "has terms that the message does not show and that affect the price"),
        Column("post_priced", CHOICE, "priced after the trade was made"),
        Column("prime_brokerage", CHOICE, "made through a prime broker"),
        Column("package", CHOICE, "one of several trades that were priced together"),
        Column("package_price", RATE, "price of the whole package, the same in each of its messages", unit="package_price_notation"),
        Column("package_price_notation", NAME, "what that price is: a code of the CFTC"),
        Column("package_price_currency", NAME, "currency of that price"),
        Column("package_spread", RATE, "spread of the whole package, the same in each of its messages", unit="package_spread_notation"),
        Column("package_spread_notation", NAME, "what that spread is: a code of the CFTC"),
        Column("package_spread_currency", NAME, "currency of that spread"),
        Column("custom_basket", CHOICE, "the underlier is a basket made for this trade"),
        Column("index_factor", RATE, "share of an index that is still there after defaults"),
        Column("settlement_currency_1", NAME, "currency in which the first leg is settled"),
        Column("settlement_currency_2", NAME, "currency in which the second leg is settled"),
        Column("flags", f"Array({NAME})", "rules that the message breaks, such as placeholder:package_price; values are never altered"),
        Column("other", "Map(LowCardinality(String), String)", "all other values that are not empty, by the publisher's own names, as printed"),
    ),
    key=("publisher", "regime", "message_id"),
    order=("publisher", "regime", "message_id"),
    partition="toYYYYMM(report_date)",
    time="report_date",
    repeats_within=3,
    derived=(
        Column(
            "upfront",
            AMOUNT,
            "the upfront payment, if there is exactly one; several are in payment_amounts",
            unit="payment_currencies",
            sql="if(countEqual(payment_types, 'UFRO') = 1 AND length(payment_types) = length(payment_amounts), "
            "payment_amounts[indexOf(payment_types, 'UFRO')], NULL)",
        ),
        Column("instrument", "String", "what is traded: the product's short name (FISN), else the product", sql=INSTRUMENT),
        Column("underlier", "String", "what it depends on, as one text: `basket` for several identifiers", sql=UNDERLIER),
    ),
    rhythm=Rhythm("every day, weekends too: slices every few seconds, and a file of the whole day after it", stale_days=5, rows=(0, 2_000_000)),
    licence="The repositories' own terms: for the operator's own use",
    notes=(
        "One row is one message, not one trade: a trade that is changed twice has three. Count trades in swap_trades.",
        "Only messages that the rules make public. Names of the parties never are.",
        "A capped notional is smaller than the true one, so sums are too small. The caps differ by asset class and year.",
        "Prices, spreads and premiums of a package stand as a whole in each of its messages. They must not be added up.",
        "Values are as printed. Some have the wrong unit or stand in the wrong column; those that a rule detects have a flag.",
        "A first message may be older than the files that the publisher still has, about two years.",
    ),
)  # fmt: skip
