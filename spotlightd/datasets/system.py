"""The system tables: what was fetched, tried, rejected and published can be read like any other dataset.

Where a table is declared: `system_records` has the tables that are copied from the ledger, `system_operations` those about
the daemon's own work, `system_indexes` those that every query needs.
"""

from __future__ import annotations

from spotlightd.datasets.system_indexes import archives, loads
from spotlightd.datasets.system_operations import disks, heartbeats, logs
from spotlightd.datasets.system_records import MIRRORED, documents, gaps, lost_frames, rejects, runs

__all__ = [
    "MIRRORED", "SYSTEM_DATASETS", "archives", "disks", "documents", "gaps", "heartbeats", "loads", "logs", "lost_frames",
    "rejects", "runs",
]  # fmt: skip

SYSTEM_DATASETS = (documents, runs, rejects, loads, gaps, lost_frames, heartbeats, archives, logs, disks)
