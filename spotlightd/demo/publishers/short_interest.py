"""What stands around short selling: volumes at FINRA and NYSE, circuit breakers and halts at Nasdaq and NYSE.

FINRA's bucket answers 403 to a file that it has not, NYSE 404, Nasdaq a page of its site with 200. Nasdaq's feed of a day
without halts is empty.
"""

from __future__ import annotations

from datetime import date

from spotlightd.demo.publisher import DATA, Answer, Publisher, Request, Stage, html_answer, serve_files
from spotlightd.model.source import Period

FINRA, NYSE_FILES, NASDAQ, NYSE = "cdn.finra.org", "ftp.nyse.com", "www.nasdaqtrader.com", "www.nyse.com"
FOLDER = DATA / "short_interest"
HALTS = f"{NASDAQ}/rss.aspx"
LISTS = f"{NASDAQ}/dynamic/symdir/shorthalts/"
FILES = {
    f"{FINRA}/equity/regsho/daily/CNMSshvol20260515.txt": FOLDER / "CNMSshvol20260515-real-rows-cut.txt",
    f"{FINRA}/equity/regsho/daily/FNRAshvol20260515.txt": FOLDER / "FNRAshvol20260515.txt",
    f"{NYSE_FILES}/ShortData/NYSEshvol/NYSEshvol2021/NYSEshvol202101/NYSEshvol20210104.txt": FOLDER
    / "NYSEshvol20210104-real-rows-cut.txt",
    f"{LISTS}shorthalts20260724.txt": FOLDER / "shorthalts20260724-constructed.txt",
    f"{HALTS}?feed=tradehalts&haltdate=07242026": FOLDER / "tradehalts_20260724-constructed.xml",
    f"{NYSE}/api/trade-halts/historical/download?haltDateFrom=2026-07-01&haltDateTo=2026-07-31&symbol=": FOLDER
    / "nyse_halts_2026-07-real-rows-cut.csv",
}
NO_HALTS = (
    b'<?xml version="1.0" encoding="utf-8"?>\n<rss version="2.0" xmlns:ndaq="http://www.nasdaqtrader.com/"><channel>'
    b"<ndaq:numItems>0</ndaq:numItems></channel></rss>\n"
)


def answer(request: Request, stage: Stage) -> Answer | None:
    return serve_files(request, stage) or _answer_without_file(request)


def _answer_without_file(request: Request) -> Answer | None:
    if request.host == FINRA:
        return Answer(b"<Error><Code>AccessDenied</Code></Error>", "application/xml", 403)
    if request.path == HALTS:
        return Answer(NO_HALTS, "text/xml")
    if request.path.startswith(LISTS):
        return html_answer(
            "<!DOCTYPE html><title>Nasdaq Trader</title><p>The page that you are looking for is not here."
        )
    return None


PUBLISHER = Publisher(
    hosts=(FINRA, NYSE_FILES, NASDAQ, NYSE),
    sources=(
        "finra_short_volume", "nyse_short_volume", "nasdaq_short_halts", "nasdaq_trading_halts", "nyse_trading_halts",
    ),
    stages=(Stage("some days of 2021 and 2026", FILES),),
    answer=answer,
    days={
        "finra_short_volume": Period(date(2026, 5, 15), date(2026, 5, 15)),
        "nyse_short_volume": Period(date(2021, 1, 4), date(2021, 1, 5)),
        "nasdaq_short_halts": Period(date(2026, 7, 23), date(2026, 7, 24)),
        "nasdaq_trading_halts": Period(date(2026, 7, 23), date(2026, 7, 24)),
        "nyse_trading_halts": Period(date(2026, 7, 1), date(2026, 7, 31)),
    },
)  # fmt: skip
