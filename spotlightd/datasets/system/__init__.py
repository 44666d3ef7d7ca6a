"""The system tables: what was fetched, tried, rejected and published can be read like any other dataset.

Where a table is declared: `records` has the tables that are copied from the ledger, `operations` those about
the daemon's own work, `indexes` those that every query needs, `publishers` those about what publishers do.
"""

from __future__ import annotations

from spotlightd.datasets.system.indexes import archives, hidden_rows, loads
from spotlightd.datasets.system.operations import disks, heartbeats, logs
from spotlightd.datasets.system.publishers import quiet_changes, scorecard
from spotlightd.datasets.system.records import MIRRORED, documents, gaps, lost_frames, rejects, runs

__all__ = [
    "MIRRORED", "SYSTEM_DATASETS", "archives", "disks", "documents", "gaps", "heartbeats", "hidden_rows", "loads", "logs", "lost_frames",
    "quiet_changes", "rejects", "runs", "scorecard",
]  # fmt: skip

SYSTEM_DATASETS = (
    documents,
    runs,
    rejects,
    loads,
    gaps,
    lost_frames,
    heartbeats,
    archives,
    hidden_rows,
    logs,
    disks,
    scorecard,
    quiet_changes,
)
