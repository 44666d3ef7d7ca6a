"""What the parser child says about a document, each field checked: see confinement/answers.py."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from spotlightd.confinement.answers import read_fields, read_flag, read_list, read_number, read_text
from spotlightd.errors import FormatError
from spotlightd.model.provenance import Reject
from spotlightd.ports.parser import ParseResult
from spotlightd.workers.child_process import MOST_CHARACTERS

LARGEST_MEMBER, LARGEST_LINE = (1 << 16) - 1, (1 << 32) - 1  # the types of these columns
DIGEST_CHARACTERS = 2 * 64 + 1  # two digests of an archive's content


def read_rejects(value: Any) -> Iterable[Reject]:
    """The value of REJECTS."""
    for fields in read_list(value):
        member, line, text, reason, of_other_slice = read_list(fields)
        yield Reject(
            read_number(member, LARGEST_MEMBER), read_number(line, LARGEST_LINE), read_text(text), read_text(reason),
            read_flag(of_other_slice),
        )  # fmt: skip


def read_refusal(value: Any) -> FormatError:
    """The value of FAILED."""
    message, member, line = read_fields(value, "message", "member", "line")
    place = {"member": read_number(member, LARGEST_MEMBER), "line": read_number(line, LARGEST_LINE)}
    return FormatError(read_text(message, MOST_CHARACTERS), **place)


def read_result(value: Any, datasets: Iterable[str], rejects: tuple[Reject, ...]) -> ParseResult:
    """The value of DONE, for a document with rows of these datasets."""
    rows, lines, content = read_fields(value, "rows", "lines", "content")
    names = tuple(datasets)
    counts = map(read_number, read_fields(rows, *names))
    return ParseResult(
        dict(zip(names, counts, strict=True)), rejects, read_number(lines), read_text(content, DIGEST_CHARACTERS)
    )
