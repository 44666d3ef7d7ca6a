"""`/archive`: which partitions have left the warehouse or are on their way, how their copies were proven, and where raw
documents lie.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from aiohttp import web

from spotlightd.model.partition import UNDER_WAY, ArchiveState, Partition
from spotlightd.web import responses
from spotlightd.web.state import APP_STATE

MOST = 500
BEFORE = tuple(one for one in UNDER_WAY if one != "switched")
SAYS = {
    "planned": "old enough; to be sealed",
    "sealed": "holds what it holds: later rows get another generation",
    "exported": "written as Parquet, to be sent",
    "uploaded": "in the bucket, to be proven",
    "verified": "read back and the same; in its days of grace",
    "switched": "read from the bucket; the original rests before it is dropped",
    "dropped": "in the bucket alone",
    "held": "not as it must be: nothing is dropped, somebody has to look",
    "restored": "back in the warehouse, by hand",
}
CHECKED = {"audit": "Last audit", "drill": "Last drill", "documents": "Last look at documents"}
TAGS = {"dropped": "green", "switched": "green", "held": "red", "verified": "amber"}


async def show_archive(request: web.Request) -> web.StreamResponse:
    state, keeping = request.app[APP_STATE].context.archive(), request.app[APP_STATE].context.keeping()
    if request.path.endswith(".json"):
        return responses.document(request, {**told(state), "documents": asdict(keeping)})
    archived = state.of("switched", "dropped")
    first = (*state.of("held"), *state.of(*UNDER_WAY))
    shown = (*first, *(one for one in reversed(state.partitions) if one not in first))
    return responses.page(request, "archive.html", {
        "state": state, "keeping": keeping, "says": SAYS, "checked": CHECKED, "tags": TAGS, "shown": shown[:MOST], "left_out": max(len(shown) - MOST, 0),
        "archived": archived, "rows": sum(one.fingerprint.rows for one in archived),
        "size": sum(one.size for one in archived), "under_way": state.of(*BEFORE), "held": state.of("held"),
    })  # fmt: skip


def summary(state: ArchiveState) -> str:
    """The archive in a few sentences."""
    archived, held = state.of("switched", "dropped"), state.of("held")
    said = [f"{len(archived):,} partitions with {sum(one.fingerprint.rows for one in archived):,} rows are archived"]
    if under_way := state.of(*BEFORE):
        said.append(f"{len(under_way):,} are on their way")
    sentences = [", ".join(said) + "."]
    sentences += [f"{len(held)} are held: {held[0].says}."] if held else []
    sentences += [f"It waits: {state.trouble}."] if state.trouble else []
    for kind, one in state.checks.items():
        sentences.append(f"{CHECKED[kind]} {one.at:%Y-%m-%d %H:%M} UTC: {one.says}.")
    return " ".join(sentences)


def told(state: ArchiveState) -> dict[str, Any]:
    """For JSON. Hashes are texts: they have more digits than a reader of JSON need keep."""
    return {
        "trouble": state.trouble,
        "hot_days": dict(state.hot_days),
        "checks": {kind: {"at": one.at, "well": one.well, "says": one.says} for kind, one in state.checks.items()},
        "partitions": [_told(one) for one in state.partitions],
    }


def _told(one: Partition) -> dict[str, Any]:
    mark = one.fingerprint
    return {
        "dataset": one.dataset, "partition": one.id, "day": one.day.isoformat(), "stage": one.stage, "since": one.since,
        "rows": mark.rows, "bytes": one.size, "sha256": one.digest, "total": str(mark.total), "mixed": str(mark.mixed),
        "objects": list(one.keys), "manifest": one.manifest, "says": one.says,
    }  # fmt: skip
