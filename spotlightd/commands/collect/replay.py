"""`replay`: decodes the stored frames of a stream again."""

from __future__ import annotations

import argparse

from spotlightd.commands.command import Command, argument, check_day_range, day_range
from spotlightd.commands.jobs import watch_job
from spotlightd.commands.output import Out
from spotlightd.errors import SettingsError
from spotlightd.flows.stream.parts import Parts
from spotlightd.flows.stream.replay import ReplayResult
from spotlightd.model.stream import Stream, frames_of
from spotlightd.ports.ledger import Job
from spotlightd.ports.progress import to_checkpoint
from spotlightd.runtime.catalog import load_catalog
from spotlightd.runtime.endpoint import find_daemon
from spotlightd.runtime.instance import LEDGER_FILE, open_instance
from spotlightd.runtime.streams import make_replay
from spotlightd.settings.settings import Settings

COLUMNS = ("day", "part", "rows", "rejects")


async def run(arguments: argparse.Namespace, settings: Settings, out: Out) -> int:
    """Decode the frames again and switch readers to the result. Beside a running daemon the daemon does it."""
    source = find_stream(arguments.source, settings)
    check_day_range(arguments.first, arguments.last)
    if find_daemon(settings) is not None:
        return await watch_job(Job("replay", source.name, arguments.first, arguments.last), settings, out)
    if not (settings.state_dir / LEDGER_FILE).exists():
        raise SettingsError(f"there is nothing in {settings.state_dir} to replay: name the state folder with --state")
    async with open_instance(settings) as instance:
        instance.require_tables((frames_of(source),))
        parts = Parts(instance.ledger, instance.publications, instance.positions)
        replay = make_replay(source, instance, parts)
        with out.progress(f"replay {source.name}") as progress:
            results = await replay.replay_days(arguments.first, arguments.last, to_checkpoint(progress))
    _print_results(source, results, out)
    return 0


def _print_results(source: Stream, results: list[ReplayResult], out: Out) -> None:
    rows = [(str(result.day), result.part, result.rows, result.rejects) for result in results]
    if out.as_json:
        out.value({"source": source.name, "parts": [dict(zip(COLUMNS, row, strict=True)) for row in rows]})
        return
    out.table(COLUMNS, [tuple(map(str, row)) for row in rows])


def find_stream(name: str, settings: Settings) -> Stream:
    """The stream with that name. SettingsError when there is none."""
    streams = {stream.name: stream for stream in load_catalog(settings).streams}
    if name not in streams:
        raise SettingsError(f"no stream is called {name!r}; there are: {', '.join(streams)}")
    return streams[name]


COMMAND = Command(
    "replay",
    "decode the stored frames of a stream again, after its decoder was corrected",
    "spotlightd replay finnhub --from 2026-03-01 --to 2026-03-31",
    (
        argument("source", metavar="SOURCE", help="name of a stream"),
        *day_range("first day of receipt, 2026-03-01", "last day of receipt, included"),
    ),
    run,
)
