"""What a backup reads, and where it goes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from spotlightd.flows.backup.manifest import SEALED
from spotlightd.model.dataset import Dataset
from spotlightd.ports.storage import Bucket, LocalDocuments
from spotlightd.ports.warehouse import Warehouse


@dataclass(frozen=True, slots=True)
class BackupContext:
    """`datasets` are in the order in which they are read: indexes first, what is computed before what it is computed from,
    frames last. `streamed` names those that streams fill. `files` are the settings file and own sources, by kind and name.
    `encrypt` writes the second file from the first; without it objects are plain.
    `copies_bucket`: the bucket is a folder in the state folder, so its objects go into the backup.
    """

    warehouse: Warehouse
    documents: LocalDocuments
    bucket: Bucket
    copies_bucket: bool
    target: Bucket
    prefix: str
    datasets: tuple[Dataset, ...]
    streamed: tuple[str, ...]
    copy_ledger: Callable[[Path], Awaitable[None]]
    files: Mapping[tuple[str, str], Path]
    scratch: Path
    release: str
    encrypt: Callable[[Path, Path], None] | None = None

    @property
    def objects(self) -> str:
        """The prefix of the objects: encrypted ones never stand for plain ones of the same content."""
        return f"{self.prefix}{SEALED}" if self.encrypt else self.prefix
