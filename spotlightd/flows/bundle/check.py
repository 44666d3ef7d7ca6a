"""Whether a bundle can be imported here at all: asked before anything is kept. The file itself has been looked through."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from spotlightd.errors import FormatError, SettingsError
from spotlightd.model.bundle import Frames, Manifest, Packed, compared
from spotlightd.model.dataset import Dataset
from spotlightd.model.provenance import Document
from spotlightd.model.source import Batch
from spotlightd.model.stream import Stream, covers, load_digest
from spotlightd.ports.ledger import Positions

CLOCKS_DIFFER = timedelta(days=1)
REMEDY = "use the release, or the source file, that the bundle was made with"


def check(manifest: Manifest, feeds: Mapping[str, Batch | Stream]) -> None:
    """SettingsError for what this instance does not know, or knows otherwise; FormatError for what cannot be true."""
    if not manifest.loads:
        raise FormatError("the bundle holds no rows")
    if not any(one.name == manifest.dataset for feed in feeds.values() for one in feed.datasets):
        raise SettingsError(f"this instance has no dataset {manifest.dataset}: {REMEDY} ({manifest.release})")
    for packed in manifest.loads:
        source = feeds.get(packed.source)
        if source is None:
            raise SettingsError(f"this instance has no source {packed.source}: {REMEDY} ({manifest.release})")
        _feeds(source, packed, manifest)
        if isinstance(source, Batch) is not (packed.document is not None):
            raise SettingsError(f"source {packed.source} is of another kind here than in the bundle: {REMEDY}")
        if isinstance(source, Batch) and packed.document:
            _document(source, packed.document)
        if packed.frames:
            _frames(packed, packed.frames)


async def check_stream(name: str, positions: Positions) -> None:
    """SettingsError for a feed that this instance receives itself."""
    if await positions.epoch(name) is not None:
        raise SettingsError(
            f"this instance receives {name} itself: its own frames have the same places, and each row would be shown twice;"
            " import the bundle into a state folder of its own (--state DIR)"
        )


def _frames(packed: Packed, part: Frames) -> None:
    """That the part is called what it is: these words stand for its frames in citations and in the order of parts."""
    if (packed.covers, packed.digest) != (covers(part.day, part.part), load_digest(packed.source, part.day, part.part)):
        raise FormatError(f"the frames that the bundle calls {packed.covers} are not of {part.day}, part {part.part}")


def _feeds(source: Batch | Stream, packed: Packed, manifest: Manifest) -> None:
    here = {one.name for one in source.datasets}
    if here != set(packed.rows):
        said = f"source {source.name} feeds {', '.join(sorted(here))} here, and {', '.join(sorted(packed.rows))} there"
        raise SettingsError(f"{said}: {REMEDY}")
    for dataset in source.datasets:
        _columns(dataset, manifest)


def _columns(dataset: Dataset, manifest: Manifest) -> None:
    here, there = [(one.name, one.type) for one in compared(dataset)], list(manifest.columns[dataset.name])
    if here != there:
        wrong = sorted(set(here) ^ set(there)) or [("their order", "")]
        said = f"{dataset.name} has other columns here than in the bundle: {' '.join(wrong[0])[:200]!r}"
        raise SettingsError(f"{said}; {REMEDY} ({manifest.release})")


def _document(source: Batch, document: Document) -> None:
    if document.size > source.max_bytes:
        raise FormatError(
            f"document {document.digest} is longer than source {source.name} allows ({source.max_bytes:,} bytes)"
        )
    try:
        host = urlsplit(document.url).netloc
    except ValueError:
        host = ""
    if host not in source.hosts:
        raise FormatError(
            f"document {document.digest} is said to be from {document.url[:200]!r}, no host of {source.name}"
        )
    if document.fetched_at > datetime.now(UTC) + CLOCKS_DIFFER:
        raise FormatError(
            f"document {document.digest} is said to be fetched on {document.fetched_at:%Y-%m-%d}, in the future"
        )
