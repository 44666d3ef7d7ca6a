"""A publisher of constructed half-months of fails, in the SEC's format, and what a reader should see of them."""

from __future__ import annotations

import io
import json
import random
import sqlite3
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

from spotlightd.clients.clickhouse.client import ClickHouse
from spotlightd.demo.construct import add_trailers
from spotlightd.runtime.endpoint import Endpoint
from spotlightd.runtime.instance import make_warehouse
from spotlightd.settings.settings import Settings
from spotlightd.sources.sec_ftd import INDEX, sec_ftd
from spotlightd.sql.visibility import visible_condition
from tests.clients.publisher_server import Answer, ScriptedPublisher, document, reply

INDEX_PATH = urlsplit(INDEX).path
FAST = '''"""constructed: the fails of the SEC, without the limit on requests."""

from dataclasses import replace

from spotlightd.sources import sec_ftd

source = replace(sec_ftd.source, name="fast_ftd", requests_per_second=1000.0, contact_required=False)
'''
VISIBLE = f"""
SELECT formatDateTime(settlement_date, '%Y/%m') || if(toDayOfMonth(settlement_date) < 15, '/a', '/b') AS covers,
    count() AS rows, sum(quantity) AS shares
FROM sec_ftd WHERE {visible_condition(sec_ftd)} GROUP BY covers
"""


@dataclass(frozen=True, slots=True)
class HalfMonth:
    """A constructed document: its bytes, and the counts in its trailers."""

    covers: str
    content: bytes
    rows: int
    shares: int

    @property
    def path(self) -> str:
        return f"/files/data/cnsfails{self.covers.replace('/', '')}.zip"


def half(number: int) -> tuple[str, date]:
    """The name and the first day of a half-month, numbered from 2010."""
    month = date(2010 + number // 24, number // 2 % 12 + 1, 1)
    return f"{month:%Y/%m}/{'ab'[number % 2]}", month.replace(day=15 if number % 2 else 1)


def lines(number: int, rows: int, edition: int = 0) -> list[str]:
    """Rows of a half-month, always the same."""
    covers, first = half(number)
    chance = random.Random(f"{covers} {edition}")
    return [
        f"{first + timedelta(days=at % 11):%Y%m%d}|{at:09d}|S{at % 997}|{chance.randrange(1, 10**6)}|CONSTRUCTED {at}|1.25"
        for at in range(rows)
    ]


@lru_cache(maxsize=512)
def half_month(number: int, rows: int = 1200, edition: int = 0) -> HalfMonth:
    """A complete and correct document. Another edition has other quantities."""
    texts = lines(number, rows, edition)
    return HalfMonth(half(number)[0], zipped(add_trailers(texts)), rows, sum(int(text.split("|")[3]) for text in texts))


def zipped(text: str, member: str = "cnsfails.txt") -> bytes:
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr(
            zipfile.ZipInfo(member, (2021, 3, 16, 0, 0, 0)), text.encode("latin-1"), zipfile.ZIP_DEFLATED, 1
        )
    return whole.getvalue()


def index(paths: Iterable[str]) -> Answer:
    links = "".join(f'<li><a href="{path}">{path}</a></li>' for path in paths)
    return reply(200, f"<!doctype html><title>Fails</title><ul>{links}</ul>".encode(), Content_Type="text/html")


def show(server: ScriptedPublisher, *documents: HalfMonth) -> None:
    """From now on the publisher has these documents, and no others."""
    for half_month in documents:
        content = half_month.content
        server.script(half_month.path, document(content, etag=f'"{hash(content)}"'))
    server.script(INDEX_PATH, index(half_month.path for half_month in documents))


def state_folder(folder: Path) -> Path:
    """A new state folder with the fast source in it."""
    state = folder / "state"
    (state / "sources").mkdir(parents=True, mode=0o700)
    (state / "sources" / "fast.py").write_text(FAST, encoding="utf-8")
    return state


def endpoint(state: Path) -> Endpoint:
    return Endpoint(**json.loads((state / "daemon.json").read_text(encoding="utf-8")))


def warehouse(state: Path) -> ClickHouse:
    """The running daemon's warehouse, as a command opens it; to be entered."""
    return make_warehouse(endpoint(state), Settings())


async def read_visible(opened: ClickHouse) -> dict[str, tuple[int, int]]:
    """Rows and shares that a pinned reader sees, by half-month."""
    seq = (await opened.rows("SELECT max(seq) FROM loads")).rows[0][0]
    return {covers: (rows, shares) for covers, rows, shares in (await opened.rows(VISIBLE, {"seq": seq})).rows}


async def read_visible_in(state: Path) -> dict[str, tuple[int, int]]:
    async with warehouse(state) as opened:
        return await read_visible(opened)


def expected(documents: Sequence[HalfMonth]) -> dict[str, tuple[int, int]]:
    return {document.covers: (document.rows, document.shares) for document in documents}


def ledger(state: Path, sql: str, *values: object) -> list[tuple[object, ...]]:
    """Rows of the ledger, read beside its daemon; none while the file does not exist."""
    path = state / "ledger.sqlite"
    if not path.exists():
        return []
    opened = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)
    try:
        return opened.execute(sql, values).fetchall()
    except sqlite3.OperationalError:
        return []
    finally:
        opened.close()
