"""Connections to publishers: two sessions, one request queue for each host, and what a request carries.

A host that has a mirror is reached through a separate session: the session for publishers cannot connect to a private
address, and the demo's mirror is on loopback.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Self

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from spotlightd.backoff import Backoff, Clock
from spotlightd.clients.http import address, status
from spotlightd.clients.http.rate_limit import HostQueues
from spotlightd.errors import PublisherError, SettingsError
from spotlightd.settings import sources

MAX_CONNECTIONS = 32


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent to an address. `post` is the JSON text of a POST, None for other methods. `authorization` are headers for
    the host of the first address only: they are not sent to another one, to which it redirects.
    """

    conditions: Mapping[str, str] = field(default_factory=dict)
    post: str | None = None
    authorization: Mapping[str, str] = field(default_factory=dict)
    is_head: bool = False

    @property
    def method(self) -> str:
        return "HEAD" if self.is_head else "GET" if self.post is None else "POST"

    @property
    def headers(self) -> dict[str, str]:
        body = {} if self.post is None else {"Content-Type": "application/json"}
        return {**body, **self.conditions, **self.authorization}


class HttpSessions:
    """One connection pool, and one request queue per host, for all sources. Tests pass `clock` and `resolver`."""

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

    async def send(self, target: URL, request: Request) -> tuple[aiohttp.ClientResponse, str]:
        """Send one request; returns the response without its body, and the mirror's address if a mirror was used."""
        via = address.mirror_address(target, self.mirrors)
        session = self._public_session if via is None else self._mirror_session
        try:
            async with asyncio.timeout(self.limits.connect_seconds + self.limits.stall_seconds):
                response = await session.request(
                    request.method, via or target, headers=request.headers, data=request.post, allow_redirects=False
                )
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
