"""Where a test takes place: a folder, a publisher on loopback, and daemons and commands that know both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.clients.publisher_server import ScriptedPublisher
from tests.daemon import process, publisher
from tests.daemon.process import Daemon, Done
from tests.daemon.publisher import HalfMonth


@dataclass
class Place:
    """`shown` is what the publisher has now, `ever` what a reader may ever see: slices with their rows and shares."""

    folder: Path
    state: Path
    server: ScriptedPublisher
    shown: list[HalfMonth] = field(default_factory=list)
    ever: set[tuple[str, tuple[int, int]]] = field(default_factory=set)

    def show(self, *more: HalfMonth) -> None:
        """The publisher has these too; one that covers the same replaces what it had."""
        have = {one.covers: one for one in (*self.shown, *more)}
        self.shown = list(have.values())
        self.ever |= set(self.expected.items())
        publisher.show(self.server, *self.shown)

    def settings(self, **sections: Any) -> Path:
        return process.settings_file(self.folder, self.server.url, **sections)

    def begun(
        self, *, env: Mapping[str, str] | None = None, prefix: Sequence[str] = (), **sections: Any
    ) -> AbstractAsyncContextManager[Daemon]:
        return process.begun(self.settings(**sections), env=env, prefix=prefix)

    def ready(self, *, env: Mapping[str, str] | None = None, **sections: Any) -> AbstractAsyncContextManager[Daemon]:
        return process.ready(self.settings(**sections), env=env)

    async def command(self, *words: str, seconds: float = 60.0) -> Done:
        """A command on this state folder, with the settings that were written last."""
        config = self.folder / "spotlightd.toml"
        name, *rest = words
        told = ("--config", str(config)) if config.exists() else ("--state", str(self.state))
        return await process.command(name, *told, *rest, seconds=seconds)

    async def seen(self) -> dict[str, tuple[int, int]]:
        """What a reader of the running daemon's warehouse sees: rows and shares by half-month."""
        return await publisher.seen_in(self.state)

    @property
    def expected(self) -> dict[str, tuple[int, int]]:
        """What the documents' own trailers say, of all that is shown."""
        return publisher.expected(self.shown)

    async def all_seen(self, *, seconds: float = process.PATIENCE_SECONDS) -> None:
        """Wait until exactly what the publisher shows is visible; until then nothing torn, doubled or strange may be."""

        async def same() -> bool:
            seen = await self.seen()
            assert seen.items() <= self.ever, f"torn, doubled or strange: {set(seen.items()) - self.ever}"
            return seen == self.expected

        await process.until(same, "all documents are visible, each whole", seconds=seconds, every=0.05)

    def asked_for(self, one: HalfMonth) -> int:
        """How often the publisher was asked for a document."""
        return sum(request.path == one.path for request in self.server.requests)

    def ledger(self, sql: str, *values: object) -> list[tuple[object, ...]]:
        return publisher.ledger(self.state, sql, *values)


def place(folder: Path, server: ScriptedPublisher) -> Place:
    made = Place(folder, publisher.state_folder(folder), server)
    made.show()
    return made
