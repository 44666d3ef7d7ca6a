"""The line that a row points to, with those around it, read for a page in a limited process of its own."""

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
class Excerpts:
    """Reads the surroundings of a line in a limited process of its own; two at a time."""

    documents: Documents
    ledger: Ledger
    limits: ParserSettings
    gate: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(2))

    async def __call__(self, digest: str, member: int, line: int, around: int) -> Excerpt:
        document = await self.ledger.document(digest)
        if document is None:
            raise StoreError(f"there is no document {digest}")
        asked = {
            "name": document.name, "limits": asdict(self.limits), "member": member, "line": line, "around": around,
        }  # fmt: skip
        async with self.documents.file(digest) as path, self.gate:
            asked["path"] = str(path)
            told = json.loads(await _asked_apart("spotlightd.workers.excerpt_child", json.dumps(asked).encode()))
        if "error" in told:
            raise FormatError(told["error"], member=told["member"], line=told["line"])
        return Excerpt(told["name"], tuple(ExcerptLine(number, text) for number, text in told["lines"]))


async def _asked_apart(module: str, question: bytes) -> bytes:
    """Run a module of ours in a process without environment; its answer, or a FormatError that says how it ended."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", module, stdin=PIPE, stdout=PIPE, stderr=PIPE, env={"TZ": "UTC"}
    )
    try:
        async with asyncio.timeout(EXCERPT_SECONDS):
            answer, _ = await process.communicate(question)
    except TimeoutError:
        raise FormatError(f"the document could not be read within {EXCERPT_SECONDS:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise FormatError(f"the document could not be read within the parser's limits (status {process.returncode})")
    return answer
