"""The daemon's own way of backfill.py: all documents are due at once, and go the way of the daemon."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from small import Lists, processor_seconds

from spotlightd import log
from spotlightd.flows.batch.ingest import ingest
from spotlightd.runtime.instance import Instance, open_instance
from spotlightd.settings.settings import Settings
from spotlightd.sources.sec_ftd import source as sec_ftd

ADDRESS = "https://www.sec.gov/files/data/"


async def load_together(files: Sequence[Path], warm: int) -> tuple[list[float], list[int]]:
    """The processor seconds of all processes after the warm-up, and the counts of the newest load."""
    log.configure("warning")
    with tempfile.TemporaryDirectory(dir=files[0].parent) as folder:
        async with open_instance(replace(Settings(), state_dir=Path(folder))) as instance:
            await _ingest(instance, files[:warm])
            before = processor_seconds(instance)
            await _ingest(instance, files[warm:])
            after = processor_seconds(instance)
            sql = "SELECT count(), sum(quantity) FROM sec_ftd WHERE load_id = (SELECT max(load_id) FROM loads)"
            totals = [int(total) for total in (await instance.warehouse.rows(sql)).rows[0]]
    spent = {name: after[name] - before[name] for name in after}
    print(f"   {spent}", file=sys.stderr, flush=True)
    return [0.0] * warm + [sum(spent.values())], totals


async def _ingest(instance: Instance, files: Sequence[Path]) -> None:
    source = replace(sec_ftd, least_links=1)
    publisher = _Folder({f"{ADDRESS}{file.name}": file.read_bytes() for file in files})
    results = await ingest(source, publisher, instance.ingest_context())
    assert [result.outcome for result in results] == ["published"] * len(files), results


class _Folder(Lists):
    """A publisher of these files, with an index page."""

    async def page(self, url: str, *, post: str | None = None) -> str:
        del url, post
        return "".join(f'<a href="{address}">x</a>' for address in self.documents)
