"""`/swaps/tape`: what the trades of a day say: par rates of overnight index swaps by tenor, and trades in credit indices.

Each point and each line leads to its row, and the row to the trades that made it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from aiohttp import web

from spotlightd.datasets.cds_index_tape import cds_index_tape
from spotlightd.datasets.ois_curve import ois_curve
from spotlightd.model.dataset import Dataset
from spotlightd.query import filters
from spotlightd.query.errors import bad_parameter, not_found
from spotlightd.query.key import join_key
from spotlightd.query.select import Query
from spotlightd.query.values import format_address
from spotlightd.sql.visibility import Snapshot, table_expression, visible_condition
from spotlightd.web import degraded, responses
from spotlightd.web.parts.parameters import FORMATS, refuse_unknown
from spotlightd.web.routes import Route
from spotlightd.web.state import APP_STATE
from spotlightd.web.symbol.daily_chart import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Tick

PARAMETERS = ("day", "currency", "index", "as_of")
LABELED = frozenset({"1M", "3M", "6M", "1Y", "2Y", "3Y", "5Y", "7Y", "10Y", "20Y", "30Y", "50Y"})
LEVELS = 4
PERCENT = 100


@dataclass(frozen=True, slots=True)
class Node:
    """A point of a curve: its place on the drawing, and its row."""

    x: float
    y: float
    text: str
    address: str


@dataclass(frozen=True, slots=True)
class CurveDrawing:
    """A curve over tenors. The axis of tenors is logarithmic, because most prints are short."""

    nodes: tuple[Node, ...]
    levels: tuple[Tick, ...]
    tenors: tuple[Tick, ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT

    @property
    def path(self) -> str:
        return " ".join(f"{node.x},{node.y}" for node in self.nodes)


@dataclass(frozen=True, slots=True)
class Curve:
    """The rates of one currency and index on a day, the shortest tenor first, each with the address of its row."""

    rows: Sequence[Mapping[str, Any]]

    @property
    def drawing(self) -> CurveDrawing:
        rates = [float(row["par_rate"]) * PERCENT for row in self.rows]
        spans = [math.log(max(row["tenor_days"], 1)) for row in self.rows]
        low, high = math.floor(min(rates) * 4) / 4, math.ceil(max(rates) * 4) / 4
        first, wide, tall = spans[0], spans[-1] - spans[0] or 1.0, high - low or 1.0

        def place(value: float) -> float:
            return round(HEIGHT - BOTTOM - (value - low) / tall * (HEIGHT - TOP - BOTTOM), 1)

        nodes = tuple(
            Node(
                round(LEFT + (span - first) / wide * (WIDTH - LEFT - RIGHT), 1),
                place(rate),
                f"{row['tenor']}: {rate:.3f} percent, {row['prints']} prints",
                row["address"],
            )
            for row, rate, span in zip(self.rows, rates, spans, strict=True)
        )
        amounts = [low + tall * number / LEVELS for number in range(LEVELS + 1)]
        tenors = tuple(
            Tick(node.x, row["tenor"]) for node, row in zip(nodes, self.rows, strict=True) if row["tenor"] in LABELED
        )
        return CurveDrawing(nodes, tuple(Tick(place(amount), f"{amount:.2f}") for amount in amounts), tenors)


async def show_tape(request: web.Request) -> web.StreamResponse:
    """The page, by three statements: the snapshot, the curves of the day, its credit indices."""
    context, texts = request.app[APP_STATE].context, request.query
    if ois_curve not in context.datasets:
        raise not_found("This instance derives no rates.", "/swaps has the messages.")
    refuse_unknown(request, PARAMETERS)
    reader = responses.get_reader(request)
    snapshot = await reader.snapshot(None, filters.parse_as_of("as_of", texts.get("as_of", "")))
    etag = responses.make_etag(request, snapshot)
    if responses.is_unchanged(request, etag):
        return responses.not_modified_response(etag)
    day = _read_day(texts.get("day", ""))
    rates, indices = await reader.together(curves_query(day, snapshot), indices_query(day, snapshot))
    rows = [_with_address(row, texts.get("as_of", "")) for row in rates.dicts()]
    wanted = (texts.get("currency", "USD").upper(), texts.get("index", ""))
    chosen = _choose_curve(rows, *wanted)
    credit = indices.dicts()
    days = {row["day"] for row in (*rows, *credit)}
    return responses.render_page(request, "tape.html", {
        "snapshot": snapshot, "day": day or max(days, default=None), "curve": Curve(chosen) if chosen else None,
        "curves": _list_curves(rows), "wanted": wanted, "credit": credit, "formats": FORMATS,
        "datasets": (ois_curve, cds_index_tape),
    }, etag=etag)  # fmt: skip


def _on_day(dataset: Dataset, day: date | None, snapshot: Snapshot) -> tuple[str, dict[str, Any]]:
    """The text after FROM for the rows of the day, or of the newest one."""
    rows, visible = table_expression(dataset, snapshot), visible_condition(dataset)
    values: dict[str, Any] = {"seq": snapshot.seq}
    if day is None:
        return f"{rows} WHERE {visible} AND day = (SELECT max(day) FROM {rows} WHERE {visible})", values
    return f"{rows} WHERE {visible} AND day = {{day:Date}}", {**values, "day": day}


def curves_query(day: date | None, snapshot: Snapshot) -> Query:
    rows, values = _on_day(ois_curve, day, snapshot)
    columns = ", ".join(f"`{column.name}`" for column in ois_curve.columns if column.name != "trades")
    return Query(f"SELECT {columns} FROM {rows} ORDER BY currency, floating_index, tenor_days, tenor", values)


def indices_query(day: date | None, snapshot: Snapshot) -> Query:
    """The trades of the day by index and tenor. Levels are of trades that were priced by themselves."""
    rows, values = _on_day(cds_index_tape, day, snapshot)
    alone = "NOT ifNull(package, false) AND quoted_spread IS NOT NULL"
    sql = (
        "SELECT any(day) AS day, credit_index, tenor, is_tranche, currency, count() AS trades, sum(notional) AS notional, "
        f"countIf(capped) / count() AS capped_share, countIf({alone}) AS priced, "
        f"quantileExactIf(0.5)(assumeNotNull(quoted_spread), {alone}) AS spread, "
        f"minIf(assumeNotNull(quoted_spread), {alone}) AS lowest, maxIf(assumeNotNull(quoted_spread), {alone}) AS highest "
        f"FROM (SELECT * FROM {rows}) GROUP BY credit_index, tenor, is_tranche, currency ORDER BY trades DESC, credit_index, tenor"
    )
    return Query(sql, values)


def _with_address(row: Mapping[str, Any], as_of: str) -> dict[str, Any]:
    key = join_key([row[name] for name in ois_curve.key])
    return {**row, "address": format_address(("data", ois_curve.name, key), as_of=as_of)}


def _list_curves(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, int]]:
    """Currency, index and number of prints of each curve, that with the most prints first."""
    prints = dict[tuple[str, str], int]()
    for row in rows:
        name = row["currency"], row["floating_index"]
        prints[name] = prints.get(name, 0) + row["prints"]
    return sorted(((*name, count) for name, count in prints.items()), key=lambda curve: (-curve[2], curve[:2]))


def _choose_curve(rows: Sequence[Mapping[str, Any]], currency: str, index: str) -> list[Mapping[str, Any]]:
    """The curve of that currency and index; of its index with the most prints when none is named."""
    names = [curve[:2] for curve in _list_curves(rows) if curve[0] == currency and index in ("", curve[1])]
    return [row for row in rows if names and (row["currency"], row["floating_index"]) == names[0]]


def _read_day(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise bad_parameter("day", f"{text!r} is not a day such as 2026-07-15") from None


def reads_archived(dataset: Dataset) -> bool:
    """Whether the page reads archived rows of the dataset."""
    return dataset in (ois_curve, cds_index_tape)


ROUTES: Sequence[Route] = (Route("/swaps/tape", degraded.with_fallback(show_tape, reads_archived)),)
