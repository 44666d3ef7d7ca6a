"""Reads the line that a row points to and its neighbours for a page, in a limited child process."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from spotlightd.confinement.answers import read_fields, read_flag, read_list, read_number, read_text
from spotlightd.errors import StoreError
from spotlightd.ports.ledger import Ledger
from spotlightd.ports.parser import Excerpt, ExcerptLine
from spotlightd.ports.storage import Documents
from spotlightd.settings.sources import ParserSettings
from spotlightd.workers.child_process import read_document, warn_unless_confined

MOST_SECONDS = 30
CPU_SECONDS = 20
AT_ONCE = 2
MODULE = "spotlightd.workers.excerpt_child"
MOST_PICTURE = 16 << 20  # characters
NO_THREADS = {"NPROC": (0, 0)}


class ExcerptReader:
    """Reads lines around a given line, each time in a new child; two at a time. `confinement` says how the last child was
    confined, and is empty before the first one.
    """

    def __init__(
        self, documents: Documents, ledger: Ledger, limits: ParserSettings, log: Callable[..., Any] | None = None
    ) -> None:
        self._documents, self._ledger, self._log = documents, ledger, log or (lambda *_, **__: None)
        self._limits = replace(limits, cpu_seconds=CPU_SECONDS, wall_seconds=float(MOST_SECONDS))
        self._gate = asyncio.Semaphore(AT_ONCE)
        self.confinement = ""

    async def __call__(
        self, digest: str, member: int, line: int, around: int, *, with_picture: bool = False
    ) -> Excerpt:
        document = await self._ledger.document(digest)
        if document is None:
            raise StoreError(f"there is no document {digest}")
        request: dict[str, Any] = {"name": document.name, "member": member, "line": line, "around": around}
        request["with_picture"] = with_picture
        async with self._documents.file(digest) as path, self._gate:
            request["path"] = str(path)
            confinement, excerpt = await read_document(MODULE, request, self._limits, _read_excerpt, NO_THREADS)
        self.confinement = warn_unless_confined("excerpt", confinement, self.confinement, self._log)
        return excerpt


def _read_excerpt(answer: Any) -> Excerpt:
    name, lines, is_page, picture = read_fields(answer, "name", "lines", "is_page", "picture")
    pairs = [read_list(pair) for pair in read_list(lines)]
    return Excerpt(
        read_text(name),
        tuple(ExcerptLine(read_number(number), read_text(text)) for number, text in pairs),
        read_flag(is_page),
        base64.b64decode(read_text(picture, MOST_PICTURE), validate=True),
    )
