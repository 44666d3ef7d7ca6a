"""CME: dated zips in folders that nothing lists. What is not there is answered with the site's page, and status 200."""

from __future__ import annotations

from datetime import date

from spotlightd.demo.publisher import DATA, Answer, Publisher, Request, Stage, html_answer, serve_files
from spotlightd.model.source import Period

HOST = "www.cmegroup.com"
FOLDER = f"{HOST}/ftp/sdr/"
FILE = DATA / "cme" / "RT.FX.20260715-constructed.csv.zip"


def answer(request: Request, stage: Stage) -> Answer | None:
    if not request.path.startswith(FOLDER):
        return None
    return serve_files(request, stage) or html_answer("<!doctype html><title>CME Group</title><p>Page not found</p>")


PUBLISHER = Publisher(
    hosts=(HOST,),
    sources=("cme_cftc",),
    stages=(Stage("a day", {f"{FOLDER}fx/2026/07/RT.FX.20260715.csv.zip": FILE}),),
    answer=answer,
    days={"cme_cftc": Period(date(2026, 7, 13), date(2026, 7, 15))},
)
