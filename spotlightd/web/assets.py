"""Static files. Their addresses change with their bytes, so browsers may cache them for a year."""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from spotlightd.query.errors import not_found
from spotlightd.web.compression import compress_body

FOLDER = Path(__file__).parent / "static"
_MEDIA_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True)
class Asset:
    body: bytes
    digest: str
    media_type: str


def read_assets() -> dict[str, Asset]:
    """All files that pages use, by their path under static/. They are few and small, so they stay in memory."""
    paths = sorted(path for path in FOLDER.rglob("*") if path.suffix in _MEDIA_TYPES)
    return {path.relative_to(FOLDER).as_posix(): _read_asset(path) for path in paths}


def _read_asset(path: Path) -> Asset:
    body = path.read_bytes()
    media_type = _MEDIA_TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return Asset(body, hashlib.sha256(body).hexdigest(), media_type)


def make_address(assets: Mapping[str, Asset], name: str) -> str:
    return f"/static/{assets[name].digest[:16]}/{name}"


def serve_asset(request: web.Request, assets: Mapping[str, Asset], digest: str, name: str) -> web.Response:
    """The file, or 404 when its digest is another one: the address of an old page must not return new bytes. Its ETag is
    weak, because the compressed file has it too.
    """
    asset = assets.get(name)
    if asset is None or asset.digest[:16] != digest:
        raise not_found(f"There is no file {name!r} with that digest.", "Reload the page that links to it.")
    response = web.Response(body=asset.body, content_type=asset.media_type, charset="utf-8")
    response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    response.headers["ETag"] = f'W/"{asset.digest[:16]}"'
    compress_body(request, response)
    return response
