"""`cite`: writes a citation."""

from __future__ import annotations

import argparse

from spotlightd.commands.command import Command, argument
from spotlightd.commands.output import Out
from spotlightd.commands.receipts.library import make_library
from spotlightd.commands.session import describe_problem, open_session, parse_as_of
from spotlightd.errors import SettingsError
from spotlightd.query import citation, verify
from spotlightd.query.errors import HttpProblem
from spotlightd.settings.settings import Settings


async def run(arguments: argparse.Namespace, settings: Settings, out: Out) -> int:
    """Print a citation of that address."""
    async with open_session(settings) as session:
        try:
            cited = await verify.cite(make_library(session), arguments.address, parse_as_of(arguments.as_of))
        except HttpProblem as problem:
            raise SettingsError(describe_problem(problem)) from None
    out.value(citation.to_json(cited))
    return 0


COMMAND = Command(
    "cite",
    "write a citation of an address of the explorer",
    'spotlightd cite "/data/sec_ftd?symbol=GME" > gme.citation.json',
    (
        argument("address", metavar="ADDRESS", help="address within the explorer, such as /data/sec_ftd?symbol=GME"),
        argument("--as-of", metavar="TIME", default="", help="as known at that time: 2021-03-01 or RFC 3339"),
    ),
    run,
)
