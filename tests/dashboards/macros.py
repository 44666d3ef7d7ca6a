"""What the ClickHouse data source and Grafana replace in a query before it is sent, for the checks of dashboards.

The macros are those of `grafana-clickhouse-datasource` 4.20.0 that our dashboards use.
"""

from __future__ import annotations

import re
from datetime import datetime

from grafana.model import Dashboard


def expand_sql(text: str, since: datetime, until: datetime, interval_seconds: int, dashboard: Dashboard) -> str:
    """The statement that the plug-in sends. ValueError when something stays unexpanded."""
    low, high = int(since.timestamp()), int(until.timestamp())
    text = re.sub(r"\$__timeFilter\((\w+)\)", rf"\1 >= toDateTime({low}) AND \1 <= toDateTime({high})", text)
    bucket = rf"toStartOfInterval(toDateTime(\1), INTERVAL {interval_seconds} second)"
    text = re.sub(r"\$__timeInterval\((\w+)\)", bucket, text)
    text = text.replace("$__interval_s", str(interval_seconds))
    for variable in dashboard.variables:
        text = text.replace(f"${{{variable.name}:sqlstring}}", f"'{variable.default}'")
    return check_expanded(text)


def expand_promql(text: str, rate_interval: str) -> str:
    """The expression that Grafana sends. ValueError when something stays unexpanded."""
    return check_expanded(text.replace("$__rate_interval", rate_interval))


def check_expanded(text: str) -> str:
    if "$" in text:
        raise ValueError(f"a macro or variable that is not known here: {text}")
    return text
