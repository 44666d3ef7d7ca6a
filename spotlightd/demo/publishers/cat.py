"""The audit trail: a feed that names reports, and the reports. A day without a report is answered with a page and status 404."""

from __future__ import annotations

from datetime import date

from spotlightd.demo.publisher import DATA, Answer, Publisher, Request, Stage, html_answer, serve_files
from spotlightd.model.source import Period

HOST = "www.catnmsplan.com"
FEED = f"{HOST}/rss/topics.xml"
REPORTS = ("2026-02/02.26.26-Monthly-CAT-Update", "2026-03/03.26.26-Monthly-CAT-Update")
FILES = {
    f"{HOST}/sites/default/files/{report}.pdf": DATA / "cat" / f"{report.partition('/')[2]}-constructed.pdf"
    for report in REPORTS
}


def answer(request: Request, stage: Stage) -> Answer | None:
    if request.target == FEED:
        return Answer(_make_feed(stage).encode(), "application/rss+xml")
    return serve_files(request, stage) or html_answer("<!doctype html><title>Page not found</title>", 404)


def _make_feed(stage: Stage) -> str:
    items = "".join(
        f"<item><title>Monthly CAT Update</title><link>https://{target}</link></item>" for target in stage.files
    )
    return f'<?xml version="1.0"?><rss version="2.0"><channel><title>CAT NMS Plan</title>{items}</channel></rss>'


PUBLISHER = Publisher(
    hosts=(HOST,),
    sources=("cat_monthly_update",),
    stages=(Stage("two monthly reports", FILES),),
    answer=answer,
    days={"cat_monthly_update": Period(date(2026, 2, 1), date(2026, 3, 31))},
)
