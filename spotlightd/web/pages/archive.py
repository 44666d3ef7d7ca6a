"""`/archive`: which partitions are archived or being archived, how their copies were verified, and where raw documents
are stored.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from aiohttp import web

from spotlightd.model.partition import IN_PROGRESS, ArchiveState, Partition
from spotlightd.model.text import count
from spotlightd.web import responses
from spotlightd.web.routes import Nav, Route
from spotlightd.web.state import APP_STATE

MOST_PARTITIONS = 500
BEFORE_SWITCH = tuple(stage for stage in IN_PROGRESS if stage != "switched")
STAGE_TEXTS = {
    "planned": "old enough, not sealed yet",
    "sealed": "its rows are final: later rows of that day go to another generation",
    "exported": "written as Parquet, not uploaded yet",
    "uploaded": "in the bucket, not verified yet",
    "verified": "read back from the bucket and found identical; it stays for a period of grace",
    "switched": "read from the bucket; the original rows are dropped after a waiting time",
    "dropped": "in the bucket only",
    "held": "something is wrong: nothing is dropped, and the operator has to look at it",
    "restored": "restored to the warehouse by the operator",
}
CHECK_TITLES = {
    "audit": "Last audit",
    "drill": "Last drill",
    "documents": "Last check of documents",
    "objects": "Bucket and index at the last start",
}
TAGS = {"dropped": "green", "switched": "green", "held": "red", "verified": "amber"}


async def show_archive(request: web.Request) -> web.StreamResponse:
    state, document_tiers = request.app[APP_STATE].context.archive(), request.app[APP_STATE].context.document_tiers()
    if request.path.endswith(".json"):
        return responses.json_response(request, {**archive_to_json(state), "documents": asdict(document_tiers)})
    archived, held = state.in_stages("switched", "dropped"), state.in_stages("held")
    first = (*held, *state.in_stages(*IN_PROGRESS))
    partitions = (*first, *(partition for partition in reversed(state.partitions) if partition not in first))
    return responses.render_page(request, "archive.html", {
        "state": state, "document_tiers": document_tiers, "stage_texts": STAGE_TEXTS, "check_titles": CHECK_TITLES,
        "tags": TAGS, "partitions": partitions[:MOST_PARTITIONS],
        "more_partitions": max(len(partitions) - MOST_PARTITIONS, 0),
        "archived": archived, "rows": sum(partition.fingerprint.rows for partition in archived),
        "size": sum(partition.size for partition in archived), "held": held,
        "in_progress": state.in_stages(*BEFORE_SWITCH),
    })  # fmt: skip


def summarize(state: ArchiveState) -> str:
    """The archive in a few sentences."""
    archived, held = state.in_stages("switched", "dropped"), state.in_stages("held")
    rows = sum(partition.fingerprint.rows for partition in archived)
    verb = "is" if len(archived) == 1 else "are"
    counts = f"{count(len(archived), 'partition')} with {count(rows, 'row')} {verb} archived"
    if in_progress := state.in_stages(*BEFORE_SWITCH):
        counts += f", {count(len(in_progress), 'is being archived', 'are being archived')}"
    sentences = [f"{counts}."]
    sentences += [f"{count(len(held), 'is', 'are')} held: {held[0].detail}."] if held else []
    sentences += [f"Archiving waits: {state.error}."] if state.error else []
    sentences += [f"A shorter retention waits: {alarm}." for alarm in state.shortened]
    sentences += [
        f"{CHECK_TITLES[kind]} {check.at:%Y-%m-%d %H:%M} UTC: {check.detail}." for kind, check in state.checks.items()
    ]
    return " ".join(sentences)


def archive_to_json(state: ArchiveState) -> dict[str, Any]:
    """Hashes are texts: they have more digits than JSON readers keep of a number."""
    return {
        "error": state.error,
        "shortened": list(state.shortened),
        "hot_days": dict(state.hot_days),
        "checks": {
            kind: {"at": check.at, "passed": check.passed, "detail": check.detail}
            for kind, check in state.checks.items()
        },
        "partitions": [_partition_to_json(partition) for partition in state.partitions],
    }


def _partition_to_json(partition: Partition) -> dict[str, Any]:
    fingerprint = partition.fingerprint
    return {
        "dataset": partition.dataset, "partition": partition.id, "day": partition.day.isoformat(),
        "stage": partition.stage, "since": partition.since, "rows": fingerprint.rows, "bytes": partition.size,
        "sha256": partition.digest, "total": str(fingerprint.total), "mixed": str(fingerprint.mixed),
        "objects": list(partition.keys), "manifest": partition.manifest, "detail": partition.detail,
    }  # fmt: skip


ROUTES = (Route("/archive", show_archive), Route("/archive.json", show_archive))
NAV = Nav("Archive", "/archive", 40)
