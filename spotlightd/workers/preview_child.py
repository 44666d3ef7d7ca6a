"""The child that parses a document for `try`: the number of rows and rejects, and the first few of each."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from spotlightd.model.provenance import Reject
from spotlightd.model.source import Rows
from spotlightd.settings.sources import ParserSettings
from spotlightd.workers import loader
from spotlightd.workers.child_setup import answer_once
from spotlightd.workers.inline import parse_inline
from spotlightd.workers.threads import start_parsing_threads


def preview_document(request: dict[str, Any]) -> dict[str, Any]:
    source = loader.find_source(loader.load_sources(request["place"]), request["place"], request["source"])
    rows: dict[str, int] = {}
    samples: dict[str, list[dict[str, Any]]] = {}
    rejects: list[dict[str, Any]] = []
    most, count = int(request["rows"]), 0
    limits = ParserSettings(**request["limits"])
    for block in parse_inline(source, Path(request["path"]), request["name"], limits):
        if isinstance(block, Reject):
            count += 1
            rejects += [asdict(block)] * (count <= most)
            continue
        _add_rows(block, rows, samples, most)
    return {"rows": rows, "samples": samples, "count": count, "rejects": rejects}


def _add_rows(block: Rows, rows: dict[str, int], samples: dict[str, list[dict[str, Any]]], most: int) -> None:
    name = block.dataset.name
    rows[name] = rows.get(name, 0) + block.columns.num_rows
    wanted = most - len(samples.setdefault(name, []))
    samples[name] += block.columns.slice(0, max(wanted, 0)).to_pylist()


run = answer_once(preview_document, start_parsing_threads)
