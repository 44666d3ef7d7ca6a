"""Asks a running daemon for its own pages."""

from __future__ import annotations

from typing import Any

import aiohttp

from spotlightd.errors import StoreError

STATUS_SECONDS = 30.0


async def read_status(web: str, token: str = "") -> dict[str, Any]:
    """`/status.json` of the explorer at that address. StoreError when it does not answer, or answers something else."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    timeout = aiohttp.ClientTimeout(total=STATUS_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, headers=headers) as session,
            session.get(f"{web}/status.json", allow_redirects=False) as answer,
        ):
            if answer.status != 200:  # noqa: PLR2004
                raise StoreError(f"{web}/status.json answers {answer.status} {answer.reason}")
            status = await answer.json()
    except TimeoutError:
        raise StoreError(f"{web} does not answer within {STATUS_SECONDS:.0f} s") from None
    except aiohttp.ClientError as error:
        raise StoreError(f"{web} does not answer: {error}") from None
    except ValueError:
        raise StoreError(f"{web}/status.json is no JSON: does another program listen there?") from None
    return dict(status)
