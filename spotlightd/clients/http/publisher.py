"""Fetch documents from publishers over HTTP: rate-limited, bounded in time and size, only from the hosts of a source.

A host that has a mirror is reached through a separate session: the session for publishers cannot connect to a private
address, and the demo's mirror is on loopback. Only the time spent waiting for the publisher counts against its speed:
`stall_seconds` does not run while the local disk is slow.
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
from spotlightd.backoff import Backoff, Clock
from spotlightd.clients.http import address, body, status
from spotlightd.clients.http.rate_limit import HostQueues, parse_retry_after
from spotlightd.errors import PublisherError, SettingsError
from spotlightd.model.source import Batch
from spotlightd.ports.publisher import PublisherResponse
from spotlightd.settings import sources

PAGE_BYTES = 4_000_000
MAX_REDIRECTS = 5
MAX_CONNECTIONS = 32
MAX_HEADER_LETTERS = 1_000


class HttpPublishers:
    """All publishers, through one connection pool, with one request queue per host for all sources.

    Tests pass `clock` and `resolver`.
    """

    def __init__(
        self, limits: sources.PublisherSettings, *, clock: Clock | None = None, resolver: AbstractResolver | None = None
    ) -> None:
        if not (limits.contact.isascii() and limits.contact.isprintable()):
            raise SettingsError("publisher.contact must be plain ASCII on one line: it is sent in a header")
        self.limits = limits
        self.clock = clock or Clock()
        self.mirrors = address.parse_mirrors(limits.mirrors)
        self._resolver = resolver
        self.queues = HostQueues(self.clock, limits.backoff_most_seconds)
        self.backoff = Backoff(limits.backoff_seconds, limits.backoff_most_seconds)
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self.limits.connect_seconds)
        connector = aiohttp.TCPConnector(
            limit=MAX_CONNECTIONS, resolver=self._resolver, socket_factory=address.open_public_socket
        )
        self._public_session = await self._open.enter_async_context(self._session(connector, timeout))
        self._mirror_session = await self._open.enter_async_context(
            self._session(aiohttp.TCPConnector(limit=MAX_CONNECTIONS), timeout)
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()

    def for_source(self, source: Batch) -> HttpPublisher:
        """The publisher of a source. SettingsError when one of its hosts requires a contact and none is set."""
        if source.requests_per_second <= 0:
            raise SettingsError(f"source {source.name}: requests_per_second must be above 0")
        for host in source.hosts:
            self._check_contact(source, host)
            self.queues.set_limit(host, source.requests_per_second)
        return HttpPublisher(self, source)

    async def send(self, target: URL, headers: Mapping[str, str]) -> tuple[aiohttp.ClientResponse, str]:
        """Send one request; returns the response without its body, and the mirror's address if a mirror was used."""
        via = address.mirror_address(target, self.mirrors)
        session = self._public_session if via is None else self._mirror_session
        try:
            async with asyncio.timeout(self.limits.connect_seconds + self.limits.stall_seconds):
                response = await session.get(via or target, headers=headers, allow_redirects=False)
        except (aiohttp.ClientError, OSError) as problem:
            raise _explain_failure(problem, target, self.limits) from problem
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
                f"source {source.name}: {host} requires a contact address, and answers 403 to requests without one; "
                'set contact = "you@example.org" in [publisher]'
            )


@dataclass(frozen=True, slots=True)
class _OpenResponse:
    """An open response, the address of the mirror that sent it, if any, and when the document must be complete."""

    response: aiohttp.ClientResponse
    via: str
    ends_at: float


@dataclass(frozen=True, slots=True)
class HttpPublisher:
    """The port `Publisher` for one source."""

    publishers: HttpPublishers
    source: Batch

    async def page(self, url: str) -> str:
        """The text of a page; see the port."""
        async with (
            self._open_response(url, {}, PAGE_BYTES) as answer,
            aclosing(self._body(answer, url, b"", PAGE_BYTES)) as chunks,
        ):
            content = b"".join([chunk async for chunk in chunks])
            return body.decode_page(content, answer.response.charset or "", address.format_address(url))

    @asynccontextmanager
    async def fetch(
        self, url: str, *, etag: str = "", last_modified: str = ""
    ) -> AsyncIterator[PublisherResponse | None]:
        """An open document; see the port. Its `url` is the requested address, also after redirects."""
        headers = {"If-None-Match": etag, "If-Modified-Since": last_modified}
        conditions = {name: value for name, value in headers.items() if value}
        most = self.source.max_bytes
        async with self._open_response(url, conditions, most) as answer:
            if answer.response.status == HTTPStatus.NOT_MODIFIED:
                yield None
                return
            async with aclosing(self._body(answer, url, self.source.begins_with, most)) as chunks:
                yield _to_response(answer, url, chunks)

    @asynccontextmanager
    async def _open_response(self, url: str, conditions: Mapping[str, str], most: int) -> AsyncIterator[_OpenResponse]:
        answer = await self._request_with_retries(url, conditions)
        try:
            encoding = answer.response.headers.get("Content-Encoding", "identity")
            body.check_head(address.format_address(url), encoding, answer.response.content_length or 0, most)
            yield answer
        finally:
            answer.response.close()

    async def _body(
        self, answer: _OpenResponse, url: str, begins_with: bytes | tuple[bytes, ...], most: int
    ) -> AsyncGenerator[bytes]:
        """The body's bytes, checked. Ends without an error only when the body is complete."""
        about, limits, clock = address.format_address(url), self.publishers.limits, self.publishers.clock
        stream = body.BodyStream(
            about, _make_reader(answer.response), _announced_length(answer.response), answer.ends_at
        )
        async with (
            aclosing(body.read_body(stream, limits, clock)) as received,
            aclosing(body.check_body(received, about, begins_with=begins_with, most=most)) as chunks,
        ):
            async for chunk in chunks:
                yield chunk

    async def _request_with_retries(self, url: str, conditions: Mapping[str, str]) -> _OpenResponse:
        """Send the request, and retry it after transient failures. The number of tries and each pause are bounded."""
        limits, clock = self.publishers.limits, self.publishers.clock
        attempt = 1
        while True:
            try:
                return await self._follow_redirects(url, conditions)
            except status.TransientError as problem:
                retry_after = problem.retry_after_seconds or 0.0
                if attempt >= limits.attempts or retry_after > limits.backoff_most_seconds:
                    raise status.add_attempts(problem, attempt) from problem
                pause = self.publishers.backoff.pause(attempt, clock.chance)
                log.logger(source=self.source.name, url=url).info(
                    "request retried", reason=str(problem), attempt=attempt, seconds=max(pause, retry_after)
                )
            await clock.sleep(pause)
            attempt += 1

    async def _follow_redirects(self, url: str, conditions: Mapping[str, str]) -> _OpenResponse:
        """Send the request, and follow redirects to hosts of the source."""
        target = address.check_address(url, self.source.hosts)
        for _ in range(MAX_REDIRECTS + 1):
            answer = await self._request(target, conditions)
            if answer.response.status not in status.REDIRECTS:
                return answer
            answer.response.close()
            target = address.resolve_redirect(target, answer.response.headers.get("Location", ""), self.source.hosts)
        raise PublisherError(f"{address.format_address(url)} was redirected more than {MAX_REDIRECTS} times")

    async def _request(self, target: URL, conditions: Mapping[str, str]) -> _OpenResponse:
        """Wait for a turn and send one request. The response is a document, a redirect or "not modified"."""
        host = str(target.host)
        await self.publishers.queues.wait_for_slot(host)
        ends_at = self.publishers.clock.now() + self.publishers.limits.total_seconds
        response, via = await self.publishers.send(target, conditions)
        try:
            await self._check_status(response, target, conditional=bool(conditions))
        except BaseException:
            response.close()
            raise
        return _OpenResponse(response, via, ends_at)

    async def _check_status(self, response: aiohttp.ClientResponse, target: URL, *, conditional: bool) -> None:
        """PublisherError for a response without a document. The pause that it requests holds for the whole host."""
        if status.is_usable(response.status, conditional=conditional):
            return
        host, about = str(target.host), address.format_address(str(target))
        retry_after = parse_retry_after(response.headers.get("Retry-After", ""), self.publishers.clock.utc())
        if retry_after is not None:
            self.publishers.queues.pause(host, retry_after)
        title = await self._read_title(response) if response.status == HTTPStatus.FORBIDDEN else ""
        reason = address.format_address(response.reason or "")
        raise status.make_refusal(status.ResponseHead(host, about, response.status, reason, retry_after), title)

    async def _read_title(self, response: aiohttp.ClientResponse) -> str:
        """The title of the page that explains a refusal, if it arrives within a few seconds."""
        try:
            async with asyncio.timeout(min(5.0, self.publishers.limits.stall_seconds)):
                return body.extract_title(await response.content.read(body.PREFIX_BYTES))
        except (aiohttp.ClientError, OSError):
            return ""


def _explain_failure(problem: Exception, target: URL, limits: sources.PublisherSettings) -> PublisherError:
    """The error for a request without a response. It is a TransientError, and retried, only if it may pass by itself."""
    about = address.format_address(str(target))
    match problem:
        case aiohttp.ConnectionTimeoutError():
            return status.TransientError(f"no connection to {target.host} within {limits.connect_seconds:g} s: {about}")
        case TimeoutError():
            seconds = limits.connect_seconds + limits.stall_seconds
            return status.TransientError(f"{target.host} did not begin to answer within {seconds:g} s: {about}")
        case aiohttp.ClientConnectorCertificateError():
            return PublisherError(
                f"{target.host} has no valid certificate: {problem.certificate_error}; {about} not requested"
            )
        case aiohttp.ClientConnectorError(os_error=address.PrivateAddressError() as private):
            return PublisherError(
                f"{target.host} resolves to a private address ({private.strerror}): {about} not requested; only a host "
                "named in [publisher.mirrors] may be on a private network"
            )
        case aiohttp.ClientConnectorError():
            return status.TransientError(
                f"no connection to {target.host}: {problem.os_error.strerror or problem.os_error}: {about}"
            )
        case _:
            return status.TransientError(f"{target.host} closed the connection before it answered: {about}")


def _to_response(answer: _OpenResponse, url: str, chunks: AsyncIterator[bytes]) -> PublisherResponse:
    return PublisherResponse(
        url=url,
        via=answer.via,
        etag=_read_header(answer, "ETag"),
        last_modified=_read_header(answer, "Last-Modified"),
        media_type=_read_header(answer, "Content-Type"),
        chunks=chunks,
    )


def _read_header(answer: _OpenResponse, header: str) -> str:
    """A header's value, if it is safe to store and to send back; empty when it is not printable ASCII or too long."""
    value = answer.response.headers.get(header, "")
    return value if value.isascii() and value.isprintable() and len(value) <= MAX_HEADER_LETTERS else ""


def _announced_length(response: aiohttp.ClientResponse) -> int | None:
    return None if "Transfer-Encoding" in response.headers else response.content_length


def _make_reader(response: aiohttp.ClientResponse) -> Callable[[], Awaitable[bytes]]:
    """A function that reads the next bytes of a body; OSError when the connection was lost."""

    async def read_piece() -> bytes:
        try:
            return await response.content.readany()
        except aiohttp.ClientError as problem:
            raise ConnectionError(str(problem)) from problem

    return read_piece
