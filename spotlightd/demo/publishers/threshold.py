"""The publishers of threshold lists: Nasdaq, NYSE, Cboe and FINRA, on nine settlement days of July 2026.

Nasdaq's list of 2026-07-27 is the real one. All others are constructed: Nasdaq's from the securities of that list, the rest from
`lists-constructed.json`, in which each security has the numbers of its first and last day. Each publisher answers in its
manner for a day without a list: Nasdaq with a page and 404, NYSE with an empty list and a time of its own invention, Cboe, whose
list is posted the next morning, with 403.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import date, timedelta

from spotlightd.demo.publisher import DATA, Answer, Publisher, Request, Stage, html_answer, serve_files
from spotlightd.model.source import Period

NASDAQ, NYSE, CBOE, FINRA = "www.nasdaqtrader.com", "www.nyse.com", "cdn.cboe.com", "api.finra.org"
DAYS = tuple(date(2026, 7, day) for day in (15, 16, 17, 20, 21, 22, 23, 24, 27))
ABSENT_AT_NASDAQ, ABSENT_AT_NYSE, NOT_YET_AT_CBOE = date(2026, 7, 22), date(2026, 7, 23), date(2026, 7, 27)
REAL = DATA / "threshold" / "nasdaqth20260727.txt"
REAL_TARGET = f"{NASDAQ}/dynamic/symdir/regsho/nasdaqth20260727.txt"
CONSTRUCTED = json.loads((DATA / "threshold" / "lists-constructed.json").read_text(encoding="utf-8"))
TEXT_HEADER = "Symbol|Security Name|Market Category|Reg SHO Threshold Flag|Filler|Filler"
FINRA_HEADER = (
    "tradeDate,issueSymbolIdentifier,issueName,marketClassCode,thresholdListFlag,regShoThresholdFlag,rule4320Flag"
)
PATHS = {
    NASDAQ: "/regsho/nasdaqth",
    NYSE: "/threshold-securities/",
    CBOE: "/reg-sho-threshold/",
    FINRA: "/thresholdList",
}
DAY = re.compile(r"(20\d\d)-?(\d\d)-?(\d\d)")


def answer(request: Request, stage: Stage) -> Answer | None:
    if PATHS[request.host] not in request.path:
        return None
    if found := serve_files(request, stage):
        return found
    text = request.body.decode(errors="replace") if request.host == FINRA else request.target
    match = DAY.search(text)
    day = date(*map(int, match.groups())) if match else None
    if day not in DAYS:
        return None
    lists = {NASDAQ: _list_nasdaq, NYSE: _list_nyse, CBOE: _list_cboe, FINRA: _list_finra}
    return lists[request.host](day)


def _list_nasdaq(day: date) -> Answer:
    """The securities of the real list, each from a day of its own on."""
    if day == ABSENT_AT_NASDAQ:
        return html_answer("<html><title>Nasdaq Trader</title><p>The page cannot be found.</p></html>", 404)
    header, *lines = REAL.read_text(encoding="utf-8").splitlines()[:-1]
    number = DAYS.index(day)
    return _text(day, [header, *(line for index, line in enumerate(lines) if index * 5 % 11 <= number)], "230004")


def _list_nyse(day: date) -> Answer:
    if day == ABSENT_AT_NYSE:
        return _text(day, [TEXT_HEADER], "210500")
    return _text(day, [TEXT_HEADER, *_list_lines("nyse", day)], "220214")


def _list_cboe(day: date) -> Answer:
    if day == NOT_YET_AT_CBOE:
        return html_answer("<html><title>403 Forbidden</title></html>", 403)
    return _text(day + timedelta(days=1), [TEXT_HEADER, *_list_lines("cboe", day)], "030204")


def _list_finra(day: date) -> Answer:
    lines = [
        f'{day},{symbol},"{name}",u,{flag},{"Y" if flag == "R" else "N"},{"N" if flag == "R" else "Y"}'
        for symbol, name, flag, first, last in CONSTRUCTED["finra"]
        if _is_listed(day, first, last)
    ]
    return Answer("\n".join([FINRA_HEADER, *lines, ""]).encode(), "text/plain")


def _list_lines(publisher: str, day: date) -> list[str]:
    return [
        f"{symbol}|{name}|{category}|Y||"
        for symbol, name, category, first, last in CONSTRUCTED[publisher]
        if _is_listed(day, first, last)
    ]


def _is_listed(day: date, first: int, last: int) -> bool:
    return first <= DAYS.index(day) + 1 <= last


def _text(made_on: date, lines: Sequence[str], time: str) -> Answer:
    return Answer("\r\n".join([*lines, f"{made_on:%Y%m%d}{time}", ""]).encode(), "text/plain")


PUBLISHER = Publisher(
    hosts=(NASDAQ, NYSE, CBOE, FINRA),
    sources=("threshold_nasdaq", "threshold_nyse", "threshold_cboe", "threshold_finra"),
    stages=(Stage("nine days of July 2026", {REAL_TARGET: REAL}),),
    answer=answer,
    days=dict.fromkeys(
        ("threshold_nasdaq", "threshold_nyse", "threshold_cboe", "threshold_finra"), Period(DAYS[0], DAYS[-1])
    ),
)
