"""What the address of a page may say, and the files that a page offers."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from spotlightd.query.errors import bad_parameter

FORMATS = ("csv", "parquet", "json", "arrow", "ndjson")
"""The files that a page links to, those that most people open first."""


def refuse_unknown(request: web.Request, known: Sequence[str], remedy: str = "") -> None:
    """HttpProblem(400) for a parameter that the page does not take."""
    if unknown := [name for name in request.query if name not in known]:
        raise bad_parameter(unknown[0], "there is no such parameter", remedy or f"This page takes {', '.join(known)}.")


def read_choice(request: web.Request, name: str, choices: Sequence[str], default: str = "") -> str:
    """One of the choices, or the default. HttpProblem(400) for anything else."""
    text = request.query.get(name, "") or default
    if text != default and text not in choices:
        raise bad_parameter(name, f"{text!r} is not one of {', '.join(choices)}")
    return text
