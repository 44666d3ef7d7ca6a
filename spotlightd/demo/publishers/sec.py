"""The SEC: an index page that links zips of fails. A file is replaced under its name in the second stage."""

from __future__ import annotations

import html
import json

from spotlightd.demo.publisher import DATA, Answer, Publisher, Request, Stage, html_answer, serve_files

HOST = "www.sec.gov"
_TIMELINE = json.loads((DATA / "timeline.json").read_text(encoding="utf-8"))
STAGES = tuple(
    Stage(stage["title"], {HOST + path: DATA / name for path, name in stage["files"].items()})
    for stage in _TIMELINE["stages"]
)


def answer(request: Request, stage: Stage) -> Answer | None:
    return _render_index(stage) if request.target == HOST + _TIMELINE["index"] else serve_files(request, stage)


def _render_index(stage: Stage) -> Answer:
    paths = [target.removeprefix(HOST) for target in stage.files]
    links = "\n".join(
        f'<li><a href="{html.escape(path)}">{html.escape(path.rpartition("/")[2])}</a></li>' for path in paths
    )
    return html_answer(
        f"<!doctype html><title>Fails-to-Deliver Data</title><h1>Fails-to-Deliver Data</h1><ul>\n{links}\n</ul>"
    )


PUBLISHER = Publisher(hosts=(HOST,), sources=("sec_ftd",), stages=STAGES, answer=answer)
