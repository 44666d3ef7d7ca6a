"""Pipeline: is every flow alive, how late is it, what moved, and what is missing."""

from __future__ import annotations

from grafana.model import SQL, Dashboard, Panel, PromQL, Row

GOOD_BAD = ((0, "green"), (1, "red"))
LAG_STAGES = (("bus", "on the bus"), ("table", "in the frames table"), ("queryable", "queryable"))

HEARTBEATS = Row("Heartbeats", (
    Panel(
        "Daemon", "Whether Prometheus reaches the daemon. `no data` means that Prometheus itself does not scrape.",
        (PromQL('up{job="spotlightd"}', instant=True),), kind="stat", width=4, unit="none",
        steps=((0, "red"), (1, "green")), texts={"0": ("down", "red"), "1": ("up", "green")},
    ),
    Panel(
        "Flows that hang", "Flows that promise a beat and have been silent for more than three of their pauses.",
        (PromQL(
            "count(spotlightd_flow_silent_seconds > 3 * (spotlightd_flow_pause_seconds > 0)) "
            "or 0 * count(spotlightd_flow_silent_seconds)", instant=True,
        ),), kind="stat", width=4, unit="none", steps=GOOD_BAD,
    ),
    Panel(
        "Flows that hold or failed", "`holding`: a store of ours fails or a disk is full. `failed`: it is restarted after a pause.",
        (PromQL(
            'count(spotlightd_flow_state{state=~"holding|failed"} == 1) or 0 * count(spotlightd_flow_state)', instant=True,
        ),), kind="stat", width=4, unit="none", steps=GOOD_BAD,
    ),
    Panel(
        "State of each flow", "The current state of every flow, and nothing else: flows that end disappear.",
        (PromQL("spotlightd_flow_state == 1", instant=True),), kind="table", unit="none",
    ),
    Panel(
        "Silence against what is promised",
        "Time since the last beat, divided by the silence that the flow allows (three pauses). At 1 the flow counts as hanging.",
        (PromQL(
            "spotlightd_flow_silent_seconds / (3 * (spotlightd_flow_pause_seconds > 0))", legend="{{flow}}",
        ),), unit="percentunit", steps=((0, "green"), (1, "red")),
    ),
    Panel(
        "Beats against what is expected",
        "Beats that the warehouse holds, per minute, divided by the number expected. A gap in the line is a gap in the rows.",
        (SQL(
            "SELECT $__timeInterval(at) AS time, toString(flow) AS flow, "
            "sum(beats) / nullIf(avg(expected_per_minute) * greatest($__interval_s, 60) / 60, 0) AS beats\n"
            "FROM heartbeats WHERE $__timeFilter(at) AND expected_per_minute > 0\nGROUP BY time, flow ORDER BY time"
        ),), unit="percentunit",
    ),
))  # fmt: skip

LAG = Row("Lag", (
    *(
        Panel(
            f"Received to {title}", f"Time from the receipt of a frame until it is {title}: half of the frames, and 99 of 100.",
            tuple(
                PromQL(
                    f'histogram_quantile({share}, sum by (source, le) '
                    f'(rate(spotlightd_lag_seconds_bucket{{stage="{stage}"}}[$__rate_interval])))',
                    legend=f"{{{{source}}}} p{share * 100:.0f}",
                )
                for share in (0.5, 0.99)
            ), unit="s", width=8,
        )
        for stage, title in LAG_STAGES
    ),
    Panel(
        "Frames that wait", "On the bus: received, not in the warehouse yet. In the spool: not confirmed in the warehouse yet.",
        (
            PromQL("spotlightd_bus_waiting_frames", legend="{{source}} bus"),
            PromQL("spotlightd_spool_frames", legend="{{source}} spool"),
        ),
    ),
    Panel(
        "Lag of each flow", "How far behind each flow says that it is.",
        (PromQL("spotlightd_flow_lag_seconds", legend="{{flow}}"),), unit="s",
    ),
))  # fmt: skip

THROUGHPUT = Row("Throughput", (
    Panel(
        "Frames", "Frames received from the sockets, and frames moved into the warehouse.",
        (
            PromQL("rate(spotlightd_frames_received_total[$__rate_interval])", legend="{{source}} received"),
            PromQL("rate(spotlightd_frames_drained_total[$__rate_interval])", legend="{{source}} in the warehouse"),
        ), unit="cps", width=8,
    ),
    Panel(
        "Rows", "Rows decoded from frames, and rows of documents that became visible.",
        (
            PromQL("rate(spotlightd_rows_decoded_total[$__rate_interval])", legend="{{source}} decoded"),
            PromQL("rate(spotlightd_rows_published_total[$__rate_interval])", legend="{{source}} published"),
        ), unit="cps", width=8,
    ),
    Panel(
        "Event loop", "99 of 100 turns of the event loop were at most this late.",
        (PromQL(
            "histogram_quantile(0.99, rate(spotlightd_loop_lag_seconds_bucket[$__rate_interval]))", legend="p99",
        ),), unit="s", width=8,
    ),
))  # fmt: skip

MISSING = Row("What is missing", (
    Panel(
        "Gaps by cause", "Spans in which messages may be missing, by cause. `stopped` is a stop that somebody asked for.",
        (PromQL("sum by (source, cause) (increase(spotlightd_gaps_total[$__rate_interval])) > 0", legend="{{source}} {{cause}}"),),
    ),
    Panel(
        "Rejected, shed, tried again", "Frames that could not be decoded, frames that found no room, and attempts that were repeated.",
        (
            PromQL("rate(spotlightd_frames_rejected_total[$__rate_interval])", legend="{{source}} rejected"),
            PromQL("rate(spotlightd_frames_shed_total[$__rate_interval])", legend="{{source}} shed"),
            PromQL("rate(spotlightd_retries_total[$__rate_interval])", legend="{{source}} tried again"),
        ), unit="cps",
    ),
    Panel(
        "Tables that lack rows", "Tables that were renamed, dropped or emptied, or are older than the ledger. Nothing is written into them.",
        (PromQL("spotlightd_tables_incomplete", instant=True),), kind="stat", unit="none", width=4, steps=GOOD_BAD,
    ),
    Panel(
        "Clocks of the venues", "By how much each venue's clock is ahead of this machine's. Below 0: behind, or late trades.",
        (PromQL("spotlightd_venue_clock_offset_seconds", legend="{{source}}"),), unit="s", width=8,
    ),
    Panel(
        "Newest gaps", "The newest gaps of all feeds. An empty symbol means all symbols.",
        (SQL("SELECT since, until, source, symbol, cause, says FROM gaps WHERE $__timeFilter(since) ORDER BY since DESC LIMIT 50"),),
        kind="table",
    ),
    Panel(
        "Rejected lines", "Lines of documents that could not be parsed, by source and reason.",
        (SQL(
            "SELECT source, reason, count() AS lines, max(at) AS newest FROM rejects WHERE $__timeFilter(at)\n"
            "GROUP BY source, reason ORDER BY lines DESC LIMIT 50"
        ),), kind="table",
    ),
))  # fmt: skip

FRESHNESS = Row("Freshness of documents", (
    Panel(
        "Late sources", "Sources whose newest expected document is not published yet, although its publisher's rhythm says so.",
        (PromQL("sum(spotlightd_source_late_since_timestamp_seconds > bool 0)", instant=True),), kind="stat", width=4, unit="none", steps=GOOD_BAD,
    ),
    Panel(
        "Days late", "For how long the newest expected document of a source has been due and missing; 0 when nothing is missing.",
        (PromQL(
            "(time() - spotlightd_source_late_since_timestamp_seconds) * (spotlightd_source_late_since_timestamp_seconds > bool 0)",
            legend="{{source}}",
        ),), unit="s", width=8,
        steps=((0, "green"), (86_400, "red")),
    ),
    Panel(
        "Newest publication", "The newest slice that each source published, and when.",
        (SQL(
            "SELECT source, max(covers) AS newest, max(published_at) AS published, count() AS publications\n"
            "FROM loads WHERE derived_from = 0 GROUP BY source ORDER BY source"
        ),), kind="table",
    ),
    Panel(
        "Outcomes of documents", "Attempts by outcome, per hour.",
        (PromQL("sum by (source, outcome) (increase(spotlightd_documents_total[1h])) > 0", legend="{{source}} {{outcome}}"),),
    ),
    Panel(
        "Newest failures", "The newest attempts that did not end well, with the reason.",
        (SQL(
            "SELECT at, source, covers, outcome, error FROM runs\n"
            "WHERE $__timeFilter(at) AND outcome IN ('failed', 'wrong body', 'refused', 'store failed')\n"
            "ORDER BY at DESC LIMIT 50"
        ),), kind="table",
    ),
))  # fmt: skip

pipeline = Dashboard(
    uid="spotlightd-pipeline",
    title="Pipeline",
    description="Heartbeats, lag, throughput, gaps, rejects and freshness of spotlightd.",
    rows=(HEARTBEATS, LAG, THROUGHPUT, MISSING, FRESHNESS),
)
