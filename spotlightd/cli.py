"""The command line: which words there are, what each may be told, and what its exit status means.

A command without a running daemon starts what it needs; beside a running one it joins it, through the address and
secret that the daemon leaves in its state folder for its own user.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from spotlightd import __version__, log
from spotlightd.commands import archive as archiving
from spotlightd.commands import bundle, collect, demo, new_source, receipts, server_config
from spotlightd.commands import query as looking
from spotlightd.commands import replay as streams
from spotlightd.commands import run as serving
from spotlightd.commands.output import Out
from spotlightd.errors import FormatError, InUseError, PublisherError, SettingsError, SpotlightError, StoreError
from spotlightd.settings.load import load
from spotlightd.settings.settings import Settings
from spotlightd.workers.confine import without_pandas

Command = Callable[[argparse.Namespace, Settings, Out], Coroutine[Any, Any, int]]

EXIT = """exit status:
   0  done; for verify and audit: the same
   1  differs, or was found wanting
   2  the command was misspelt
  65  a document is not what it should be
  69  a publisher, or the daemon, did not answer
  74  the warehouse, documents, ledger or disk refused
  75  the state folder is in use by another daemon
  78  a setting must be put right first
"""
STATUSES: tuple[tuple[type[SpotlightError], int], ...] = (
    (InUseError, 75),
    (FormatError, 65),
    (PublisherError, 69),
    (StoreError, 74),
    (SettingsError, 78),
)


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    top = argparse.ArgumentParser(
        prog="spotlightd",
        description="Collects what powerful institutions must publish; keeps it, shows it and cites it, with receipts.",
        epilog=EXIT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"spotlightd {__version__}")
    words = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _serve(words)
    _collect(words)
    _look(words)
    _streams(words)
    _receipts(words)
    _bundle(words)
    _archive(words)
    _make(words)
    return top


def _word(words: Any, name: str, run: Command, says: str, example: str) -> argparse.ArgumentParser:
    made: argparse.ArgumentParser = words.add_parser(
        name,
        help=says,
        description=says[0].upper() + says[1:] + ".",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.set_defaults(run=run)
    made.add_argument("--config", type=Path, metavar="FILE", help="settings in TOML; without it all defaults hold")
    made.add_argument(
        "--state", type=Path, metavar="DIR", help="folder of everything that is kept (default: state_dir)"
    )
    made.add_argument("--json", action="store_true", help="answer in JSON on standard output, for programs")
    return made


def _serve(words: Any) -> None:
    _word(words, "run", serving.run, "run the daemon until SIGTERM", "spotlightd run --config /etc/spotlightd.toml")
    showing = _word(
        words, "demo", demo.demo, "run the daemon on real files that are replayed here; no keys, no network",
        "spotlightd demo --port 8080",
    )  # fmt: skip
    showing.add_argument("--port", type=int, default=8080, help="port of the explorer; taken: the next free one")
    showing.add_argument("--once", action="store_true", help="load what is due, print a summary in JSON, and end")
    check = "see whether the daemon could start: settings, secrets, sources, stores"
    _word(words, "check", serving.check, check, "spotlightd check --config /etc/spotlightd.toml")


def _collect(words: Any) -> None:
    says = "what is collected, when it is due, and how late it is"
    _word(words, "sources", collect.sources, says, "spotlightd sources")
    backfill = _word(
        words, "backfill", collect.backfill, "collect a span of days of one source; goes on where it was stopped",
        "spotlightd backfill sec_ftd --from 2004-03-22 --to 2009-06-30",
    )  # fmt: skip
    backfill.add_argument("source", metavar="SOURCE")
    backfill.add_argument(
        "--from", dest="first", type=_day, default=date.min, metavar="DAY", help="first day, 2021-01-31"
    )
    backfill.add_argument("--to", dest="last", type=_day, default=date.max, metavar="DAY", help="last day, included")
    rebuild = "make the warehouse's copies of the ledger's records anew, those in the archive left alone"
    _word(words, "rebuild", collect.rebuild, rebuild, "spotlightd rebuild")


def _look(words: Any) -> None:
    trying = _word(
        words, "try", looking.attempt, "parse one file and show its rows; nothing is stored",
        "spotlightd try sec_ftd cnsfails202101a.zip",
    )  # fmt: skip
    trying.add_argument("source", metavar="SOURCE", help="name of a source, or a .py file with one")
    trying.add_argument("file", type=Path, metavar="FILE")
    trying.add_argument("--rows", type=int, default=10, help="how many rows and rejects to show (default: 10)")
    query = _word(
        words, "query", looking.query, "ask the warehouse in SQL; a dataset's name means its visible rows",
        'spotlightd query "SELECT symbol, max(quantity) FROM sec_ftd GROUP BY symbol ORDER BY 2 DESC LIMIT 5"',
    )  # fmt: skip
    query.add_argument("sql", metavar="SQL")
    query.add_argument("--as-of", metavar="TIME", default="", help="as it was known then: 2021-03-01 or RFC 3339")
    export = _word(
        words, "export", looking.export, "write a whole dataset, or a part of it, to a file or standard output",
        "spotlightd export sec_ftd --format parquet --where symbol=GME --to gme.parquet",
    )  # fmt: skip
    export.add_argument("dataset", metavar="DATASET")
    export.add_argument(
        "--format", choices=("parquet", "csv", "arrow", "ndjson"), default="csv", help="form of the file (default: csv)"
    )
    export.add_argument(
        "--where", action="append", default=[], metavar="COLUMN=VALUE",
        help="only such rows; also COLUMN__gte=VALUE and so on, as in the explorer's addresses",
    )  # fmt: skip
    export.add_argument("--as-of", metavar="TIME", default="", help="as it was known then")
    export.add_argument("--to", type=Path, metavar="FILE", help="the file to write; standard output without it")


def _streams(words: Any) -> None:
    replay = _word(
        words, "replay", streams.replay, "decode kept frames of a stream again, after its decode was mended",
        "spotlightd replay finnhub --from 2026-03-01 --to 2026-03-31",
    )  # fmt: skip
    replay.add_argument("source", metavar="SOURCE")
    replay.add_argument(
        "--from", dest="first", type=_day, default=date.min, metavar="DAY", help="first day of receipt, 2026-03-01"
    )
    replay.add_argument(
        "--to", dest="last", type=_day, default=date.max, metavar="DAY", help="last day of receipt, included"
    )
    tail = _word(
        words, "tail", streams.tail, "show the messages of a topic as they go by, with offset and age",
        "spotlightd tail finnhub --last 20",
    )  # fmt: skip
    tail.add_argument("topic", metavar="TOPIC", help="name of a stream")
    tail.add_argument("--partition", type=int, default=0, help="which partition (default: 0)")
    tail.add_argument("--last", type=int, default=10, help="how many older messages to show first (default: 10)")
    tail.add_argument("--once", action="store_true", help="end after those that are there now")


def _receipts(words: Any) -> None:
    cite = _word(
        words, "cite", receipts.cite, "write a citation of an address of the explorer",
        'spotlightd cite "/data/sec_ftd?symbol=GME" > gme.citation.json',
    )  # fmt: skip
    cite.add_argument(
        "address", metavar="ADDRESS", help="address within the explorer, such as /data/sec_ftd?symbol=GME"
    )
    cite.add_argument("--as-of", metavar="TIME", default="", help="as it was known then")
    verify = _word(
        words, "verify", receipts.verify, "run a citation again here and say whether the result is the same",
        "spotlightd verify gme.citation.json --fetch",
    )  # fmt: skip
    verify.add_argument("file", type=Path, metavar="FILE")
    verify.add_argument("--fetch", action="store_true", help="fetch documents that are missing here, then compare")
    audit = _word(
        words, "audit", receipts.audit, "read every visible row again from its document and compare",
        "spotlightd audit sec_ftd",
    )  # fmt: skip
    audit.add_argument("dataset", metavar="DATASET", nargs="?", default="", help="all datasets without it")


def _bundle(words: Any) -> None:
    packing = _word(
        words, "bundle", bundle.bundle,
        "write rows and the documents or frames that they lead back to into one file, for another instance to import",
        "spotlightd bundle sec_ftd --from 2021-01-01 --to 2021-01-31 --out january.bundle.tar",
    )  # fmt: skip
    packing.add_argument("dataset", metavar="DATASET")
    packing.add_argument(
        "--from", dest="first", type=_day, default=date.min, metavar="DAY",
        help="first day of rows, 2021-01-31; a document with rows of these days comes as a whole",
    )  # fmt: skip
    packing.add_argument(
        "--to", dest="last", type=_day, default=date.max, metavar="DAY", help="last day of rows, included"
    )
    packing.add_argument(
        "--out", type=Path, metavar="FILE", help="the file to write; without it DATASET-FROM-TO.bundle.tar here"
    )
    bringing = _word(
        words, "import", bundle.bring,
        "import a bundle of another instance: its documents are kept and read again here, and the rows compared",
        "spotlightd import january.bundle.tar",
    )  # fmt: skip
    bringing.add_argument("file", type=Path, metavar="FILE", help="what `spotlightd bundle` wrote")


def _archive(words: Any) -> None:
    archive = _word(
        words, "archive", archiving.archive, "what is old enough to leave the warehouse, and how far it is on its way",
        "spotlightd archive status",
    )  # fmt: skip
    archive.add_argument(
        "verb", choices=("plan", "run", "status", "retry"),
        help="plan: what is due; run: take all as far as it goes now; status: how far everything is; retry: take a"
        " partition that is held up again, when somebody has looked",
    )  # fmt: skip
    archive.add_argument("dataset", metavar="DATASET", nargs="?", default="", help="for retry: of which dataset")
    archive.add_argument("--partition", default="", metavar="NAME", help="for retry: as `archive status` names it")
    restore = _word(
        words, "restore", archiving.restore, "bring rows of an archived partition back into the warehouse",
        "spotlightd restore trades --partition 20260131-0 --into january",
    )  # fmt: skip
    restore.add_argument("dataset", metavar="DATASET")
    restore.add_argument("--partition", required=True, metavar="NAME", help="as `archive status` names it: 20260131-0")
    restore.add_argument(
        "--into", default="", metavar="TABLE", help="a new table of that name, instead of its own place"
    )
    says = "restore an archived partition drawn by lot to a scratch table, and compare"
    _word(words, "drill", archiving.drill, says, "spotlightd drill")


def _make(words: Any) -> None:
    new = _word(
        words, "new-source", new_source.new_source, "write the skeleton of a source and a golden case that fails",
        "spotlightd new-source finra_otc --folder etl",
    )  # fmt: skip
    new.add_argument("name", metavar="NAME", help="lower case letters, digits and _")
    new.add_argument("--folder", type=Path, default=Path(), help="where to write it (default: here)")
    told = _word(
        words, "server-config", server_config.server_config,
        "write the configuration of a ClickHouse server that keeps cold parts in the bucket's store",
        "spotlightd server-config --config /etc/spotlightd.toml --to /etc/clickhouse-server/config.d",
    )  # fmt: skip
    told.add_argument("--to", type=Path, required=True, metavar="DIR", help="folder to write the two files into")
    told.add_argument("--replace", action="store_true", help="write over files of an earlier time")


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a day like 2021-01-31") from None


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; answers its exit status."""
    without_pandas()
    arguments = parser().parse_args(argv)
    out = Out(as_json=arguments.json)
    try:
        settings = load(arguments.config)
        if arguments.state is not None:
            settings = replace(settings, state_dir=arguments.state)
        told = settings.log.level if arguments.run in {serving.run, demo.demo} else "warning"
        log.configure(told, settings.log.format)
        status: int = asyncio.run(arguments.run(arguments, settings, out))
    except SpotlightError as problem:
        out.problem(problem)
        return next(status for kind, status in STATUSES if isinstance(problem, kind))
    except BrokenPipeError:  # whoever read our output has had enough
        sys.stderr.close()
        return 0
    except KeyboardInterrupt:
        return 130
    return status
