"""System tables about the daemon's work.

The ledger has no copy of them: what a process had not written when it ended is lost.
"""

from __future__ import annotations

from spotlightd.datasets.system.table import label_column, system_table, time_column
from spotlightd.model.dataset import Column

heartbeats = system_table(
    "heartbeats",
    "Heartbeats",
    "The state of each flow, written by the loop that does the work: a flow that hangs writes none.",
    (
        time_column("at", "when the heartbeat was written"),
        label_column("flow", "the flow"),
        Column("beats", "UInt32", "how often its loop ran since the row before"),
        Column("expected_per_minute", "Float64", "how often it should run, when nothing is wrong"),
        Column("lag", "Float64", "how far behind it is", unit="s"),
        Column("queue", "UInt64", "how much waits for it", unit="items"),
        time_column("last_event_at", "when it last had something to do; 1970 when never"),
        label_column("state", "running, waiting, holding, failed or stopped"),
        Column("error", "String", "what holds it up, in a sentence"),
    ),
    order=("flow", "at"),
    partition="toYYYYMM(at)",
    hot_days=60,
    rhythm="every few seconds",
)

disks = system_table(
    "disks",
    "Disks",
    "How full the file systems were: one row a minute for each. The forecast of when one will be full uses them.",
    (
        time_column("at", "when the row was written"),
        label_column("filesystem", "where the file system is mounted"),
        Column("size", "UInt64", "usable size", unit="bytes"),
        Column("used", "UInt64", "used space, the ballast included", unit="bytes"),
        Column("ballast", "UInt64", "space that the ballast file takes", unit="bytes"),
        label_column("level", "the level that the watermarks give for that"),
    ),
    order=("filesystem", "at"),
    partition="toYYYYMM(at)",
    hot_days=60,
    rhythm="every minute",
)

logs = system_table(
    "logs",
    "Log",
    "What the daemon logged: one row for each event, with names from a closed list. Where events were left out, because "
    "too many came or the table could not be written, a row tells how many.",
    (
        time_column("at", "when it was logged"),
        label_column("level", "debug, info, warning, error or critical"),
        label_column("event", "what happened, in a few constant words"),
        label_column("flow", "the flow that logged it; empty when it was none"),
        label_column("source", "the source that it is about; empty when none"),
        Column("load_id", "UInt64", "the load that it is about; 0 when none"),
        Column("run", "String", "identifies the attempt that it belongs to: one look for documents, or one document"),
        Column("request", "String", "identifies the page request that it belongs to, as in its header X-Request-Id"),
        Column("fields", "String", "all other values of the event, as a JSON object; long texts are cut in the middle"),
        Column("process", "UInt32", "process id of the daemon"),
        time_column("started_at", "when that process began to record its log"),
        Column("seq", "UInt64", "number of events that the process had logged by then; jumps where some were left out"),
    ),
    order=("at", "started_at", "seq"),
    partition="toYYYYMMDD(at)",
    hot_days=30,
)
