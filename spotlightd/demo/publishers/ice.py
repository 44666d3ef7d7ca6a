"""ICE Trade Vault: a token by POST without a login, and with it the export of a day. A day without trades is a header alone.

Without a token, or with a wrong one, the answer is 401.
"""

from __future__ import annotations

import re
from datetime import date

from spotlightd.demo.publisher import DATA, Answer, Publisher, Request, Stage, json_answer, serve_files
from spotlightd.model.source import Period

HOST = "tradevault.ice.com"
SERVICE = f"{HOST}/tvsec/ticker/webpi"
TOKEN = "token-of-the-demo"  # noqa: S105  (nothing checks it but this file)
DAY = re.compile(r"/exportTicks\?date=\d{4}-\d\d-\d\d$")
FILE = DATA / "ice" / "2026-07-15-constructed.csv"


def answer(request: Request, stage: Stage) -> Answer | None:
    if request.target == f"{SERVICE}/getToken" and request.method == "POST":
        return json_answer({"token": TOKEN})
    if not DAY.search(request.target):
        return None
    if request.headers.get("authorization") != f"Bearer {TOKEN}":
        return json_answer({"error": "the token is missing or has expired"}, 401)
    return serve_files(request, stage) or Answer(_read_header(), "text/csv")


def _read_header() -> bytes:
    return FILE.read_bytes().splitlines(keepends=True)[0]


PUBLISHER = Publisher(
    hosts=(HOST,),
    sources=("ice_sec_credits",),
    stages=(Stage("a day", {f"{SERVICE}/exportTicks?date=2026-07-15": FILE}),),
    answer=answer,
    days={"ice_sec_credits": Period(date(2026, 7, 13), date(2026, 7, 15))},
)
