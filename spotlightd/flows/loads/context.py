"""What every ingest is given, what it is asked to load, and what becomes of each document."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from spotlightd.backoff import Clock
from spotlightd.flows.gate import Gate
from spotlightd.flows.loads.publish import Publications
from spotlightd.model.provenance import Document, Load, Outcome
from spotlightd.model.source import Link
from spotlightd.ports.ledger import Ledger
from spotlightd.ports.metrics import Metrics
from spotlightd.ports.parser import Parser
from spotlightd.ports.storage import Documents
from spotlightd.ports.warehouse import Warehouse
from spotlightd.sql.tiers import Archives, NoArchives

Proof = Callable[[Load], Awaitable[None]]
"""Checks the rows of a complete load before it is published. FormatError when they must not be published."""


@dataclass(frozen=True, slots=True)
class IngestContext:
    """The clients of an ingest. `gate` is closed while a disk is too full for it."""

    documents: Documents
    ledger: Ledger
    warehouse: Warehouse
    parser: Parser
    publications: Publications
    metrics: Metrics | None = None
    gate: Gate = field(default_factory=Gate)
    archives: Archives = field(default_factory=NoArchives)
    clock: Clock = field(default_factory=Clock)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A stored document that may have to be loaded."""

    link: Link
    document: Document


@dataclass(frozen=True, slots=True)
class IngestResult:
    """The outcome of one link. `is_final`: the outcome is the same whatever else gets published."""

    link: Link
    outcome: Outcome
    rows: int = 0
    rejects: int = 0
    error: str = ""
    is_final: bool = True
