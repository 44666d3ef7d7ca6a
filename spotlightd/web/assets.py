"""Our few static files under addresses that change with their bytes, so that browsers may keep them for a year."""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from spotlightd.query.errors import missing

FOLDER = Path(__file__).parent / "static"
_SERVED = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True)
class Asset:
    body: bytes
    digest: str
    media_type: str


def read() -> dict[str, Asset]:
    """All files that pages may ask for, by their path under static/. They are few and small: kept in memory."""
    found = sorted(path for path in FOLDER.rglob("*") if path.suffix in _SERVED)
    return {path.relative_to(FOLDER).as_posix(): _asset(path) for path in found}


def _asset(path: Path) -> Asset:
    body = path.read_bytes()
    media_type = _SERVED.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return Asset(body, hashlib.sha256(body).hexdigest(), media_type)


def address(assets: Mapping[str, Asset], name: str) -> str:
    return f"/static/{assets[name].digest[:16]}/{name}"


def answer(assets: Mapping[str, Asset], digest: str, name: str) -> web.Response:
    """The file, if that is still its digest: an old page's address must not bring new bytes."""
    asset = assets.get(name)
    if asset is None or asset.digest[:16] != digest:
        raise missing(f"There is no file {name!r} of that digest.", "Reload the page that asked for it.")
    answer = web.Response(body=asset.body, content_type=asset.media_type, charset="utf-8")
    answer.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    answer.headers["ETag"] = f'"{asset.digest[:16]}"'
    answer.enable_compression()
    return answer
