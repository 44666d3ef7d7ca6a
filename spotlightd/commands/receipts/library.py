"""What the commands cite and verify read from."""

from __future__ import annotations

from spotlightd.commands.session import QUERY_WAIT_SECONDS, Session
from spotlightd.ports.warehouse import Limits
from spotlightd.query.citation import Library


def make_library(session: Session) -> Library:
    """The datasets and the warehouse, with ten times the time of a page for one query."""
    limits = Limits(seconds=QUERY_WAIT_SECONDS * 10)
    return Library(session.warehouse, session.datasets, limits, session.archives)
