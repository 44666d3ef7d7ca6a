"""The dataset `swap_underliers`: which message names which security. It is the index by which a symbol's page finds its swaps.

Repositories name an underlier by an identifier of some kind, by a free text, or by both; a basket names many. There is one row
for each message and each thing that it names. `code` is what is compared, `printed` the text in the message:

  ISIN     twelve characters of the form of an ISIN. If its country is US or CA, or the national part begins with a letter as
           numbers of foreign issuers do (KYG8208B1014), `code` is that part: the CUSIP. Otherwise `code` is the whole ISIN
  CUSIP    nine characters of the form of a CUSIP
  ticker   one to five letters, with a class and an exchange in the United States or none: GME, GME.N, GME US Equity. `code`
           has the letters of the ticker and its class: BRKb.N and BRK/B give BRKB. HEI.A is left out, because A is a class
           to some and an exchange to others
  name     the name of the underlier: `code` has its words up to the first that says the legal form or the class of share,
           without signs: GAMESTOP CORP CL A gives GAMESTOP

Only equity and credit swaps are here. What rates, currencies and commodities depend on is no security.
"""

from __future__ import annotations

from spotlightd.datasets.swap_days import CAPPED, CURRENCY, NOTIONAL
from spotlightd.datasets.swaps import AMOUNT, INSTRUMENT, NAME, swaps
from spotlightd.model.dataset import Column, Dataset, Rhythm
from spotlightd.model.derivation import Derivation, RowsOf

LEGAL_FORMS = (
    "INC|INCORPORATED|CORP|CORPORATION|CO|COMPANY|LTD|LIMITED|PLC|LLC|LP|SA|NV|AG|SE|AB|ASA|SPA|HLDG|HLDGS|HOLDING|HOLDINGS"
    "|GROUP|TRUST|CL|CLASS|COM|COMMON|SHS|ORD|NEW|ADR|ADS|SPONSORED|REIT|DEL"
)


def normal_name(text: str) -> str:
    """SQL: the words of a name before the first that says the legal form or the class of share, in capitals, without signs."""
    capitals = f"upperUTF8({text})"
    words = f"trimBoth(replaceRegexpAll({capitals}, '[^A-Z0-9]+', ' '))"
    return f"trimBoth(replaceRegexpOne({words}, '^(.+?) ({LEGAL_FORMS})( .*)?$', '\\\\1'))"


ISIN = "match(id, '^[A-Z]{{2}}[A-Z0-9]{{9}}[0-9]$') AND NOT startsWith(id, 'BBG')"
HAS_CUSIP = "substring(id, 1, 2) IN ('US', 'CA') OR match(substring(id, 3, 1), '[A-Z]')"
CUSIP = "match(id, '^[0-9A-Z]{{8}}[0-9]$')"
TICKER = "^([A-Z]{{1,5}})(?:([a-z])|[/ -]([A-Z])|\\\\.([BCD]))?(?:\\\\.(?:N|O|OQ|K|P|Z)| US| US EQUITY| US Equity)?$"
"""A ticker, a letter of its class, and the endings of exchanges in the United States."""

swap_underliers = Dataset(
    name="swap_underliers",
    title="Underliers of swaps",
    publisher=swaps.publisher,
    about="Which message about an equity or credit swap names which security, by identifier, ticker or name.",
    columns=(
        Column(
            "code", "String", "what is compared: the CUSIP within an ISIN, a CUSIP, a ticker, or the words of a name"
        ),
        Column("rule", NAME, "how the code was found: ISIN, CUSIP, ticker or name"),
        Column("printed", "String", "the identifier or name as printed in the message"),
        Column("members", "UInt16", "how many identifiers the message names; more than one is a basket"),
        Column("report_date", "Date", "the day (UTC) of the file that made the message public"),
        Column("publisher", NAME, "the repository: DTCC, ICE or CME"),
        Column("regime", NAME, "whose rules it is reported under: CFTC or SEC"),
        Column("message_id", "String", "the publisher's number of the message"),
        Column("asset_class", NAME, "CR credit, EQ equity"),
        Column("instrument", NAME, "what is traded: the product's short name (FISN), before 2024 the product"),
        Column("action", NAME, "NEW, MODIFY, CORRECT, TERMINATE, ERROR, REVIVE or OTHER"),
        Column("event_time", "Nullable(DateTime64(6, 'UTC'))", "when it happened"),
        Column("expiration_date", "Nullable(Date)", "last day of the swap"),
        Column("notional", AMOUNT, "notional as printed, of the whole basket where there are several", unit="currency"),
        Column("currency", NAME, "currency of the notional"),
        Column("capped", "Bool", "the true notional is larger: the rules allow a cap"),
    ),
    key=("publisher", "regime", "message_id", "rule", "code", "printed"),
    order=("code", "rule", "report_date", "publisher", "regime", "message_id"),
    partition="toYear(report_date)",
    time="report_date",
    pointer=(),
    rhythm=Rhythm("with each file of swaps", stale_days=5, rows=(0, 20_000_000)),
    licence=swaps.licence,
    notes=(
        "A message that names a basket of ten securities has ten rows: never add up notionals over codes.",
        "A match by name or by ticker is not certain. Each match says which rule found it.",
    ),
)

_ENTRY = f"""
multiIf({ISIN}, ('ISIN', if({HAS_CUSIP}, substring(id, 3, 9), id), id), {CUSIP}, ('CUSIP', id, id),
    match(id, '{TICKER}'), ('ticker', upper(replaceRegexpOne(id, '{TICKER}', '\\\\1\\\\2\\\\3\\\\4')), id), ('', '', id))
"""
_SELECT = f"""
SELECT toString(report_date) AS slice, entry.2 AS code, entry.1 AS rule, entry.3 AS printed,
    toUInt16(least(length(underlier_ids), 65535)) AS members, report_date, publisher, regime, message_id, asset_class,
    {INSTRUMENT} AS instrument, action, event_time, expiration_date, {NOTIONAL} AS notional, {CURRENCY} AS currency,
    {CAPPED} AS capped
FROM {{swaps}}
ARRAY JOIN arrayFilter(entry -> entry.2 != '', arrayDistinct(arrayConcat(
    arrayMap(id -> {_ENTRY}, arrayMap(id -> toString(id), underlier_ids)),
    [('name', {normal_name("underlier_name")}, toString(underlier_name))]))) AS entry
WHERE report_date IN (SELECT toDate(arrayJoin({{{{slices:Array(String)}}}}))) AND asset_class IN ('EQ', 'CR')
"""

derivation = Derivation(
    name="swap_underliers",
    inputs=(swaps,),
    dataset=swap_underliers,
    version="1",
    slices="SELECT toString(report_date) AS slice FROM {swaps} WHERE asset_class IN ('EQ', 'CR')",
    select=_SELECT,
    origins=(
        RowsOf(
            swaps, "publisher = {publisher:String} AND regime = {regime:String} AND message_id = {message_id:String}"
        ),
    ),
    at_once=60,
)
