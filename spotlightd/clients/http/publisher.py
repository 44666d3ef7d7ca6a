"""The publishers' side of the web, over HTTP: politely paced, strictly bounded, and never anywhere but where we meant.

What surprises: a host that has a mirror is reached through a session of its own, because the publishers' session can
open no socket to a private address at all, and the demo's mirror stands on loopback. Only time spent waiting for the
publisher counts against its speed: while our own disk is slow, the clock of `stall_seconds` stands still.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from importlib.metadata import version
from typing import Self

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from spotlightd import log
from spotlightd.clients.http import address, body, status
from spotlightd.clients.http.rate_limit import Clock, HostQueues, asked_pause, backoff
from spotlightd.errors import PublisherError, SettingsError
from spotlightd.model.source import Batch
from spotlightd.ports.publisher import Fetched
from spotlightd.settings import sources

PAGE_BYTES = 4_000_000
REDIRECTS = 5
CONNECTIONS = 32
HEADER_LETTERS = 1_000


class HttpPublishers:
    """All publishers, through one connection pool; one bucket of requests per host, whoever asks.

    `clock` and `resolver` are for tests.
    """

    def __init__(
        self, limits: sources.PublisherSettings, *, clock: Clock | None = None, resolver: AbstractResolver | None = None
    ) -> None:
        if not (limits.contact.isascii() and limits.contact.isprintable()):
            raise SettingsError("publisher.contact must be plain ASCII on one line: it is sent in a header")
        self.limits = limits
        self.clock = clock or Clock()
        self.mirrors = address.mirror_bases(limits.mirrors)
        self._resolver = resolver
        self.turns = HostQueues(self.clock, limits.backoff_most_seconds)
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self.limits.connect_seconds)
        guarded = aiohttp.TCPConnector(limit=CONNECTIONS, resolver=self._resolver, socket_factory=address.public_socket)
        self._guarded = await self._open.enter_async_context(self._session(guarded, timeout))
        self._mirrored = await self._open.enter_async_context(
            self._session(aiohttp.TCPConnector(limit=CONNECTIONS), timeout)
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()

    def of(self, source: Batch) -> HttpPublisher:
        """The web as that source may see it. SettingsError when one of its hosts asks for a contact and has none."""
        if source.requests_per_second <= 0:
            raise SettingsError(f"source {source.name}: requests_per_second must be above 0")
        for host in source.hosts:
            self._check_contact(source, host)
            self.turns.limit(host, source.requests_per_second)
        return HttpPublisher(self, source)

    async def send(self, target: URL, headers: Mapping[str, str]) -> tuple[aiohttp.ClientResponse, str]:
        """One request, up to the head of its answer; with the mirror's address if a mirror was asked."""
        via = address.mirrored(target, self.mirrors)
        session = self._guarded if via is None else self._mirrored
        try:
            async with asyncio.timeout(self.limits.connect_seconds + self.limits.stall_seconds):
                response = await session.get(via or target, headers=headers, allow_redirects=False)
        except (aiohttp.ClientError, OSError) as problem:
            raise _unreached(problem, target, self.limits) from problem
        return response, str(via or "")

    def _session(self, connector: aiohttp.TCPConnector, timeout: aiohttp.ClientTimeout) -> aiohttp.ClientSession:
        contact = f" ({self.limits.contact})" if self.limits.contact else ""
        headers = {"User-Agent": f"spotlightd/{version('spotlightd')}{contact}", "Accept-Encoding": "identity"}
        return aiohttp.ClientSession(
            connector=connector,
            timeout=timeout,
            headers=headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            read_bufsize=1 << 18,
        )

    def _check_contact(self, source: Batch, host: str) -> None:
        if source.contact_required and not self.limits.contact and host not in self.mirrors:
            raise SettingsError(
                f"source {source.name}: {host} wants to know whom to write to, and answers 403 to who does not say so; "
                'set contact = "you@example.org" in [publisher]'
            )


@dataclass(frozen=True, slots=True)
class _Answer:
    """An open answer, the mirror's address if one answered, and when the document must be complete."""

    response: aiohttp.ClientResponse
    via: str
    ends_at: float


@dataclass(frozen=True, slots=True)
class HttpPublisher:
    """The web as one source may see it."""

    publishers: HttpPublishers
    source: Batch

    async def page(self, url: str) -> str:
        """The text of a page; see the port."""
        async with (
            self._opened(url, {}, PAGE_BYTES) as answer,
            aclosing(self._body(answer, url, b"", PAGE_BYTES)) as chunks,
        ):
            whole = b"".join([chunk async for chunk in chunks])
            return body.text(whole, answer.response.charset or "", address.shown(url))

    @asynccontextmanager
    async def fetch(self, url: str, *, etag: str = "", last_modified: str = "") -> AsyncIterator[Fetched | None]:
        """An open document; see the port. `Fetched.url` is the address that was asked, after redirects too."""
        asked = {"If-None-Match": etag, "If-Modified-Since": last_modified}
        conditions = {name: value for name, value in asked.items() if value}
        most = self.source.max_bytes
        async with self._opened(url, conditions, most) as answer:
            if answer.response.status == HTTPStatus.NOT_MODIFIED:
                yield None
                return
            async with aclosing(self._body(answer, url, self.source.begins_with, most)) as chunks:
                yield _fetched(answer, url, chunks)

    @asynccontextmanager
    async def _opened(self, url: str, conditions: Mapping[str, str], most: int) -> AsyncIterator[_Answer]:
        answer = await self._tries(url, conditions)
        try:
            encoding = answer.response.headers.get("Content-Encoding", "identity")
            body.announced(address.shown(url), encoding, answer.response.content_length or 0, most)
            yield answer
        finally:
            answer.response.close()

    async def _body(self, answer: _Answer, url: str, begins_with: bytes, most: int) -> AsyncGenerator[bytes]:
        """The body's bytes, checked; ends normally only when it was complete."""
        about, limits, clock = address.shown(url), self.publishers.limits, self.publishers.clock
        wire = body.Wire(about, _piece(answer.response), _length(answer.response), answer.ends_at)
        async with (
            aclosing(body.arriving(wire, limits, clock)) as arriving,
            aclosing(body.checked(arriving, about, begins_with=begins_with, most=most)) as chunks,
        ):
            async for chunk in chunks:
                yield chunk

    async def _tries(self, url: str, conditions: Mapping[str, str]) -> _Answer:
        """Ask, and ask again after failures that may pass; bounded in number and in the length of each pause."""
        limits, clock = self.publishers.limits, self.publishers.clock
        attempt = 1
        while True:
            try:
                return await self._follow(url, conditions)
            except status.TransientError as problem:
                asked = problem.retry_after_seconds or 0.0
                if attempt >= limits.attempts or asked > limits.backoff_most_seconds:
                    raise status.given_up(problem, attempt) from problem
                pause = backoff(attempt, limits, clock.chance())
                log.logger(source=self.source.name, url=url).info(
                    "publisher asked again", reason=str(problem), attempt=attempt, seconds=max(pause, asked)
                )
            await clock.sleep(pause)
            attempt += 1

    async def _follow(self, url: str, conditions: Mapping[str, str]) -> _Answer:
        """Ask, following redirects inside the source's hosts."""
        target = address.allowed(url, self.source.hosts)
        for _ in range(REDIRECTS + 1):
            answer = await self._ask(target, conditions)
            if answer.response.status not in status.MOVED:
                return answer
            answer.response.close()
            target = address.moved(target, answer.response.headers.get("Location", ""), self.source.hosts)
        raise PublisherError(f"{address.shown(url)} was redirected more than {REDIRECTS} times")

    async def _ask(self, target: URL, conditions: Mapping[str, str]) -> _Answer:
        """One request in its turn, and an answer that is a body, a redirect or "not modified"."""
        host = str(target.host)
        await self.publishers.turns.take(host)
        ends_at = self.publishers.clock.now() + self.publishers.limits.total_seconds
        response, via = await self.publishers.send(target, conditions)
        try:
            await self._judge(response, target, conditional=bool(conditions))
        except BaseException:
            response.close()
            raise
        return _Answer(response, via, ends_at)

    async def _judge(self, response: aiohttp.ClientResponse, target: URL, *, conditional: bool) -> None:
        """PublisherError for an answer that brings nothing; the pause it asks for holds for the whole host."""
        if status.brings(response.status, conditional=conditional):
            return
        host, about, reason = str(target.host), address.shown(str(target)), address.shown(response.reason or "")
        asked = asked_pause(response.headers.get("Retry-After", ""), self.publishers.clock.wall())
        if asked is not None:
            self.publishers.turns.hold(host, asked)
        title = await self._title(response) if response.status == HTTPStatus.FORBIDDEN else ""
        raise status.refusal(status.Head(host, about, response.status, reason, asked), title)

    async def _title(self, response: aiohttp.ClientResponse) -> str:
        """The title of the page that explains a refusal, if it comes at once."""
        try:
            async with asyncio.timeout(min(5.0, self.publishers.limits.stall_seconds)):
                return body.title(await response.content.read(body.GLANCE_BYTES))
        except (aiohttp.ClientError, OSError):
            return ""


def _unreached(problem: Exception, target: URL, limits: sources.PublisherSettings) -> PublisherError:
    """Why there was no answer at all, in a sentence. What cannot pass by itself is not tried again."""
    about = address.shown(str(target))
    match problem:
        case aiohttp.ConnectionTimeoutError():
            return status.TransientError(f"no connection to {target.host} within {limits.connect_seconds:g} s: {about}")
        case TimeoutError():
            seconds = limits.connect_seconds + limits.stall_seconds
            return status.TransientError(f"{target.host} did not begin to answer within {seconds:g} s: {about}")
        case aiohttp.ClientConnectorCertificateError():
            return PublisherError(
                f"{target.host} has no valid certificate: {problem.certificate_error}; {about} not asked"
            )
        case aiohttp.ClientConnectorError(os_error=address.PrivateAddressError() as private):
            return PublisherError(
                f"{target.host} leads to a private address ({private.strerror}): {about} not asked; only a host named in "
                "[publisher.mirrors] may stand on a private network"
            )
        case aiohttp.ClientConnectorError():
            return status.TransientError(
                f"no connection to {target.host}: {problem.os_error.strerror or problem.os_error}: {about}"
            )
        case _:
            return status.TransientError(f"{target.host} hung up before it answered: {about}")


def _fetched(answer: _Answer, url: str, chunks: AsyncIterator[bytes]) -> Fetched:
    return Fetched(
        url=url,
        via=answer.via,
        etag=_word(answer, "ETag"),
        last_modified=_word(answer, "Last-Modified"),
        media_type=_word(answer, "Content-Type"),
        chunks=chunks,
    )


def _word(answer: _Answer, header: str) -> str:
    """A header that is safe to keep and to send back; empty when it is not plain or absurdly long."""
    value = answer.response.headers.get(header, "")
    return value if value.isascii() and value.isprintable() and len(value) <= HEADER_LETTERS else ""


def _length(response: aiohttp.ClientResponse) -> int | None:
    return None if "Transfer-Encoding" in response.headers else response.content_length


def _piece(response: aiohttp.ClientResponse) -> Callable[[], Awaitable[bytes]]:
    """What reads the next bytes of a body; OSError when the connection is lost or the body cut short."""

    async def piece() -> bytes:
        try:
            return await response.content.readany()
        except aiohttp.ClientError as problem:
            raise ConnectionError(str(problem)) from problem

    return piece
