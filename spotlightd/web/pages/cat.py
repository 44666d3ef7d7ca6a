"""`/cat`: error rates of the Consolidated Audit Trail, day by day, each number with the cell of the report it is printed in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from aiohttp import web

from spotlightd.datasets.cat import cat_error_rates, cat_record_counts
from spotlightd.model.dataset import Dataset
from spotlightd.query import filters
from spotlightd.query.errors import not_found
from spotlightd.query.key import join_key
from spotlightd.query.select import Query
from spotlightd.query.values import format_address
from spotlightd.sql.visibility import Snapshot, table_expression, visible_condition
from spotlightd.web import degraded, responses
from spotlightd.web.parts.parameters import FORMATS, read_choice, refuse_unknown
from spotlightd.web.routes import Nav, Route
from spotlightd.web.state import APP_STATE, ExplorerContext
from spotlightd.web.symbol.daily_chart import Drawing, Point, draw_days

DAYS = 90
PRODUCTS = ("equities", "options")
ERRORS = ("overall", "late", "rejection", "intrafirm", "interfirm_sent", "interfirm_received", "exchange", "trade")
STAGES = ("initial", "adjusted", "")
COUNTS = ("processed", "accepted", "late", "errors")


@dataclass(frozen=True, slots=True)
class Value:
    """A number of the newest report that has it. `earlier` is what the first report printed. `address` is the page of the
    number, and `vintages` the table of what each report says.
    """

    number: Decimal | int | None
    earlier: Decimal | int | None
    reports: int
    address: str
    vintages: str

    @property
    def is_changed(self) -> bool:
        return self.number != self.earlier


Values = Mapping[tuple[str, ...], Value]


@dataclass(frozen=True, slots=True)
class CatPage:
    """The newest days of one product. `rates` are by (error, stage), `counts` by kind, the newest day first."""

    product: str
    error: str
    rates: Mapping[date, Values]
    counts: Mapping[date, Values]

    @property
    def columns(self) -> list[tuple[str, str]]:
        """The errors and stages that are there, in the order of the report."""
        present = {key for values in self.rates.values() for key in values}
        return [(error, stage) for error in ERRORS for stage in STAGES if (error, stage) in present]

    @property
    def drawing(self) -> Drawing:
        """A bar for each day: the chosen rate, adjusted where the report has it."""
        points = [(day, value) for day, values in sorted(self.rates.items()) if (value := self._chosen(values))]

        def make_point(index: int) -> Point:
            day, value = points[index]
            return Point(f"{day}: {value.number} percent", value.address, value.is_changed)

        return draw_days([day for day, _ in points], [float(value.number or 0) for _, value in points], make_point)

    def _chosen(self, values: Values) -> Value | None:
        found = (values.get((self.error, stage)) for stage in ("adjusted", "", "initial"))
        return next((value for value in found if value is not None and value.number is not None), None)


async def show_cat(request: web.Request) -> web.StreamResponse:
    """The page, by three statements: the snapshot, rates and counts."""
    if cat_error_rates not in request.app[APP_STATE].context.datasets:
        raise not_found("This instance has no reports of the audit trail.", "Its source is cat_monthly_update.")
    refuse_unknown(request, ("product", "error", "as_of"))
    product = read_choice(request, "product", PRODUCTS, PRODUCTS[0])
    error = read_choice(request, "error", ERRORS, ERRORS[0])
    as_of = request.query.get("as_of", "")
    reader = responses.get_reader(request)
    snapshot = await reader.snapshot(None, filters.parse_as_of("as_of", as_of))
    etag = responses.make_etag(request, snapshot)
    if responses.is_unchanged(request, etag):
        return responses.not_modified_response(etag)
    rates, counts = await reader.together(
        newest_query(cat_error_rates, "rate", ("error", "stage"), product, snapshot),
        newest_query(cat_record_counts, "records", ("kind",), product, snapshot),
    )
    place = {"product": product, "as_of": as_of}
    page = CatPage(
        product,
        error,
        _group_by_day(cat_error_rates, ("error", "stage"), rates.dicts(), **place),
        _group_by_day(cat_record_counts, ("kind",), counts.dicts(), **place),
    )
    return responses.render_page(request, "cat.html", {
        "snapshot": snapshot, "page": page, "products": PRODUCTS, "errors": ERRORS, "kinds": COUNTS, "shown": DAYS,
        "datasets": (cat_error_rates, cat_record_counts), "formats": FORMATS,
    }, etag=etag)  # fmt: skip


def newest_query(dataset: Dataset, value: str, names: Sequence[str], product: str, snapshot: Snapshot) -> Query:
    """For each of the newest days and each number: what the newest report says, and the first one."""
    rows, visible = table_expression(dataset, snapshot), visible_condition(dataset)
    columns = ", ".join(names)
    mine = f"{visible} AND product = {{product:String}}"
    days = f"SELECT DISTINCT trade_date FROM {rows} WHERE {mine} ORDER BY trade_date DESC LIMIT {DAYS:d}"
    sql = (
        f"SELECT trade_date, {columns}, argMax(tuple({value}), report_date).1 AS newest, "
        f"argMin(tuple({value}), report_date).1 AS first, max(report_date) AS report, uniqExact(report_date) AS reports "
        f"FROM {rows} WHERE {mine} AND trade_date IN ({days}) GROUP BY trade_date, {columns} ORDER BY trade_date DESC"
    )
    return Query(sql, {"seq": snapshot.seq, "product": product})


def _group_by_day(
    dataset: Dataset, names: Sequence[str], rows: Sequence[Mapping[str, Any]], product: str, as_of: str
) -> dict[date, dict[tuple[str, ...], Value]]:
    days = dict[date, dict[tuple[str, ...], Value]]()
    for row in rows:
        kind = tuple(row[name] for name in names)
        key = join_key([row["trade_date"], product, *kind, row["report"]])
        address = format_address(("data", dataset.name, key), as_of=as_of)
        same = [("trade_date", row["trade_date"]), ("product", product), *zip(names, kind, strict=True)]
        vintages = format_address(("data", dataset.name), same, as_of=as_of)
        days.setdefault(row["trade_date"], {})[kind] = Value(
            row["newest"], row["first"], row["reports"], address, vintages
        )
    return days


def has_cat(context: ExplorerContext) -> bool:
    return cat_error_rates in context.datasets


def reads_archived(dataset: Dataset) -> bool:
    """Whether the page reads archived rows of the dataset."""
    return dataset in (cat_error_rates, cat_record_counts)


NAV = Nav("CAT", "/cat", 16, keeps_as_of=True, is_visible=has_cat)
ROUTES = (Route("/cat", degraded.with_fallback(show_cat, reads_archived)),)
