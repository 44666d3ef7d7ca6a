"""The token that readers must send, where the explorer or the metrics can be reached from other machines."""

from __future__ import annotations

import base64
import binascii
import hmac

from aiohttp import web

from spotlightd.web.middleware import Handler

ALIVE = "/healthz"  # a supervisor has no token


def require_token(app: web.Application, token: str) -> None:
    """From now on the application answers only requests with that token; an empty one requires none.

    It is the token of `Authorization: Bearer`, or the password of Basic authentication, which browsers ask for. Whoever
    listens on the wire can read both: for other networks than one's own, a proxy with TLS is needed.
    """

    @web.middleware
    async def check_token(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path != ALIVE and not is_authorized(request.headers.get("Authorization", ""), token):
            headers = {"WWW-Authenticate": 'Basic realm="spotlightd", charset="UTF-8"', "Cache-Control": "no-store"}
            return web.Response(status=401, text="The operator's token is needed, as a password.\n", headers=headers)
        return await handler(request)

    if token:
        app.middlewares.insert(1, check_token)  # after the log, before everything that reads a store


def is_authorized(header: str, token: str) -> bool:
    """Whether the header carries the token. The comparison takes the same time for every wrong one."""
    scheme, _, credentials = header.partition(" ")
    if scheme.lower() == "basic":
        credentials = _read_password(credentials)
    elif scheme.lower() != "bearer":
        return False
    return hmac.compare_digest(credentials.strip().encode("utf-8", "surrogateescape"), token.encode())


def _read_password(credentials: str) -> str:
    try:
        return base64.b64decode(credentials, validate=True).decode("utf-8", "replace").partition(":")[2]
    except (binascii.Error, ValueError):
        return ""
