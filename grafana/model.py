"""Values of a dashboard, and its JSON in Grafana's classic model (schema version 42).

Grafana's file provisioning refuses the newer resource model (grafana issues 122663, 123607), so the classic one is used.
The ClickHouse queries follow the data source plug-in `grafana-clickhouse-datasource` 4.20.0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

SCHEMA_VERSION = 42
COLUMNS = 24
PROMETHEUS = {"type": "prometheus", "uid": "prometheus"}
CLICKHOUSE = {"type": "grafana-clickhouse-datasource", "uid": "clickhouse"}
NO_DATA = "no data"

Kind = Literal["timeseries", "stat", "table", "candlestick"]


@dataclass(frozen=True, slots=True)
class PromQL:
    """A Prometheus query. `instant` asks for the newest value only, `legend` names its series."""

    text: str
    legend: str = ""
    instant: bool = False


@dataclass(frozen=True, slots=True)
class SQL:
    """A ClickHouse query. A time series has a column `time`; a table has any columns."""

    text: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel. `steps` are (lower bound, colour), the first bound counts as minus infinity; `texts` names values."""

    title: str
    description: str
    queries: tuple[PromQL | SQL, ...]
    unit: str = "short"
    kind: Kind = "timeseries"
    width: int = 12
    height: int = 8
    steps: tuple[tuple[float, str], ...] = ()
    texts: Mapping[str, tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Row:
    """A heading, and the panels below it."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Variable:
    """A choice at the top of the dashboard. `default` is what a panel uses before somebody chooses."""

    name: str
    label: str
    sql: str
    default: str


@dataclass(frozen=True, slots=True)
class Dashboard:
    """A dashboard. `uid` is its address below /grafana/d/, so it never changes."""

    uid: str
    title: str
    description: str
    rows: tuple[Row, ...]
    since: str = "now-6h"
    variables: tuple[Variable, ...] = ()

    @property
    def panels(self) -> Iterator[Panel]:
        return (panel for row in self.rows for panel in row.panels)

    def to_json(self) -> dict[str, Any]:
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": ["spotlightd"],
            "schemaVersion": SCHEMA_VERSION,
            "version": 1,
            "editable": False,
            "graphTooltip": 1,
            "timezone": "utc",
            "refresh": "30s",
            "time": {"from": self.since, "to": "now"},
            "annotations": {"list": []},
            "links": [
                {
                    "type": "dashboards", "title": "spotlightd", "tags": ["spotlightd"], "asDropdown": False,
                    "includeVars": False, "keepTime": True, "targetBlank": False, "icon": "external link",
                    "tooltip": "", "url": "",
                },
            ],
            "templating": {"list": [_variable_to_json(variable) for variable in self.variables]},
            "panels": list(_lay_out(self.rows)),
        }  # fmt: skip


def _variable_to_json(variable: Variable) -> dict[str, Any]:
    return {
        "type": "query", "name": variable.name, "label": variable.label, "datasource": CLICKHOUSE,
        "query": variable.sql, "refresh": 2, "sort": 0, "multi": False, "includeAll": False,
        "current": {"text": variable.default, "value": variable.default, "selected": True}, "options": [],
    }  # fmt: skip


def _lay_out(rows: tuple[Row, ...]) -> Iterator[dict[str, Any]]:
    """Panels from left to right, and down where a line of 24 columns is full."""
    number = y = 0
    for row in rows:
        number += 1
        grid = {"h": 1, "w": COLUMNS, "x": 0, "y": y}
        yield {"id": number, "type": "row", "title": row.title, "collapsed": False, "panels": [], "gridPos": grid}
        x, y, lowest = 0, y + 1, y + 1
        for panel in row.panels:
            if x + panel.width > COLUMNS:
                x, y = 0, lowest
            number += 1
            yield _panel_to_json(panel, number, {"h": panel.height, "w": panel.width, "x": x, "y": y})
            x, lowest = x + panel.width, max(lowest, y + panel.height)
        y = lowest


def _panel_to_json(panel: Panel, number: int, grid: dict[str, int]) -> dict[str, Any]:
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "gridPos": grid,
        "datasource": _data_source(panel.queries[0]),
        "targets": [_query_to_json(query, chr(ord("A") + at), panel.kind) for at, query in enumerate(panel.queries)],
        "fieldConfig": {"defaults": _field_defaults(panel), "overrides": []},
        "options": _options(panel.kind),
        **({"transformations": TABLE_OF_LABELS} if panel.kind == "table" and _is_promql(panel) else {}),
    }


TABLE_OF_LABELS = [
    {"id": "labelsToFields", "options": {"mode": "columns"}},
    {"id": "merge", "options": {}},
    {
        "id": "organize",
        "options": {"excludeByName": dict.fromkeys(("Time", "__name__", "instance", "job"), True)},
    },
]


def _is_promql(panel: Panel) -> bool:
    return isinstance(panel.queries[0], PromQL)


def _data_source(query: PromQL | SQL) -> dict[str, str]:
    return PROMETHEUS if isinstance(query, PromQL) else CLICKHOUSE


def _query_to_json(query: PromQL | SQL, reference: str, kind: Kind) -> dict[str, Any]:
    if isinstance(query, PromQL):
        return {
            "refId": reference, "datasource": PROMETHEUS, "editorMode": "code", "expr": query.text,
            "legendFormat": query.legend or "__auto", "instant": query.instant, "range": not query.instant,
            "format": "table" if kind == "table" else "time_series",
        }  # fmt: skip
    is_series = kind in {"timeseries", "candlestick"}
    return {
        "refId": reference, "datasource": CLICKHOUSE, "editorType": "sql", "rawSql": query.text,
        "queryType": "timeseries" if is_series else "table", "format": 0 if is_series else 1,
        "pluginVersion": "4.20.0", "meta": {},
    }  # fmt: skip


def _field_defaults(panel: Panel) -> dict[str, Any]:
    """A value that is missing is shown as "no data", never as a line at zero or as a green field."""
    steps: list[dict[str, Any]] = [{"color": "text", "value": None}]
    if panel.steps:
        bounds = [None, *(bound for bound, _ in panel.steps[1:])]
        steps = [{"color": color, "value": bound} for bound, (_, color) in zip(bounds, panel.steps, strict=True)]
    mappings: list[dict[str, Any]] = [
        {"type": "special", "options": {"match": "null+nan", "result": {"text": NO_DATA, "color": "purple"}}},
    ]
    if panel.texts:
        options = {
            value: {"text": text, "color": color, "index": at}
            for at, (value, (text, color)) in enumerate(panel.texts.items())
        }
        mappings.insert(0, {"type": "value", "options": options})
    custom = {"spanNulls": False, "lineWidth": 1, "fillOpacity": 10, "showPoints": "auto"}
    return {
        "unit": panel.unit,
        "noValue": NO_DATA,
        "mappings": mappings,
        "thresholds": {"mode": "absolute", "steps": steps},
        "color": {"mode": "thresholds" if panel.steps and panel.kind != "timeseries" else "palette-classic"},
        "custom": custom if panel.kind == "timeseries" else {},
    }


def _options(kind: Kind) -> dict[str, Any]:
    if kind == "timeseries":
        legend = {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []}
        return {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}
    if kind == "stat":
        reduce = {"calcs": ["lastNotNull"], "fields": "", "values": False}
        return {
            "reduceOptions": reduce, "colorMode": "background", "graphMode": "none", "justifyMode": "auto",
            "orientation": "auto", "textMode": "auto", "wideLayout": True, "showPercentChange": False,
            "percentChangeColorMode": "standard",
        }  # fmt: skip
    if kind == "candlestick":
        return {
            "mode": "candles+volume", "candleStyle": "candles", "colorStrategy": "open-close",
            "fields": {name: name for name in ("open", "high", "low", "close", "volume")},
            "colors": {"up": "green", "down": "red"}, "includeAllFields": False,
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False, "calcs": []},
            "tooltip": {"mode": "multi", "sort": "none"},
        }  # fmt: skip
    return {"showHeader": True, "cellHeight": "sm", "footer": {"show": False, "reducer": ["sum"], "countRows": False}}
