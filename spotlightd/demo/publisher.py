"""A publisher of the demo: which hosts it has, and what it answers to which request. The mirror serves all of them.

To add one, put a module with `PUBLISHER` into `publishers/`, and its files into `data/<publisher>/`. Nothing else lists
it: the demo mirrors its hosts and collects its sources. It answers in the publisher's own manner, as the notes and the
source's docstring describe it: the status of "not yet", a list in JSON, a page in place of a file. `data/SOURCES.md` has a
line for each file. A file that no publisher made says `constructed` in its name; the publisher's address may not say so,
because the source reads it.

    PUBLISHER = Publisher(
        hosts=("www.example.org",),
        sources=("example_daily",),
        stages=(Stage("the week", {"www.example.org/files/20210129.txt": DATA / "example/20210129.txt"}),),
        answer=serve_files,
    )

`answer` takes a request and the stage shown now, and returns None for what is not its own: then other publishers of that
host are asked, and at last the mirror says 404. A publisher whose site does not change has one stage. One that has several
shows how a document is replaced: the demo collects its sources again at each stage.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from importlib import resources
from pathlib import Path
from typing import Any

from spotlightd.model.source import Period

EVER = Period(date.min, date.max)
DATA = Path(str(resources.files("spotlightd.demo"))) / "data"


@dataclass(frozen=True, slots=True)
class Request:
    """A request as the publisher sees it. `target` is host, path and query, without the scheme. Header names are in lower
    case.
    """

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def host(self) -> str:
        return self.target.partition("/")[0]

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer. The mirror adds an ETag to one with 200, leaves out the body for HEAD, and answers 304 by itself."""

    body: bytes
    type: str = "application/octet-stream"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stage:
    """The publisher's site at one time: its documents by target."""

    title: str
    files: Mapping[str, Path]


@dataclass(frozen=True, slots=True)
class Publisher:
    """One publisher: its hosts, the sources that the demo collects from it, and its answers.

    `days` are those that the demo asks for, by source; without an entry all. A source of computed addresses would ask for
    years of days that the mirror has not.
    """

    hosts: tuple[str, ...]
    sources: tuple[str, ...]
    stages: tuple[Stage, ...]
    answer: Callable[[Request, Stage], Answer | None]
    days: Mapping[str, Period] = field(default_factory=dict)


def serve_files(request: Request, stage: Stage) -> Answer | None:
    """The stage's file at the target, if there is one."""
    file = stage.files.get(request.target)
    return Answer(file.read_bytes(), _TYPES.get(file.suffix, "application/octet-stream")) if file else None


def html_answer(text: str, status: int = 200) -> Answer:
    return Answer(text.encode(), "text/html; charset=utf-8", status)


def json_answer(value: Any, status: int = 200) -> Answer:
    return Answer(json.dumps(value).encode(), "application/json", status)


_TYPES = {".zip": "application/zip", ".csv": "text/csv", ".txt": "text/plain", ".json": "application/json"}
