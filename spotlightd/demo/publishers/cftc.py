"""The CFTC: an archive page with links to the editions of its weekly swaps report, in folders of the month of posting."""

from __future__ import annotations

from spotlightd.demo.publisher import DATA, Answer, Publisher, Request, Stage, html_answer, serve_files

HOST = "www.cftc.gov"
INDEX = f"{HOST}/MarketReports/SwapsReports/Archive/index.htm"
EDITION = f"{HOST}/sites/default/files/2026-07/CFTC_Swaps_Report_07_20_2026.xlsx"


def answer(request: Request, stage: Stage) -> Answer | None:
    if request.target == INDEX:
        links = "".join(
            f'<li><a href="https://{target}">{target.rpartition("/")[2]}</a></li>' for target in stage.files
        )
        return html_answer(f"<!DOCTYPE html><title>Weekly Swaps Report Archive</title><ul>{links}</ul>")
    return serve_files(request, stage)


PUBLISHER = Publisher(
    hosts=(HOST,),
    sources=("cftc_swaps_report",),
    stages=(Stage("an edition", {EDITION: DATA / "cftc" / "CFTC_Swaps_Report_07_20_2026-constructed.xlsx"}),),
    answer=answer,
)
