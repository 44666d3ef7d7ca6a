"""FINRA's threshold list of securities that are traded over the counter, by its API, since 2016-01-04.

- The API is asked for one day at a time, as quoted text with commas: then each security has a line of its own to point to. It
  answers at most 5,000 lines. A day has some hundreds; a document of 5,000 is cut off and refused.
- FINRA lists under two rules. `thresholdListFlag` is R for Regulation SHO and NR for its Rule 4320, which is for issuers
  that do not report. Before 2019 it is the only flag that is filled.
- It writes no time. An answer without a line is "empty or absent".
- It may be read without an account, by two public authors' word.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from datetime import date

from spotlightd import Batch, Body, FormatError, OutsideRows, Pages, Reject, Rows, threshold, threshold_lists
from spotlightd.sources.threshold import lists
from spotlightd.sources.threshold.lists import ListDocument, Security

FIRST = date(2016, 1, 4)
MARKET = "FINRA OTC"
MOST_LINES = 5_000
FIELDS = (
    "tradeDate", "issueSymbolIdentifier", "issueName", "marketClassCode", "thresholdListFlag", "regShoThresholdFlag",
    "rule4320Flag",
)  # fmt: skip
DROPPED = ("marketCategoryDescription",)


def make_address(day: date) -> str:
    return f"https://api.finra.org/data/group/otcMarket/name/thresholdList#{day}"


def make_post(day: date) -> str:
    of_day = {"compareType": "EQUAL", "fieldName": "tradeDate", "fieldValue": str(day)}
    query = {"limit": MOST_LINES, "compareFilters": [of_day], "sortFields": ["issueSymbolIdentifier"]}
    return json.dumps(query)


async def authorize(_: Pages) -> Mapping[str, str]:
    """No token: only the wish for lines instead of JSON."""
    return {"Accept": "text/plain"}


def parse(body: Body) -> Iterator[Rows | Reject]:
    day, number = lists.read_day(body.name), 1
    names, *lines = body.path.read_text(encoding="utf-8", errors="replace").splitlines() or [""]
    header = _read_header(names)
    securities = []
    for number, text in enumerate(lines, 2):
        fields = _read_line(text)
        if len(fields) != len(header):
            yield Reject(0, number, text, f"{len(fields)} fields where the header has {len(header)}")
        else:
            securities.append(_read_security(number, text, dict(zip(header, fields, strict=True)), day))
    if len(lines) >= MOST_LINES:
        raise FormatError(f"the list has {len(lines):,} lines, the most that the API sends: it is cut off")
    yield from lists.make_rows(ListDocument(day, None, number, "empty_or_absent"), securities, (MARKET,))


def _read_header(text: str) -> list[str]:
    names = _read_line(text)
    unknown = [name for name in names if name not in (*FIELDS, *DROPPED)]
    missing = [name for name in FIELDS if names.count(name) != 1]
    if unknown or missing:
        raise FormatError(f"the header is not the expected one; line 1 reads {text[:200]!r}", line=1)
    return names


def _read_line(text: str) -> list[str]:
    return next(csv.reader([text]), [])


def _read_security(line: int, text: str, fields: Mapping[str, str], day: date) -> Security:
    if fields["tradeDate"] != str(day):
        raise FormatError(f"line {line} is of {fields['tradeDate'][:20]!r}, not of {day}", line=line)
    flags = {
        "reg_sho_flag": fields["regShoThresholdFlag"],
        "rule_4320": fields["rule4320Flag"],
        "finra_list_flag": fields["thresholdListFlag"],
    }
    symbol, name, category = (fields[field] for field in ("issueSymbolIdentifier", "issueName", "marketClassCode"))
    return Security(line, text, MARKET, symbol, name, category, flags)


source = Batch(
    name="threshold_finra",
    title="Threshold list of FINRA, over the counter",
    home="https://www.finra.org/finra-data/browse-catalog/otc-threshold",
    datasets=(threshold, threshold_lists),
    discover=lists.make_discover(FIRST, make_address, post=make_post),
    parse=parse,
    parser="1",
    hosts=("api.finra.org",),
    cron="40 13,17 * * *",
    expected=lists.expected,
    outside=OutsideRows.REFUSE,
    max_bytes=lists.MOST_BYTES,
    requests_per_second=1.0,
    authorize=authorize,
)
