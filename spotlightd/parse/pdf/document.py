"""Opens a PDF that is not trusted. What its libraries raise on a broken file becomes a FormatError with the reason.

Limits of time and memory are those of the process (measured: a file of 1.9 kB that unpacks to 800 MB ends with a
MemoryError). The number of pages is limited here, because each page costs.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from os import SEEK_END
from typing import Any

from spotlightd.errors import FormatError
from spotlightd.model.provenance import Body

BEGIN, END = b"%PDF-", b"%%EOF"
END_BYTES = 1_024
"""The last mark of a PDF is within so many bytes of its end."""

MOST_PAGES = 200
"""A monthly report has some 30 pages."""

_BROKEN = (
    ArithmeticError, AssertionError, AttributeError, LookupError, NotImplementedError, RecursionError, TypeError, ValueError,
    struct.error, zlib.error,
)  # fmt: skip
"""What pdfminer.six 20260107 raises on broken files, besides its own errors: it trusts the types of objects in the file."""


@contextmanager
def open_tables(body: Body) -> Iterator[Any]:
    """The document as a pdfplumber.PDF. FormatError if it is not a PDF, is broken, encrypted or has too many pages."""
    import pdfplumber  # noqa: PLC0415  (see the docstring of this package)
    from pdfminer.psexceptions import PSException  # noqa: PLC0415
    from pdfplumber.utils.exceptions import PdfminerException  # noqa: PLC0415

    _require_whole(body)
    try:
        with pdfplumber.open(body.path) as document:
            _require_pages(body, len(document.pages))
            yield document
    except (PdfminerException, PSException, *_BROKEN) as problem:
        raise FormatError(f"{body.name} is a PDF that cannot be read: {describe_problem(problem)}") from problem


@contextmanager
def open_characters(body: Body) -> Iterator[Any]:
    """The document as a pypdfium2.PdfDocument. FormatError as above."""
    import pypdfium2  # noqa: PLC0415  (see the docstring of this package)

    _require_whole(body)
    try:
        document = pypdfium2.PdfDocument(body.path)
    except pypdfium2.PdfiumError as problem:
        raise FormatError(f"{body.name} is a PDF that cannot be read: {describe_problem(problem)}") from problem
    try:
        _require_pages(body, len(document))
        yield document
    finally:
        document.close()


def is_pdf(body: Body) -> bool:
    with body.path.open("rb") as file:
        return file.read(len(BEGIN)) == BEGIN


def describe_problem(problem: BaseException) -> str:
    """The deepest reason, as its library puts it."""
    reason = problem.args[0] if problem.args and isinstance(problem.args[0], BaseException) else problem
    return f"{type(reason).__name__} {reason}".strip()[:500]


def _require_whole(body: Body) -> None:
    """Both libraries read what is left of a document that was cut off, and do not say that something is missing."""
    if not is_pdf(body):
        raise FormatError(f"{body.name} is not a PDF: it does not begin with {BEGIN.decode()}")
    with body.path.open("rb") as file:
        file.seek(max(0, file.seek(0, SEEK_END) - END_BYTES))
        if END not in file.read():
            raise FormatError(f"{body.name} is a PDF that is cut off: it does not end with {END.decode()}")


def _require_pages(body: Body, pages: int) -> None:
    if pages > MOST_PAGES:
        raise FormatError(f"{body.name} has {pages:,} pages, more than the {MOST_PAGES} allowed")
