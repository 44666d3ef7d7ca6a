"""Fetch documents from publishers over HTTP: rate-limited, bounded in time and size, only from the hosts of a source.

Only the time spent waiting for the publisher counts against its speed: `stall_seconds` does not run while the local disk is
slow.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from http import HTTPStatus

import aiohttp

from spotlightd.clients.http import address, body
from spotlightd.clients.http.requester import OpenResponse, Requester
from spotlightd.clients.http.sessions import HttpSessions, Request
from spotlightd.errors import Failure, PublisherError, SettingsError
from spotlightd.model.source import Batch
from spotlightd.ports.publisher import PublisherResponse

PAGE_BYTES = 4_000_000
MAX_HEADER_LETTERS = 1_000
MAX_TOKEN_LETTERS = 10_000
STORAGE_CLASS = "x-amz-storage-class"
ARCHIVES = frozenset({"GLACIER", "DEEP_ARCHIVE"})


class HttpPublishers(HttpSessions):
    """All publishers, through the same sessions and queues."""

    def for_source(self, source: Batch) -> HttpPublisher:
        """The publisher of a source. SettingsError when one of its hosts requires a contact and none is set."""
        if source.requests_per_second <= 0:
            raise SettingsError(f"source {source.name}: requests_per_second must be above 0")
        for host in source.hosts:
            self._check_contact(source, host)
            faster = self.limits.mirror_requests_per_second if host in self.mirrors else 0.0
            self.queues.set_limit(host, faster or source.requests_per_second)
        return HttpPublisher(self, source)

    def _check_contact(self, source: Batch, host: str) -> None:
        if source.contact_required and not self.limits.contact and host not in self.mirrors:
            raise SettingsError(
                f"source {source.name}: {host} requires a contact address, and answers 403 to requests without one; "
                'set contact = "you@example.org" in [publisher]'
            )


@dataclass(slots=True)
class _Authorization:
    """The headers that a source's `authorize` gave last."""

    headers: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class HttpPublisher:
    """The port `Publisher` for one source."""

    publishers: HttpPublishers
    source: Batch
    _authorization: _Authorization = field(default_factory=_Authorization)

    async def page(self, url: str, *, post: str | None = None) -> str:
        """The text of a page; see the port."""
        async with (
            self._open(await self._requester.request(url, Request(post=post)), url, PAGE_BYTES) as answer,
            aclosing(self._body(answer, url, b"", PAGE_BYTES)) as chunks,
        ):
            content = b"".join([chunk async for chunk in chunks])
            return body.decode_page(content, answer.response.charset or "", address.format_address(url))

    @asynccontextmanager
    async def fetch(
        self, url: str, *, etag: str = "", last_modified: str = "", post: str | None = None, is_probe: bool = False
    ) -> AsyncIterator[PublisherResponse | None]:
        """An open document; see the port. Its `url` is the requested address, also after redirects."""
        headers = {"If-None-Match": etag, "If-Modified-Since": last_modified}
        request = Request({name: value for name, value in headers.items() if value}, post)
        most, begins_with = self.source.max_bytes, self.source.begins_with
        page_outcome: Failure = "absent" if is_probe and self.source.page_is_absent else "wrong body"
        async with self._open(await self._request_document(url, request, is_probe=is_probe), url, most) as answer:
            if answer.response.status == HTTPStatus.NOT_MODIFIED:
                yield None
                return
            async with aclosing(self._body(answer, url, begins_with, most, page_outcome)) as chunks:
                yield _to_response(answer, url, chunks)

    @property
    def _requester(self) -> Requester:
        return Requester(self.publishers, self.source)

    async def _request_document(self, url: str, request: Request, *, is_probe: bool) -> OpenResponse:
        """Send the request for a document. A probe that is refused is looked at again by HEAD, if the source says so."""
        try:
            return await self._request_authorized(url, request)
        except PublisherError as problem:
            is_forbidden = problem.status == HTTPStatus.FORBIDDEN
            if is_probe and is_forbidden and self.source.forbidden_is_absent:
                raise await self._judge_forbidden(url, problem) from problem
            raise

    async def _request_authorized(self, url: str, request: Request) -> OpenResponse:
        """Send the request with the source's own headers, and once more with new ones when they are refused (401)."""
        headers = self._authorization.headers
        if self.source.authorize is None:
            return await self._requester.request(url, request)
        if headers is not None:
            try:
                return await self._requester.request(url, replace(request, authorization=headers))
            except PublisherError as problem:
                if problem.status != HTTPStatus.UNAUTHORIZED:
                    raise
        headers = self._authorization.headers = _check_headers(self.source.name, await self.source.authorize(self))
        return await self._requester.request(url, replace(request, authorization=headers))

    async def _judge_forbidden(self, url: str, problem: PublisherError) -> PublisherError:
        """What 403 to a probe says: the bucket of a publisher answers so for what is not there and for what is archived."""
        about = address.format_address(url)
        try:
            answer = await self._requester.request(url, Request(is_head=True))
        except PublisherError as refusal:
            if refusal.status in {HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND}:
                return PublisherError(f"there is no {about} (403 Forbidden)", outcome="absent", status=problem.status)
            return refusal
        storage = answer.response.headers.get(STORAGE_CLASS, "").upper()
        answer.response.close()
        if storage not in ARCHIVES:
            return problem
        return PublisherError(
            f"{about} exists, and its publisher has moved it to an archive ({storage}) from which it is not served",
            outcome="archived",
            status=problem.status,
        )

    @asynccontextmanager
    async def _open(self, answer: OpenResponse, url: str, most: int) -> AsyncIterator[OpenResponse]:
        try:
            encoding = answer.response.headers.get("Content-Encoding", "identity")
            body.check_head(address.format_address(url), encoding, answer.response.content_length or 0, most)
            yield answer
        finally:
            answer.response.close()

    async def _body(
        self,
        answer: OpenResponse,
        url: str,
        begins_with: bytes | tuple[bytes, ...],
        most: int,
        page_outcome: Failure = "wrong body",
    ) -> AsyncGenerator[bytes]:
        """The body's bytes, checked. Ends without an error only when the body is complete."""
        about, limits, clock = address.format_address(url), self.publishers.limits, self.publishers.clock
        stream = body.BodyStream(
            about, _make_reader(answer.response), _announced_length(answer.response), answer.ends_at
        )
        async with (
            aclosing(body.read_body(stream, limits, clock)) as received,
            aclosing(
                body.check_body(received, about, begins_with=begins_with, most=most, page_outcome=page_outcome)
            ) as chunks,
        ):
            async for chunk in chunks:
                yield chunk


def _check_headers(source: str, headers: Mapping[str, str]) -> Mapping[str, str]:
    """PublisherError for headers that cannot be sent: they are made from what the publisher answered."""
    for header, value in headers.items():
        if not (value.isascii() and value.isprintable() and len(value) <= MAX_TOKEN_LETTERS):
            raise PublisherError(f"source {source}: the value of header {header} is not printable ASCII, or too long")
    return headers


def _to_response(answer: OpenResponse, url: str, chunks: AsyncIterator[bytes]) -> PublisherResponse:
    return PublisherResponse(
        url=url,
        via=answer.via,
        etag=_read_header(answer, "ETag"),
        last_modified=_read_header(answer, "Last-Modified"),
        media_type=_read_header(answer, "Content-Type"),
        chunks=chunks,
    )


def _read_header(answer: OpenResponse, header: str) -> str:
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
