"""The lists of threshold securities under Regulation SHO: what is on them, which lists there are, and what the OCC repeats.

Each exchange lists its own securities only, so a market's missing list says nothing about the securities of another one.
`threshold_lists` has a row also for an empty list. So it is known on which days a security was not listed, and on which nobody
knows.

Rows are sorted by day, because the pages show a day: in the order of symbols its 400 securities are in each block of the table.
The symbols of 15 years are a column of a few megabytes, which is read for one of them.
"""

from __future__ import annotations

from spotlightd.model.dataset import Column, Dataset, Rhythm

MARKETS = {
    "threshold_nasdaq": ("Nasdaq",),
    "threshold_nyse": ("NYSE", "NYSE American", "NYSE Arca"),
    "threshold_cboe": ("Cboe BZX",),
    "threshold_finra": ("FINRA OTC",),
    "threshold_finra_text": ("FINRA OTC",),
    "threshold_chx": ("CHX",),
    "threshold_amex": ("Amex",),
}
"""Source → the markets whose lists it collects, in the order of the pages."""

ENDED = ("CHX", "Amex")
"""Markets whose lists have ended, and are not collected."""

OCC = "OCC"
"""The market of the OCC's list in `threshold_lists`. It repeats the lists of all exchanges, so its securities are in
`threshold_occ` and are never counted with theirs."""

_LABEL = "LowCardinality(String)"
_FLAG = "Y, N, or empty where the list has no such field"
_TIME = "Nullable(DateTime64(6, 'UTC'))"
_PRINTED_AT = Column(
    "printed_at", _TIME, "when the publisher made the list, in its last line or its name; empty where it says nothing"
)
_LICENCE = "Terms of the exchanges and of FINRA: for your own use"
_MEANING = (
    "On the list means: at least 10,000 shares and at least 0.5 % of the shares outstanding failed to be delivered on five "
    "settlement days in a row. A security leaves after five days in a row below that."
)

threshold = Dataset(
    name="threshold",
    title="Threshold securities",
    publisher="Nasdaq, NYSE, Cboe and FINRA",
    about="The securities on the Regulation SHO threshold list of each market and settlement day.",
    columns=(
        Column("list_date", "Date", "the settlement day of the list; the rules apply from the next one on"),
        Column("market", _LABEL, "whose list it is"),
        Column("symbol", _LABEL, "ticker, with a point for every separator: BRK.B is printed as BRK B, BRK/B or BRK-B"),
        Column("symbol_printed", _LABEL, "ticker as printed"),
        Column("security_name", "String", "the security's name as printed, shortened by the publisher"),
        Column("market_category", _LABEL, "the publisher's own category, as printed; Nasdaq: Q, G or S; FINRA: U or u"),
        Column("rule", _LABEL, "why it is listed: Reg SHO, or Rule 4320 (3210 before 2014) for issuers that do not report"),
        Column("reg_sho_flag", _LABEL, _FLAG),
        Column("rule_3210", _LABEL, _FLAG),
        Column("rule_4320", _LABEL, _FLAG),
        Column("finra_list_flag", _LABEL, "FINRA's own: R for Reg SHO, NR for Rule 4320; empty on other lists"),
        _PRINTED_AT,
    ),
    key=("list_date", "market", "symbol"),
    order=("list_date", "market", "symbol"),
    partition="intDiv(toYear(list_date), 10)",
    time="list_date",
    symbol="symbol",
    rhythm=Rhythm("every settlement day, in the evening or the next morning", stale_days=6, rows=(0, 20_000)),
    licence=_LICENCE,
    notes=(
        _MEANING,
        "FINRA's list also has issuers that report to nobody, under its Rule 4320: their test is 10,000 shares and 50,000 USD.",
        "No row means not listed only if `threshold_days` has a list of that market and day. Otherwise nobody knows.",
        "It does not show who failed to deliver, or how much. Fails to deliver are in `sec_ftd`, weeks later.",
        "Before 2014-11-17 Nasdaq's list also had securities that are traded over the counter.",
    ),
)  # fmt: skip

threshold_lists = Dataset(
    name="threshold_lists",
    title="Threshold lists",
    publisher="Nasdaq, NYSE, Cboe, FINRA and the OCC",
    about="Every threshold list that was read, an empty one too: how many securities it has and when it was made.",
    columns=(
        Column("list_date", "Date", "the settlement day of the list"),
        Column("market", _LABEL, "whose list it is; OCC is the one that repeats all others"),
        Column(
            "status",
            _LABEL,
            "list, empty, or empty_or_absent: an answer that the publisher also gives when it has no list of that day",
        ),
        Column("securities", "UInt32", "lines of the list that were read", unit="securities"),
        Column("in_effect", "Date", "the first settlement day on which the rules apply to it"),
        Column("day_number", "UInt32", "number of the settlement day since 2005-01-03, which has 1: tells how far two lists are apart"),
        _PRINTED_AT,
    ),
    key=("list_date", "market"),
    order=("list_date", "market"),
    partition="intDiv(toYear(list_date), 10)",
    time="list_date",
    rhythm=Rhythm("every settlement day, in the evening or the next morning", stale_days=6, rows=(1, 10)),
    licence=_LICENCE,
    notes=(
        "A list that was amended replaces the one before, which stays readable with as_of.",
        "NYSE answers for a day without a list as for an empty one: no lines, and a time that ends 210500. It is empty_or_absent.",
        "A list of NYSE is for its three markets together; a market without a line in it has an empty list.",
    ),
)  # fmt: skip

threshold_occ = Dataset(
    name="threshold_occ",
    title="Threshold securities, as the OCC repeats them",
    publisher="The Options Clearing Corporation",
    about="The threshold lists of all exchanges in one, of the last weeks: a check of `threshold`, and no more than that.",
    columns=(
        Column("list_date", "Date", "the settlement day of the list"),
        Column("symbol", _LABEL, "ticker, with a point for every separator"),
        Column("symbol_printed", _LABEL, "ticker as printed"),
        Column("security_name", "String", "the security's name as printed"),
        Column("market_category", _LABEL, "the exchange's category or name, as printed"),
        Column("market", _LABEL, "the market that the category belongs to"),
        _PRINTED_AT,
    ),
    key=("list_date", "market", "symbol"),
    order=("list_date", "market", "symbol"),
    partition="intDiv(toYear(list_date), 10)",
    time="list_date",
    symbol="symbol",
    rhythm=Rhythm("every settlement day, in the evening", stale_days=6, rows=(0, 20_000)),
    licence="Terms of the OCC: for your own use",
    notes=(
        "These rows repeat those of `threshold`. Never add the two up.",
        "The OCC shows four to six weeks only. Older lists are here if this instance was running then.",
    ),
)


def published_loads(dataset: str, columns: str = "load_id", among: str = "") -> str:
    """A SELECT of the loads of the dataset that are visible at `{seq}`, for the template of a reading. `among` selects those
    that matter.
    """
    until = f"dataset = '{dataset}' AND seq <= {{seq}}"
    these = f" AND load_id IN ({among})" if among else ""
    return (
        f"SELECT {columns} FROM {{loads}} WHERE {until}{these}"
        f" AND load_id NOT IN (SELECT arrayJoin(supersedes) FROM {{loads}} WHERE {until} AND notEmpty(supersedes))"
    )
