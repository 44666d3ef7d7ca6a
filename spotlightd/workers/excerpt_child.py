"""The surroundings of a line of a document, read in a process of its own that lives for that one question.

A reader may point at any line of any document, and documents are untrusted: so the archive is opened neither in the
daemon nor in the parser that loads documents. The answer is JSON on standard output; the limits are the parser's.

`python -m spotlightd.workers.excerpt_child` reads one JSON object from standard input.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from spotlightd.errors import FormatError
from spotlightd.model.provenance import Body
from spotlightd.parse import lines, zipped
from spotlightd.settings.sources import ParserSettings

MOST_CHARACTERS = 4_000
CPU_SECONDS = 20


def excerpt(body: Body, member: int, line: int, around: int) -> tuple[str, list[tuple[int, str]]]:
    """The member's name ("" when the document is no archive) and the lines from line-around to line+around."""
    name, pieces = _member(body, member)
    first, last = max(1, line - around), line + around
    found: list[tuple[int, str]] = []
    for block in lines.blocks(pieces, "latin-1", member=member):
        if block.first + block.count <= first:
            continue
        texts = block.text.decode().split("\n")
        wanted = range(max(first, block.first), min(last + 1, block.first + block.count))
        found += [(number, texts[number - block.first][:MOST_CHARACTERS]) for number in wanted]
        if block.first + block.count > last:
            break
    if not any(number == line for number, _ in found):
        raise FormatError(f"{body.name} has no line {line} in member {member}", member=member, line=line)
    return name, found


def _member(body: Body, index: int) -> tuple[str, Iterator[bytes]]:
    with body.path.open("rb") as file:
        is_zip = file.read(2) == b"PK"
    if not is_zip:
        return "", _plain(body.path)
    members = zipped.members(body)
    if index >= len(members):
        raise FormatError(f"{body.name} holds {len(members)} files, so there is no member {index}", member=index)
    return members[index].name, zipped.pieces(members[index])


def _plain(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(zipped.PIECE_BYTES):
            yield piece


def answer(asked: dict[str, Any]) -> dict[str, Any]:
    """The excerpt, or the sentence of the FormatError."""
    body = Body(Path(asked["path"]), asked["name"], ParserSettings(**asked["limits"]))
    try:
        name, found = excerpt(body, asked["member"], asked["line"], asked["around"])
    except FormatError as problem:
        return {"error": str(problem), "member": problem.member, "line": problem.line}
    return {"name": name, "lines": found}


def main() -> None:
    asked = json.load(sys.stdin)
    memory = asked["limits"]["memory_bytes"]
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    json.dump(answer(asked), sys.stdout)


if __name__ == "__main__":
    main()
