"""The dataset `swap_trades`: the life of each swap trade, put together from its messages.

A message about a known trade names an earlier one in `original_id`: mostly the first, sometimes the one before. Followed to
their end, these pointers lead to one identifier, the trade's root. The trade is known by it, whether its message is here
(yet) or not: publishers have about two years of files, and a life may be longer.

Which message says what (CFTC Technical Specification for parts 43 and 45, version 3.2, "Action type"; the SEC's repositories
use the same words):

- Messages are in the order of `event_time`, then of their identifiers as numbers. One without an event time counts when it
  was disseminated, else at the start of its file's day: messages until 2020 have no event time.
- NEW, MODIFY and REVIVE make the trade live ("reinstates a swap transaction that was reported as error or terminated by
  mistake"), TERMINATE ends it. The last of them counts.
- ERROR withdraws the whole trade, whichever of its messages it names: it is "cancellation of a wrongly submitted entire
  transaction". So EROR of a modification does not bring back what was before it; REVI would.
- But CANCEL, the ERROR of files until 2022, withdraws only the message that it names, as 17 CFR 43.3 had repositories cancel
  what they had disseminated. The terms before that message are in force again; a trade without any other is withdrawn.
- CORRECT "corrects erroneous data of a previously submitted transaction": it changes terms and not the state, so a corrected
  end stays an end. OTHER (transfers, valuations) changes no state either.
- The terms in force are those of the last message that is not cancelled. The first terms are those of the first message that
  is here: where the root is not, they are not those that the trade began with.
- Most swaps end on their last day without a message. Such a trade stays `live`: compare `expiration_date`.

Pointers that lead in a circle have no end: the trade is then known by the least identifier of the circle, and `is_cyclic`. A
message that points to itself is the first of its own trade. Chains are followed to any length: each message keeps the root
that its pointer leads to, so that the next one takes one step. `depth` tells how long the longest chain of the trade is.
"""

from __future__ import annotations

from spotlightd.datasets.swap_days import CAPPED, CURRENCY, NOTIONAL
from spotlightd.datasets.swaps import AMOUNT, CHOICE, INSTRUMENT, NAME, RATE, UNDERLIER, swaps
from spotlightd.model.dataset import Column, Dataset, Rhythm
from spotlightd.model.derivation import RowsOf
from spotlightd.model.derived.chains import CHANGE, Chains, read_changes
from spotlightd.sql.visibility import published_condition

DAY, INSTANT = "Nullable(Date)", "DateTime64(6, 'UTC')"
RATE_PAID = "coalesce(fixed_rate_1, fixed_rate_2)"
SPREAD = "coalesce(nullIf(spread_1, 0), nullIf(spread_2, 0), spread_1, spread_2)"
"""Of two legs with a spread, mostly one has a spread of 0."""

FIRST = {
    "first_event_type": "event_type",
    "first_notional": NOTIONAL,
    "first_price": "price",
    "first_fixed_rate": RATE_PAID,
    "first_spread": SPREAD,
    "first_effective_date": "effective_date",
    "first_expiration_date": "expiration_date",
}
NOW = {
    "asset_class": "asset_class",
    "instrument": INSTRUMENT,
    "upi": "upi",
    "underlier": UNDERLIER,
    "upi_underlier": "upi_underlier",
    "underlier_name": "underlier_name",
    "currency": CURRENCY,
    "notional": NOTIONAL,
    "notional_capped": CAPPED,
    "price": "price",
    "price_notation": "price_notation",
    "fixed_rate": RATE_PAID,
    "spread": SPREAD,
    "spread_notation": "if(isNull(nullIf(spread_1, 0)) AND isNotNull(spread_2), spread_notation_2, spread_notation_1)",
    "effective_date": "effective_date",
    "expiration_date": "expiration_date",
    "upfront": "if(countEqual(payment_types, 'UFRO') = 1 AND length(payment_types) = length(payment_amounts), "
    "payment_amounts[indexOf(payment_types, 'UFRO')], NULL)",
    "other_payments": "toUInt64(length(payment_amounts))",
    "index_factor": "index_factor",
    "cleared": "cleared",
    "venue": "venue",
    "block": "block",
    "package": "package",
    "package_price": "package_price",
    "package_spread": "package_spread",
    "non_standard": "non_standard",
    "flags": "flags",
}
COLUMNS = (
    Column("publisher", NAME, "the repository: DTCC, ICE or CME"),
    Column("regime", NAME, "whose rules it is reported under: CFTC or SEC"),
    Column("root_id", "String", "the identifier that all messages of the trade lead to: that of its first message"),
    Column("state", NAME, "live, ended or withdrawn; root unknown where the first message is not here"),
    Column("last_state", NAME, "live, ended or withdrawn by the messages that are here, also where the first is not"),
    Column("asset_class", NAME, "CR credit, IR interest rates, EQ equity, FX foreign exchange, CO commodities"),
    Column("instrument", NAME, "what is traded: the product's short name (FISN), before 2024 the product"),
    Column("upi", NAME, "unique product identifier (ISO 4914), since 2024"),
    Column("underlier", "String", "what it depends on: identifier, index or name; `basket` for several"),
    Column("upi_underlier", NAME, "the underlier in the register of products; one index has several spellings"),
    Column("underlier_name", NAME, "name of the underlier as printed"),
    Column("currency", NAME, "currency of the notional"),
    Column("notional", AMOUNT, "notional in force; the second leg's where the first has none", unit="currency"),
    Column("notional_capped", "Bool", "the true notional is larger: the rules allow a cap"),
    Column("price", RATE, "price in force", unit="price_notation"),
    Column("price_notation", NAME, "what the price is: 1 money, 2 percent, 3 decimal, 4 basis points"),
    Column("fixed_rate", RATE, "fixed rate in force, of the leg that has one"),
    Column("spread", RATE, "spread in force, of the leg that has one", unit="spread_notation"),
    Column("spread_notation", NAME, "what the spread is: 1 money, 2 percent, 3 decimal, 4 basis points"),
    Column("effective_date", DAY, "first day of the swap"),
    Column("expiration_date", DAY, "last day of the swap; most end on it without a message"),
    Column("upfront", AMOUNT, "the upfront payment of the message in force, if there is exactly one"),
    Column("other_payments", "UInt64", "how many other payments the message in force has, upfront or not", unit="payments"),
    Column("index_factor", RATE, "share of an index that is still there after defaults"),
    Column("cleared", NAME, "Y cleared, N not cleared, I to be cleared"),
    Column("venue", NAME, "market code of the platform; XXXX, XOFF, BILT and OFF are off-facility"),
    Column("block", CHOICE, "reported as a block trade"),
    Column("package", CHOICE, "one of several trades that were priced together"),
    Column("package_price", RATE, "price of the whole package, the same in each of its trades"),
    Column("package_spread", RATE, "spread of the whole package, the same in each of its trades"),
    Column("non_standard", CHOICE, "has terms that the message does not show and that affect the price"),
    Column("flags", f"Array({NAME})", "rules that the message in force breaks"),
    Column("first_event_type", NAME, "what the first message that is here reports, in the publisher's word: TRAD, NOVA, EXER"),
    Column("first_notional", AMOUNT, "notional of the first message that is here", unit="currency"),
    Column("first_price", RATE, "price of the first message that is here", unit="price_notation"),
    Column("first_fixed_rate", RATE, "fixed rate of the first message that is here"),
    Column("first_spread", RATE, "spread of the first message that is here", unit="spread_notation"),
    Column("first_effective_date", DAY, "first day of the swap by the first message that is here"),
    Column("first_expiration_date", DAY, "last day of the swap by the first message that is here"),
    Column("messages", "UInt64", "messages about the trade", unit="messages"),
    Column("changes", "UInt64", "messages that changed or corrected it", unit="messages"),
    Column("execution_time", "Nullable(DateTime64(6, 'UTC'))", "when it was made, by the earliest message that says so"),
    Column("first_event_at", INSTANT, "time of the first message that is here"),
    Column("last_event_at", INSTANT, "time of the last message"),
    Column("last_action", NAME, "what the last message does"),
    Column("first_message", "String", "identifier of the first message that is here"),
    Column("last_message", "String", "identifier of the last message"),
    Column("message_in_force", "String", "identifier of the message that the terms in force are from"),
    Column("depth", "UInt32", "the most pointers from a message to the root"),
    Column("is_cyclic", "Bool", "pointers lead in a circle, so that no message is the first"),
)  # fmt: skip
HIDDEN = (
    CHANGE,
    Column("in_force_at", INSTANT, "time of the message in force"),
    Column("in_force", "Bool", "whether any message is not cancelled"),
    Column("state_at", INSTANT, "time of the last message that sets the state"),
    Column("state_message", "String", "identifier of that message"),
    Column("state_action", NAME, "what that message does"),
    Column("has_root", "Bool", "whether the message with the root's identifier is here"),
    Column("has_cancel", "Bool", "whether a message cancels another"),
)
"""What is needed to add a later message to a row without reading the earlier ones. Readers do not see it."""

swap_trades = Dataset(
    name="swap_trades",
    title="Swap trades",
    publisher=swaps.publisher,
    about="The life of each swap trade: its first terms and those in force, how often it was changed, and whether it is live.",
    columns=COLUMNS,
    key=("publisher", "regime", "root_id"),
    order=("publisher", "regime", "root_id"),
    time="last_event_at",
    pointer=HIDDEN,
    rhythm=Rhythm("with each file of swaps", stale_days=5, rows=(0, 1 << 62)),
    licence=swaps.licence,
    notes=(
        "Put together from the messages that are here. Where the first is not, the state is `root unknown`.",
        "A live trade may have ended on its last day: most swaps do so without a message.",
        "Notional is the size that payments are computed from. It is neither money that changed hands nor a risk.",
        "A capped notional is smaller than the true one, so sums are too small.",
        "A trade may be reported to two repositories or under both regimes, and is then two rows.",
    ),
    reading=read_changes("swap_trades", COLUMNS),
)

LINK_COLUMNS = (
    Column("publisher", NAME, "the repository"),
    Column("regime", NAME, "whose rules it is reported under"),
    Column("message_id", "String", "identifier of a message that points to an earlier one"),
    Column("root_id", "String", "the trade that it belongs to"),
    Column("original_id", "String", "the message that it points to"),
    Column("event_at", INSTANT, "when it counts: the time of its event, else of its dissemination or file"),
    Column("depth", "UInt32", "pointers from it to the root"),
    Column("is_cyclic", "Bool", "its pointers lead in a circle"),
)


def _links(name: str, title: str, about: str, order: tuple[str, ...]) -> Dataset:
    return Dataset(
        name=name, title=title, publisher=swaps.publisher, about=about, columns=LINK_COLUMNS,
        key=("publisher", "regime", "message_id"), order=order, time="event_at", pointer=(CHANGE,),
        rhythm=Rhythm("with each file of swaps", stale_days=5, rows=(0, 1 << 62)), licence=swaps.licence,
        reading=read_changes(name, LINK_COLUMNS),
    )  # fmt: skip


swap_roots = _links(
    "swap_roots", "Trades of swap messages", "Which trade a message belongs to, for messages that point to an earlier one.",
    ("publisher", "regime", "message_id"),
)  # fmt: skip
swap_steps = _links(
    "swap_steps", "Messages of swap trades", "The messages of a trade, without the first: the same rows by trade.",
    ("publisher", "regime", "root_id", "message_id"),
)  # fmt: skip

lives = Chains(
    name="swap_trades",
    inputs=(swaps,),
    dataset=swap_trades,
    version="1",
    scope=("publisher", "regime"),
    at="coalesce(event_time, dissemination_time, toDateTime64(report_date, 6, 'UTC'))",
    first=FIRST,
    now=NOW,
    roots=swap_roots,
    steps=swap_steps,
    origins=(
        RowsOf(
            swaps,
            "publisher = {publisher:String} AND regime = {regime:String} AND (message_id = {root_id:String} OR message_id IN"
            " (SELECT message_id FROM swap_steps WHERE publisher = {publisher:String} AND regime = {regime:String}"
            f" AND root_id = {{root_id:String}} AND {published_condition(swap_steps)} GROUP BY message_id"
            " HAVING sum(change) > 0))",
        ),
    ),
)
