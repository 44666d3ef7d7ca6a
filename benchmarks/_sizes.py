"""How large each benchmark is when all of them run, and at the least. Run by name, it has its own defaults."""

from __future__ import annotations

from collections.abc import Mapping

TOGETHER: Mapping[str, str] = {
    "archive": "--rows 2000000 --rounds 2",
    "backfill": "--rounds 1",
    "bars": "--rows 5000000 --rounds 3",
    "beside": "--rows 2000000 --seconds 15 --rounds 1",
    "beside_backfill": "--documents 2000 --seconds 10",
    "coding": "--rounds 3",
    "decode": "--frames 200000 --rounds 2",
    "drain": "--frames 200000 --rounds 1",
    "flat": "--rows 100000 1000000",
    "history": "--rounds 2",
    "ingest": "--rounds 1",
    "latency": "--seconds 20 --burst-seconds 2",
    "lists": "--lists 500 --years 5 --pages 20",
    "lives": "--days 60",
    "parse": "--rounds 2",
    "pinned": "--loads 100 --others 20000 --rounds 20",
    "quiet": "--warm 30 --seconds 90",
    "reports": "--pages 40 --rounds 2",
    "rest": "--seconds 15 --starts 3",
    "scale": "--rows 100000 1000000 --frames 50000 --rounds 2",
    "securities": "--securities 200000 --volumes 2000000 --rounds 2",
    "small": "",
    "statements": "",
    "swap_pages": "--days 30 --times 20",
    "swaps": "--rounds 1",
    "tape": "",
    "verify": "--rows 2000000 --rounds 2 --days 2",
    "web": "--rows 10000000 --loads 200 --symbols 40 --download-rows 2000000 --times 3",
}
"""Twenty minutes in all, on two cores that do nothing else."""

LEAST: Mapping[str, str] = {
    "archive": "--rows 20000 --rounds 2 --reads 1",
    "backfill": "--documents 2 --rounds 1",
    "bars": "--rows 50000 --rounds 1",
    "beside": "--rate 200 --rows 20000 --seconds 2 --rounds 1",
    "beside_backfill": "--documents 5 --seconds 2",
    "coding": "--rounds 1",
    "decode": "--frames 2000 --rounds 1",
    "drain": "--frames 2000 --trades-in-a-frame 1 --rounds 1",
    "flat": "--rows 10000 20000",
    "history": "--loads 5 20 --documents 2 --rounds 1",
    "ingest": "--rows 1000 --rounds 1",
    "latency": "--rate 200 --seconds 3 --burst 10 --burst-seconds 1 --buses embedded",
    "lists": "--lists 5 --years 1 --pages 2",
    "lives": "--days 24 --a-day 400",
    "parse": "--rows 1000 --rounds 1",
    "pinned": "--loads 4 --others 100 --rounds 2",
    "quiet": "--warm 1 --seconds 3",
    "reports": "--pages 4 --rounds 1",
    "rest": "--seconds 1 --starts 1",
    "scale": "--rows 1000 2000 --frames 1000 --days 2 --rounds 1",
    "securities": "--securities 2000 --volumes 1000 --rounds 1",
    "small": "--documents 5",
    "statements": "--times 2",
    "swap_pages": "--days 1 --times 2",
    "swaps": "--rows 500 --rounds 1 --slices 5",
    "tape": "",
    "verify": "--rows 20000 --rounds 1 --days 2",
    "web": "--rows 100000 --loads 10 --symbols 3 --download-rows 10000 --times 1",
}
"""Only to see that each works: the figures say nothing."""
