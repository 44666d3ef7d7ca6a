"""All settings: one TOML file, read into frozen values. Every field has a default, a unit in its name, a description.

An unknown key is an error that names the nearest known one. The file contains no secrets: settings that end in `_file`
name files that only the daemon may read (systemd credentials, or mode 0600).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from spotlightd.settings.section import setting
from spotlightd.settings.serving import LogSettings, MetricsSettings, WebSettings
from spotlightd.settings.sources import (
    BusSettings,
    ParserSettings,
    PublisherSettings,
    ScheduleSettings,
    StreamsSettings,
    VerifierSettings,
)
from spotlightd.settings.stores import (
    ArchiveSettings,
    BucketSettings,
    DiskSettings,
    DocumentsSettings,
    EngineSettings,
    StorageSettings,
    WarehouseSettings,
)


@dataclass(frozen=True, slots=True)
class Settings:
    """The whole file."""

    state_dir: Path = setting(Path("state"), "folder that holds all data: documents, ledger, engine")
    warehouse: WarehouseSettings = field(default_factory=WarehouseSettings)
    engine: EngineSettings = field(default_factory=EngineSettings)
    publisher: PublisherSettings = field(default_factory=PublisherSettings)
    parser: ParserSettings = field(default_factory=ParserSettings)
    verifier: VerifierSettings = field(default_factory=VerifierSettings)
    bus: BusSettings = field(default_factory=BusSettings)
    streams: StreamsSettings = field(default_factory=StreamsSettings)
    bucket: BucketSettings = field(default_factory=BucketSettings)
    storage: StorageSettings = field(default_factory=StorageSettings)
    metrics: MetricsSettings = field(default_factory=MetricsSettings)
    web: WebSettings = field(default_factory=WebSettings)
    schedule: ScheduleSettings = field(default_factory=ScheduleSettings)
    archive: ArchiveSettings = field(default_factory=ArchiveSettings)
    documents: DocumentsSettings = field(default_factory=DocumentsSettings)
    disk: DiskSettings = field(default_factory=DiskSettings)
    log: LogSettings = field(default_factory=LogSettings)
