"""Reads the line that a row points to and its neighbours for a page, in a limited child process."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from dataclasses import asdict, dataclass, field

from spotlightd.errors import FormatError, StoreError
from spotlightd.ports.ledger import Ledger
from spotlightd.ports.parser import Excerpt, ExcerptLine
from spotlightd.ports.storage import Documents
from spotlightd.settings.sources import ParserSettings

EXCERPT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class ExcerptReader:
    """Reads lines around a given line, each time in a new limited child process; two at a time."""

    documents: Documents
    ledger: Ledger
    limits: ParserSettings
    gate: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(2))

    async def __call__(self, digest: str, member: int, line: int, around: int) -> Excerpt:
        document = await self.ledger.document(digest)
        if document is None:
            raise StoreError(f"there is no document {digest}")
        request = {
            "name": document.name, "limits": asdict(self.limits), "member": member, "line": line, "around": around,
        }  # fmt: skip
        async with self.documents.file(digest) as path, self.gate:
            request["path"] = str(path)
            answer = json.loads(await _run_child("spotlightd.workers.excerpt_child", json.dumps(request).encode()))
        if "error" in answer:
            raise FormatError(answer["error"], member=answer["member"], line=answer["line"])
        return Excerpt(answer["name"], tuple(ExcerptLine(number, text) for number, text in answer["lines"]))


async def _run_child(module: str, request: bytes) -> bytes:
    """Run a module in a process with an empty environment. Returns its output; FormatError when it fails."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", module, stdin=PIPE, stdout=PIPE, stderr=PIPE, env={"TZ": "UTC"}
    )
    try:
        async with asyncio.timeout(EXCERPT_SECONDS):
            answer, _ = await process.communicate(request)
    except TimeoutError:
        raise FormatError(f"the document could not be read within {EXCERPT_SECONDS:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise FormatError(f"the document could not be read within the parser's limits (status {process.returncode})")
    return answer
