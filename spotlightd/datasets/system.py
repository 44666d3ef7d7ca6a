"""The system tables: what was fetched, tried, rejected and published can be read like any other dataset."""

from __future__ import annotations

from spotlightd.datasets.system_indexes import archives, loads
from spotlightd.datasets.system_operations import disks, heartbeats, logs
from spotlightd.datasets.system_records import MIRRORED, documents, gaps, lost_frames, rejects, runs

__all__ = [
    "MIRRORED", "SYSTEM_DATASETS", "archives", "disks", "documents", "gaps", "heartbeats", "loads", "logs", "lost_frames",
    "rejects", "runs",
]  # fmt: skip

SYSTEM_DATASETS = (documents, runs, rejects, loads, gaps, lost_frames, heartbeats, archives, logs, disks)
