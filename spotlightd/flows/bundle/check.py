"""Checks whether this instance can import a bundle, before anything is stored. The file itself was verified earlier."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from spotlightd.errors import FormatError, SettingsError
from spotlightd.model.bundle import Frames, Manifest, PackedLoad, portable_columns
from spotlightd.model.dataset import Dataset
from spotlightd.model.provenance import Document
from spotlightd.model.source import Batch
from spotlightd.model.stream import Stream, covers, load_digest
from spotlightd.ports.ledger import Positions

CLOCK_SKEW = timedelta(days=1)
REMEDY = "use the release, or the source file, that the bundle was made with"


def check_manifest(manifest: Manifest, feeds: Mapping[str, Batch | Stream]) -> None:
    """SettingsError for a source or dataset that is unknown or different here, FormatError for impossible values."""
    if not manifest.loads:
        raise FormatError("the bundle holds no rows")
    if not any(dataset.name == manifest.dataset for feed in feeds.values() for dataset in feed.datasets):
        raise SettingsError(f"this instance has no dataset {manifest.dataset}: {REMEDY} ({manifest.release})")
    for packed in manifest.loads:
        source = feeds.get(packed.source)
        if source is None:
            raise SettingsError(f"this instance has no source {packed.source}: {REMEDY} ({manifest.release})")
        _check_datasets(source, packed, manifest)
        if isinstance(source, Batch) is not (packed.document is not None):
            raise SettingsError(f"source {packed.source} is of another kind here than in the bundle: {REMEDY}")
        if isinstance(source, Batch) and packed.document:
            _check_document(source, packed.document)
        if packed.frames:
            _check_frames(packed, packed.frames)


async def check_stream(name: str, positions: Positions) -> None:
    """Raise SettingsError for a feed that this instance receives itself."""
    if await positions.epoch(name) is not None:
        raise SettingsError(
            f"this instance receives {name} itself: its own frames have the same positions, so each row would appear"
            " twice; import the bundle into a separate state folder (--state DIR)"
        )


def _check_frames(packed: PackedLoad, part: Frames) -> None:
    """Check the slice and digest of a part. Citations and the order of parts rely on them."""
    if (packed.covers, packed.digest) != (covers(part.day, part.part), load_digest(packed.source, part.day, part.part)):
        raise FormatError(
            f"the frames that the bundle calls {packed.covers} do not belong to {part.day}, part {part.part}"
        )


def _check_datasets(source: Batch | Stream, packed: PackedLoad, manifest: Manifest) -> None:
    names = {dataset.name for dataset in source.datasets}
    if names != set(packed.rows):
        message = (
            f"source {source.name} feeds {', '.join(sorted(names))} here,"
            f" but {', '.join(sorted(packed.rows))} in the bundle"
        )
        raise SettingsError(f"{message}: {REMEDY}")
    for dataset in source.datasets:
        _check_columns(dataset, manifest)


def _check_columns(dataset: Dataset, manifest: Manifest) -> None:
    local = [(column.name, column.type) for column in portable_columns(dataset)]
    bundled = list(manifest.columns[dataset.name])
    if local != bundled:
        differences = sorted(set(local) ^ set(bundled)) or [("their order", "")]
        message = f"{dataset.name} has other columns here than in the bundle: {' '.join(differences[0])[:200]!r}"
        raise SettingsError(f"{message}; {REMEDY} ({manifest.release})")


def _check_document(source: Batch, document: Document) -> None:
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
            f"the bundle claims document {document.digest} comes from {document.url[:200]!r}, which is no host of"
            f" {source.name}"
        )
    if document.fetched_at > datetime.now(UTC) + CLOCK_SKEW:
        raise FormatError(
            f"the bundle claims document {document.digest} was fetched on {document.fetched_at:%Y-%m-%d}, in the future"
        )
