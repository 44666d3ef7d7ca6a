"""Builds the demo's constructed equity swaps under the rules of the SEC, in DTCC's layout. It gives the same files each time.

No whole public file of such swaps was found, so these trades never were. Every row says so: its product code is QZCONSTRUCT1
or QZCONSTRUCT2, and the name of its underlier begins with CONSTRUCTED. The identifiers of the underliers are real, so that
the explorer has something to match with its securities.

`python -m spotlightd.demo.construct_swaps` writes into spotlightd/demo/data/dtcc; a test compares. The last day comes as
slices and as the file of the whole day, which supersedes them.
"""

from __future__ import annotations

import csv
import io
import itertools
import random
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path

from spotlightd.demo.publisher import DATA
from spotlightd.files import open_scratch

FOLDER = DATA / "dtcc"
LAYOUT = FOLDER / "CFTC_CUMULATIVE_CREDITS_2026_07_15.zip"
DAYS = (date(2026, 7, 13), date(2026, 7, 14), date(2026, 7, 15))
NEW_TRADES, SLICES = 40, 3
FIRST_MESSAGE, MESSAGE_STEP = 9_000_000_000_000_000_101, 100
STOCKS = {
    "US36467W1099": ("GAMESTOP", 24.0),
    "US00165C3025": ("AMC ENTERTAINMENT", 3.1),
    "US88160R1014": ("TESLA", 310.0),
    "US0378331005": ("APPLE", 211.0),
    "US67066G1040": ("NVIDIA", 164.0),
    "US5949181045": ("MICROSOFT", 503.0),
}
EVENTS = {"NEWT": "TRAD", "MODI": "TRAD", "CORR": "", "TERM": "ETRM", "EROR": ""}
LATER_ACTIONS = ("MODI", "MODI", "MODI", "CORR", "TERM", "TERM", "EROR")
CHANGED_SHARE = 0.4
BASKET_SHARE = 0.15

Row = dict[str, str]


@dataclass(frozen=True, slots=True)
class Trade:
    """A constructed trade as its newest message, number `message`, leaves it."""

    message: int
    executed: datetime
    isins: tuple[str, ...]
    shares: int
    price: float
    expires: date


def construct_days() -> dict[date, list[Row]]:
    """The messages of each day: what becomes of the trades that are there, and new ones."""
    chance = random.Random("constructed swaps")  # noqa: S311  (no secret)
    numbers = itertools.count(FIRST_MESSAGE, MESSAGE_STEP)
    trades: list[Trade] = []
    days = {}
    for day in DAYS:
        changed = [trade for trade in trades if chance.random() < CHANGED_SHARE]
        created = [_make_trade(chance, next(numbers), _moment(chance, day)) for _ in range(NEW_TRADES)]
        rows = [_format(trade, "NEWT", trade.executed) for trade in created]
        trades = [trade for trade in trades if trade not in changed] + created
        for trade in changed:
            action, after = chance.choice(LATER_ACTIONS), _change(chance, trade, next(numbers))
            rows.append(_format(after, action, _moment(chance, day), trade.message))
            trades += [after] if action in ("MODI", "CORR") else []
        days[day] = sorted(rows, key=lambda row: row["Event timestamp"])
    return days


def _moment(chance: random.Random, day: date) -> datetime:
    return datetime.combine(day, datetime.min.time()) + timedelta(seconds=chance.randrange(12 * 3600, 21 * 3600))


def _make_trade(chance: random.Random, number: int, executed: datetime) -> Trade:
    isins = tuple(chance.sample(sorted(STOCKS), 3 if chance.random() < BASKET_SHARE else 1))
    price = sum(STOCKS[isin][1] for isin in isins) * chance.uniform(0.97, 1.03)
    expires = executed.date() + timedelta(days=chance.choice((92, 184, 365, 731)))
    return Trade(number, executed, isins, chance.randrange(2, 400) * 500, round(price, 4), expires)


def _change(chance: random.Random, trade: Trade, number: int) -> Trade:
    """The trade with another price, and one time in three with other shares."""
    shares = round(trade.shares * chance.choice((0.5, 1.5)) if chance.random() < 1 / 3 else trade.shares)
    return replace(trade, message=number, price=round(trade.price * chance.uniform(0.98, 1.02), 4), shares=shares)


def _format(trade: Trade, action: str, event: datetime, original: int | None = None) -> Row:
    """The message as DTCC prints it, without the empty columns."""
    upi, fisn = ("QZCONSTRUCT1", "NA/Swaps SglStk Tot Rtn")
    if len(trade.isins) > 1:
        upi, fisn = ("QZCONSTRUCT2", "NA/Swaps Bskt Tot Rtn")
    notional = f"{round(trade.shares * trade.price, -2):,.0f}"
    return {
        "Dissemination Identifier": str(trade.message),
        "Original Dissemination Identifier": str(original or ""),
        "Action type": action,
        "Event type": EVENTS[action],
        "Event timestamp": f"{event:%Y-%m-%dT%H:%M:%SZ}",
        "Amendment indicator": "TRUE" if action == "MODI" else "FALSE",
        "Asset Class": "EQ",
        "Cleared": "N",
        "Execution Timestamp": f"{trade.executed:%Y-%m-%dT%H:%M:%SZ}",
        "Effective Date": f"{trade.executed:%Y-%m-%d}",
        "Expiration Date": f"{trade.expires:%Y-%m-%d}",
        "Platform identifier": "XOFF",
        "Notional amount-Leg 1": notional,
        "Notional amount-Leg 2": notional,
        "Notional currency-Leg 1": "USD",
        "Notional currency-Leg 2": "USD",
        "Total notional quantity-Leg 1": f"{trade.shares:,}",
        "Quantity unit of measure-Leg 1": "SHAS",
        "Price": str(trade.price),
        "Price currency": "USD",
        "Price notation": "1",
        "Settlement currency-Leg 1": "USD",
        "Custom basket indicator": "true" if len(trade.isins) > 1 else "false",
        "Underlier ID-Leg 1": ";".join(trade.isins),
        "Underlier ID source-Leg 1": ";".join("ISIN" for _ in trade.isins),
        "Underlying Asset Name": "CONSTRUCTED " + (STOCKS[trade.isins[0]][0] if len(trade.isins) == 1 else "BASKET"),
        "Package indicator": "FALSE",
        "Unique Product Identifier": upi,
        "UPI FISN": fisn,
    }


def read_header() -> list[str]:
    """The 110 columns, as a real file of the layout prints them."""
    with zipfile.ZipFile(LAYOUT) as opened:
        first = opened.read(opened.namelist()[0]).decode().splitlines()[0]
    return next(csv.reader([first]))


def construct(out: Path) -> Iterator[Path]:
    """Write all files. Yields their paths."""
    for day, rows in construct_days().items():
        yield _write(out, f"SEC_CUMULATIVE_EQUITIES_{day:%Y_%m_%d}", rows, day)
    share = len(rows) // SLICES
    for number in range(1, SLICES + 1):
        part = rows[share * (number - 1) : share * number]
        yield _write(out, f"SEC_SLICE_EQUITIES_{day:%Y_%m_%d}_{number}", part, day, end="\n")


def _write(out: Path, stem: str, rows: Sequence[Row], day: date, end: str = "") -> Path:
    """A zip with one member; the same library writes the same bytes each time. Slices end with an empty line."""
    text = io.StringIO()
    writer = csv.DictWriter(text, read_header(), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    info = zipfile.ZipInfo(f"{stem}.csv", (day.year, day.month, day.day, 20, 15, 0))
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o600 << 16
    archive = out / f"{stem}-constructed.zip"
    with open_scratch(archive) as file, zipfile.ZipFile(file, "w") as opened:
        opened.writestr(info, (text.getvalue() + end).encode(), compresslevel=9)
    return archive


if __name__ == "__main__":
    list(construct(FOLDER))
