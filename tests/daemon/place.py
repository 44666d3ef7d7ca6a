"""The environment of a test: a folder, a publisher on loopback, and daemons and commands that use both."""

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
from tests.polling import WAIT_SECONDS, until


@dataclass
class Place:
    """`documents` is what the publisher has now; `allowed` is what a reader may see at any time: slices with rows and shares."""

    folder: Path
    state: Path
    server: ScriptedPublisher
    documents: list[HalfMonth] = field(default_factory=list)
    allowed: set[tuple[str, tuple[int, int]]] = field(default_factory=set)

    def show(self, *more: HalfMonth) -> None:
        """Publish these too; a document of the same slice replaces the earlier one."""
        by_slice = {document.covers: document for document in (*self.documents, *more)}
        self.documents = list(by_slice.values())
        self.allowed |= set(self.expected.items())
        publisher.show(self.server, *self.documents)

    def settings(self, **sections: Any) -> Path:
        return process.settings_file(self.folder, self.server.url, **sections)

    def start(
        self, *, env: Mapping[str, str] | None = None, prefix: Sequence[str] = (), **sections: Any
    ) -> AbstractAsyncContextManager[Daemon]:
        return process.start(self.settings(**sections), env=env, prefix=prefix)

    def ready(self, *, env: Mapping[str, str] | None = None, **sections: Any) -> AbstractAsyncContextManager[Daemon]:
        return process.ready(self.settings(**sections), env=env)

    async def command(self, *words: str, seconds: float = 60.0) -> Done:
        """A command on this state folder, with the settings that were written last."""
        config = self.folder / "spotlightd.toml"
        name, *rest = words
        options = ("--config", str(config)) if config.exists() else ("--state", str(self.state))
        return await process.command(name, *options, *rest, seconds=seconds)

    async def visible(self) -> dict[str, tuple[int, int]]:
        """The rows and shares that a reader of the running daemon sees, by half-month."""
        return await publisher.read_visible_in(self.state)

    @property
    def expected(self) -> dict[str, tuple[int, int]]:
        """The counts in the trailers of all published documents."""
        return publisher.expected(self.documents)

    async def wait_until_visible(self, *, seconds: float = WAIT_SECONDS) -> None:
        """Wait until exactly the published documents are visible. Until then nothing torn, doubled or strange may be visible."""

        async def same() -> bool:
            visible = await self.visible()
            assert visible.items() <= self.allowed, f"torn, doubled or strange: {set(visible.items()) - self.allowed}"
            return visible == self.expected

        await until(same, "all documents are visible, each whole", seconds=seconds, every=0.05)

    def count_requests(self, document: HalfMonth) -> int:
        """How often the document was requested from the publisher."""
        return sum(request.path == document.path for request in self.server.requests)

    def ledger(self, sql: str, *values: object) -> list[tuple[object, ...]]:
        return publisher.ledger(self.state, sql, *values)


def make_place(folder: Path, server: ScriptedPublisher) -> Place:
    place = Place(folder, publisher.state_folder(folder), server)
    place.show()
    return place
