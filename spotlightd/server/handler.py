"""aiohttp's protocol of one connection, which tells what the connection waits for and hides the server's versions."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import StreamReader, hdrs, web

from spotlightd.server.connections import Connection, Connections

SERVER_NAME = "spotlightd"
GRACE_SECONDS = 0.1  # for the head of a request to come in several packets


class GuardedHandler(web.RequestHandler):
    """As aiohttp's, with a place among the connections of its server."""

    __slots__ = ("_places", "connection")

    def __init__(self, server: web.Server, places: Connections, connection: Connection, **options: Any) -> None:
        super().__init__(server, **options)
        self._places = places
        self.connection = connection

    def connection_lost(self, exc: BaseException | None) -> None:
        self._places.remove(self.connection)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if data and self._places.note_bytes(self.connection):  # without data it parses what was put aside
            self.note_read_soon()
        super().data_received(data)

    def note_read_soon(self) -> None:
        """When this timer is due, the event loop has read what had come, however busy it is; one step later it is parsed."""
        loop = asyncio.get_running_loop()
        loop.call_later(GRACE_SECONDS, loop.call_soon, self._places.note_read, self.connection)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._places.note_slow(self.connection, is_slow=True)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._places.note_slow(self.connection, is_slow=False)

    def begin_answer(self, body: StreamReader) -> None:
        self._places.begin_answer(self.connection, body)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send what is left of the response. It also sends the answers to what is no request, which no signal sees."""
        name_server(resp)
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            self._places.end_answer(self.connection)


def watch_answers(server: web.Server) -> None:
    """Tell each connection when the answer to a request begins."""
    make_request = server.request_factory

    def make_and_note(message: Any, payload: StreamReader, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
        protocol.begin_answer(payload)
        return make_request(message, payload, protocol, writer, task)

    server.request_factory = make_and_note


async def add_server_name(_: web.Request, response: web.StreamResponse) -> None:
    """A signal, for responses that a handler sends itself."""
    name_server(response)


def name_server(response: web.StreamResponse) -> None:
    """Without this aiohttp tells every client its own version and Python's."""
    response.headers[hdrs.SERVER] = SERVER_NAME
