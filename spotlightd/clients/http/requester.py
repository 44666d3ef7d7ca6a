"""Send a request of a source: in its turn, with retries and redirects, until there is a response with a document.

The pause that a host requests by Retry-After holds for all sources of that host.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from http import HTTPStatus

import aiohttp
from yarl import URL

from spotlightd import log
from spotlightd.clients.http import address, body, status
from spotlightd.clients.http.rate_limit import parse_retry_after
from spotlightd.clients.http.sessions import HttpSessions, Request
from spotlightd.errors import PublisherError
from spotlightd.model.source import Batch

MAX_REDIRECTS = 5


@dataclass(frozen=True, slots=True)
class OpenResponse:
    """An open response, the address of the mirror that sent it, if any, and when the document must be complete."""

    response: aiohttp.ClientResponse
    via: str
    ends_at: float


@dataclass(frozen=True, slots=True)
class Requester:
    """Sends the requests of one source."""

    sessions: HttpSessions
    source: Batch

    async def request(self, url: str, request: Request) -> OpenResponse:
        """Send the request, and retry it after transient failures. The number of tries and each pause are bounded."""
        limits, clock = self.sessions.limits, self.sessions.clock
        attempt = 1
        while True:
            try:
                return await self._follow_redirects(url, request)
            except status.TransientError as problem:
                retry_after = problem.retry_after_seconds or 0.0
                if attempt >= limits.attempts or retry_after > limits.backoff_most_seconds:
                    raise status.add_attempts(problem, attempt) from problem
                pause = self.sessions.backoff.pause(attempt, clock.chance)
                log.logger(source=self.source.name, url=url).info(
                    "request retried", reason=str(problem), attempt=attempt, seconds=max(pause, retry_after)
                )
            await clock.sleep(pause)
            attempt += 1

    async def _follow_redirects(self, url: str, request: Request) -> OpenResponse:
        """Send the request, and follow redirects to hosts of the source."""
        target = address.check_address(url, self.source.hosts)
        for _ in range(MAX_REDIRECTS + 1):
            answer = await self._send_once(target, request)
            if answer.response.status not in status.REDIRECTS:
                return answer
            answer.response.close()
            if request.post is not None:
                raise PublisherError(f"{address.format_address(url)} was redirected, which no POST is")
            former, location = target, answer.response.headers.get("Location", "")
            target = address.resolve_redirect(target, location, self.source.hosts)
            if target.host != former.host:
                request = replace(request, authorization={})
        raise PublisherError(f"{address.format_address(url)} was redirected more than {MAX_REDIRECTS} times")

    async def _send_once(self, target: URL, request: Request) -> OpenResponse:
        """Wait for a turn and send one request. The response is a document, a redirect or "not modified"."""
        host = str(target.host)
        await self.sessions.queues.wait_for_slot(host)
        ends_at = self.sessions.clock.now() + self.sessions.limits.total_seconds
        response, via = await self.sessions.send(target, request)
        try:
            await self._check_status(response, target, conditional=bool(request.conditions))
        except BaseException:
            response.close()
            raise
        return OpenResponse(response, via, ends_at)

    async def _check_status(self, response: aiohttp.ClientResponse, target: URL, *, conditional: bool) -> None:
        """PublisherError for a response without a document. The pause that it requests holds for the whole host."""
        if status.is_usable(response.status, conditional=conditional):
            return
        host, about = str(target.host), address.format_address(str(target))
        retry_after = parse_retry_after(response.headers.get("Retry-After", ""), self.sessions.clock.utc())
        if retry_after is not None:
            self.sessions.queues.pause(host, retry_after)
        title = await self._read_title(response) if response.status == HTTPStatus.FORBIDDEN else ""
        reason = address.format_address(response.reason or "")
        raise status.make_refusal(status.ResponseHead(host, about, response.status, reason, retry_after), title)

    async def _read_title(self, response: aiohttp.ClientResponse) -> str:
        """The title of the page that explains a refusal, if it arrives within a few seconds."""
        try:
            async with asyncio.timeout(min(5.0, self.sessions.limits.stall_seconds)):
                return body.extract_title(await response.content.read(body.PREFIX_BYTES))
        except (aiohttp.ClientError, OSError):
            return ""
