"""Market: prices, volumes and volatility of the feeds, from the one-minute bars."""

from __future__ import annotations

from grafana.model import SQL, Dashboard, Panel, Row, Variable

OF_SYMBOL = "FROM bars_current WHERE $__timeFilter(minute) AND symbol = ${symbol:sqlstring}"

SYMBOL = Row("One symbol", (
    Panel(
        "Price", "First, highest, lowest and last price of each interval. Intervals without a trade have no candle.",
        (SQL(
            "SELECT $__timeInterval(minute) AS time, argMin(open, minute) AS open, max(high) AS high, min(low) AS low, "
            f"argMax(close, minute) AS close, toFloat64(sum(volume)) AS volume\n{OF_SYMBOL}\nGROUP BY time ORDER BY time"
        ),), kind="candlestick", width=24, height=10,
    ),
    Panel(
        "Volume", "Traded quantity, in shares, coins or lots.",
        (SQL(f"SELECT $__timeInterval(minute) AS time, toFloat64(sum(volume)) AS volume\n{OF_SYMBOL}\nGROUP BY time ORDER BY time"),),
        width=8,
    ),
    Panel(
        "Trades", "Number of trades.",
        (SQL(f"SELECT $__timeInterval(minute) AS time, sum(trades) AS trades\n{OF_SYMBOL}\nGROUP BY time ORDER BY time"),), width=8,
    ),
    Panel(
        "Volatility",
        "Standard deviation of the logarithmic returns from minute to minute, within each interval of at least 30 minutes.",
        (SQL(
            "SELECT toStartOfInterval(minute, INTERVAL greatest($__interval_s, 1800) second) AS time, "
            "stddevSamp(log_return) AS volatility\nFROM (\n"
            "  SELECT minute, log(close / lagInFrame(close) OVER (ORDER BY minute ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)) "
            f"AS log_return, close\n  {OF_SYMBOL} AND close > 0\n)\nWHERE isFinite(log_return) GROUP BY time ORDER BY time"
        ),), unit="percentunit", width=8,
    ),
))  # fmt: skip

ALL = Row("All symbols", (
    Panel(
        "Most traded", "Symbols by number of trades in the time shown, with the change from the first to the last price.",
        (SQL(
            "SELECT symbol, sum(trades) AS trades, sum(turnover) AS turnover, argMin(open, minute) AS first, "
            "argMax(close, minute) AS last, last / first - 1 AS change\n"
            "FROM bars_current WHERE $__timeFilter(minute) GROUP BY symbol ORDER BY trades DESC LIMIT 50"
        ),), kind="table", width=16,
    ),
    Panel(
        "Trades by source", "Trades of all symbols, by feed.",
        (SQL(
            "SELECT $__timeInterval(minute) AS time, toString(source) AS source, sum(trades) AS trades\n"
            "FROM bars_current WHERE $__timeFilter(minute) GROUP BY time, source ORDER BY time"
        ),), width=8,
    ),
))  # fmt: skip

market = Dashboard(
    uid="spotlightd-market",
    title="Market",
    description="Prices, volumes and volatility of the feeds, computed from one-minute bars.",
    rows=(SYMBOL, ALL),
    variables=(
        Variable(
            "symbol",
            "Symbol",
            "SELECT symbol FROM bars_current WHERE minute > now() - INTERVAL 7 DAY GROUP BY symbol ORDER BY sum(trades) DESC LIMIT 500",
            default="AAPL",
        ),
    ),
)
