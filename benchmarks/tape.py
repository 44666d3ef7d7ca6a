"""Credit index trades and overnight rates of a real day, point by point beside `openbb-cftc` reading the same files.

    python -m venv /tmp/peer && /tmp/peer/bin/pip install openbb-cftc==2.0.0
    python benchmarks/tape.py --peer /tmp/peer/bin/python

The peer (Apache-2.0) fetches a file, parses it and selects, for each question anew. Both read DTCC's files of 2026-07-15 that
are in the package. Its curve takes vanilla prints at spot, by benchmark tenor, as the median, one currency a question.

first_s    processor seconds from the files to all answers, the first time: ours parses, publishes and derives first
answer_ms  processor milliseconds of a later question: the trades of one index, the curve of one currency
tape       credit index prints: theirs are messages, ours are trades; `changed` of ours have several messages
nodes      points (currency, tenor) that both have, that only one has, and the largest difference of the rates of those with the
           same number of prints. Ours has fewer prints where theirs counts legs of packages, swaps with another payment or a
           spread, and what was withdrawn the same day. The peer does not tell indexes of one currency apart (SOFR, Fed funds)
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import subprocess
import tempfile
import time
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from small import processor_seconds

from spotlightd import log
from spotlightd.datasets import cds_index_tape, ois_curve
from spotlightd.datasets.swap_trades import lives
from spotlightd.flows.loads.load import load_document
from spotlightd.model.provenance import Document
from spotlightd.model.source import Batch, Link
from spotlightd.runtime.derivations import make_derivation_runner
from spotlightd.runtime.instance import Instance, open_instance
from spotlightd.settings.settings import Settings
from spotlightd.sources.dtcc import cftc_credits, cftc_rates
from spotlightd.sql.changes import visible_rows
from spotlightd.sql.visibility import Snapshot

DATA = Path(__file__).resolve().parent.parent / "spotlightd/demo/data/dtcc"
CREDITS, RATES = (DATA / f"CFTC_CUMULATIVE_{name}_2026_07_15.zip" for name in ("CREDITS", "RATES"))
DAY = date(2026, 7, 15)
QUESTIONS = 20
PEER = """
import json, sys, time
from datetime import date
from openbb_cftc.utils.cds import extract_prints
from openbb_cftc.utils.curve import build_nodes, extract_observations
from openbb_cftc.utils.dtcc import parse_slice_csv
day, credits, rates, currencies = date(2026, 7, 15), sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
began = time.process_time()
prints = extract_prints(parse_slice_csv(open(credits, "rb").read()), day)
records = parse_slice_csv(open(rates, "rb").read())
nodes = {c: build_nodes(extract_observations(records, day, "NA/Swap OIS " + c, currency=c)) for c in currencies}
first = time.process_time() - began
began = time.process_time()
extract_prints(parse_slice_csv(open(credits, "rb").read()), day, index="CDX.NA.IG")
tape = time.process_time() - began
began = time.process_time()
build_nodes(extract_observations(parse_slice_csv(open(rates, "rb").read()), day, "NA/Swap OIS USD", currency="USD"))
curve = time.process_time() - began
print(json.dumps({
    "first_s": round(first, 2), "answer_ms": {"tape": round(1000 * tape), "curve": round(1000 * curve)},
    "prints": [row["Dissemination Identifier"] for row in prints],
    "nodes": {f"{c} {node['tenor']}": [node["num_trades"], node["par_rate"]] for c, found in nodes.items() for node in found},
}))
"""


async def load(instance: Instance, batch: Batch, path: Path) -> None:
    body = await asyncio.to_thread(path.read_bytes)

    async def chunks() -> Any:
        yield body

    stored = await instance.documents.folder.put(chunks())
    url = f"https://example.org/{path.name}"
    document = Document(stored.digest, stored.size, batch.name, url, "2026/07/15", datetime.now(UTC))
    await instance.ledger.save_document(document)
    result = await load_document(batch, instance.ingest_context(), Link(url, "2026/07/15", DAY, DAY), document)
    assert result.outcome == "published", result


async def measure(folder: Path) -> dict[str, Any]:
    log.configure("warning")
    async with open_instance(replace(Settings(), state_dir=folder)) as instance:
        before = sum(processor_seconds(instance).values())
        await load(instance, cftc_credits.source, CREDITS)
        await load(instance, cftc_rates.source, RATES)
        for derivation in (lives, cds_index_tape.derivation, ois_curve.derivation):
            await make_derivation_runner(derivation, instance).run_round()
        tape = await read(instance, cds_index_tape.cds_index_tape, "1")
        curve = await read(instance, ois_curve.ois_curve, f"day = '{DAY}'")
        first = sum(processor_seconds(instance).values()) - before
        answers = {
            "tape": await time_answer(instance, cds_index_tape.cds_index_tape, "credit_index = 'CDX.NA.IG'"),
            "curve": await time_answer(instance, ois_curve.ois_curve, f"currency = 'USD' AND day = '{DAY}'"),
        }
    return {"first_s": round(first, 2), "answer_ms": answers, "tape": tape, "curve": curve}


async def read(instance: Instance, dataset: Any, condition: str) -> list[dict[str, Any]]:
    names = ", ".join(column.name for column in dataset.columns)
    sql = f"SELECT {names} FROM {visible_rows(dataset, Snapshot(2**63))} WHERE {condition}"
    return (await instance.warehouse.rows(sql, {"seq": 2**63})).dicts()


async def time_answer(instance: Instance, dataset: Any, condition: str) -> float:
    before = sum(processor_seconds(instance).values())
    for _ in range(QUESTIONS):
        await read(instance, dataset, condition)
    return round(1000 * (sum(processor_seconds(instance).values()) - before) / QUESTIONS, 1)


def ask_peer(python: str, currencies: list[str]) -> Any:
    command = [python, "-c", PEER, str(CREDITS), str(RATES), json.dumps(currencies)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout)


def compare_nodes(curve: list[dict[str, Any]], theirs: dict[str, list[float]]) -> dict[str, Any]:
    """The peer has no index, so only currencies with one index of ours on the tenor are compared."""
    ours = defaultdict(list)
    for row in curve:
        ours[f"{row['currency']} {row['tenor']}"].append((row["prints"], float(row["par_rate"])))
    both = [name for name in theirs if name in ours and len(ours[name]) == 1]
    same = [name for name in both if ours[name][0][0] == theirs[name][0]]
    furthest = max((abs(ours[name][0][1] - theirs[name][1]) for name in same), default=0.0)
    return {
        "both": len(both), "same_prints": len(same), "largest_difference": furthest,
        "more": {name: [ours[name][0][0], theirs[name][0]] for name in both if ours[name][0][0] > theirs[name][0]},
        "fewer": {name: [ours[name][0][0], theirs[name][0]] for name in both if ours[name][0][0] < theirs[name][0]},
        "only_ours": sorted(ours.keys() - theirs.keys()), "only_theirs": sorted(theirs.keys() - ours.keys()),
        "several_indexes": sorted(name for name in theirs if len(ours[name]) > 1),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", default="", help="the Python of an environment with openbb-cftc 2.0.0")
    arguments, folder = parser.parse_args(), Path(tempfile.mkdtemp(prefix="spotlightd-tape-"))
    began = time.perf_counter()
    try:
        ours = asyncio.run(measure(folder))
    finally:
        shutil.rmtree(folder)
    report: dict[str, Any] = {"ours": {name: ours[name] for name in ("first_s", "answer_ms")}}
    if arguments.peer:
        theirs = ask_peer(arguments.peer, sorted({row["currency"] for row in ours["curve"]}))
        trades, prints = {row["root_id"] for row in ours["tape"]}, set(theirs["prints"])
        report["theirs"] = {name: theirs[name] for name in ("first_s", "answer_ms")}
        report["tape"] = {
            "ours": len(trades), "theirs": len(prints), "in_both": len(trades & prints),
            "only_ours": len(trades - prints), "only_theirs": len(prints - trades),
            "changed": sum(row["changes"] > 0 for row in ours["tape"]),
        }  # fmt: skip
        report["nodes"] = compare_nodes(ours["curve"], theirs["nodes"])
    print(json.dumps({**report, "wall_s": round(time.perf_counter() - began, 1)}, indent=1))


if __name__ == "__main__":
    main()
