"""An S3 server in memory with faults that can be chosen: it answers as real stores do when they are broken or full."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

from aiohttp import web

KEY, META = "tests/", "x-amz-meta-sha256"


@dataclass
class ConstructedS3:
    """Its objects and its faults. The fields may be changed at any time.

    failing        (status, code) with which every request fails; None = it works
    overwrites     ignores If-None-Match
    ranges         the response to a range: right, whole (200 and everything), wrong (other bytes), short
    lists, deletes whether the access key has that right
    truncates      stores half of the bytes, and answers 200
    forgets        stores nothing, and answers 200
    """

    failing: tuple[int, str] | None = None
    overwrites: bool = False
    ranges: str = "right"
    lists: bool = True
    deletes: bool = True
    truncates: bool = False
    forgets: bool = False
    objects: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    uploads: dict[str, tuple[str, dict[int, bytes]]] = field(default_factory=dict)
    requests: int = 0
    before: Callable[[web.Request], None] = lambda _: None
    url: str = ""

    async def handle(self, request: web.Request) -> web.Response:
        self.requests += 1
        self.before(request)
        if self.failing is not None:
            return make_failure(*self.failing, head=request.method == "HEAD")
        _, _, name = request.path.lstrip("/").partition("/")
        if not name:
            return self._bucket(request)
        if "uploads" in request.query or "uploadId" in request.query:
            return await self._multipart(request, name)
        if request.method == "PUT":
            return self._put(request, name, await request.read(), request.headers.get(META, ""))
        return self._delete(name) if request.method == "DELETE" else self._get(request, name)

    def _delete(self, name: str) -> web.Response:
        if not self.deletes:
            return make_failure(403, "AccessDenied")
        self.objects.pop(name, None)
        return web.Response(status=204)

    def _put(self, request: web.Request, name: str, body: bytes, digest: str) -> web.Response:
        if name in self.objects and request.headers.get("If-None-Match") == "*" and not self.overwrites:
            return make_failure(412, "PreconditionFailed")
        if not self.forgets:
            self.objects[name] = (body[: len(body) // 2] if self.truncates else body, digest)
        return web.Response(headers={"ETag": '"constructed"'})

    def _get(self, request: web.Request, name: str) -> web.Response:
        if name not in self.objects:
            return make_failure(404, "NoSuchKey", head=request.method == "HEAD")
        body, digest = self.objects[name]
        head = {META: digest, "ETag": '"constructed"', "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}
        span = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("Range", ""))
        if span is None or self.ranges == "whole":
            return web.Response(body=body, headers=head)
        first, last = int(span[1]), int(span[2])
        piece = body[first : last + 1]
        content_range = {"Content-Range": f"bytes {first}-{last}/{len(body)}"}
        if self.ranges == "wrong":
            piece = body[: len(piece)]
        if self.ranges == "short":
            piece = piece[:-1]
        return web.Response(status=206, body=piece, headers=head | content_range)

    async def _multipart(self, request: web.Request, name: str) -> web.Response:
        upload = request.query.get("uploadId", "")
        if "uploads" in request.query:
            upload_id = str(len(self.uploads) + 1)
            self.uploads[upload_id] = (request.headers.get(META, ""), {})
            return make_xml(
                f"<InitiateMultipartUploadResult><UploadId>{upload_id}</UploadId></InitiateMultipartUploadResult>"
            )
        if upload not in self.uploads:
            return make_failure(404, "NoSuchUpload")
        digest, parts = self.uploads[upload]
        if request.method == "PUT":
            parts[int(request.query["partNumber"])] = await request.read()
            return web.Response(headers={"ETag": '"part"'})
        del self.uploads[upload]
        if request.method == "DELETE":
            return web.Response(status=204)
        response = self._put(request, name, b"".join(parts[number] for number in sorted(parts)), digest)
        return (
            response
            if response.status != 200
            else make_xml("<CompleteMultipartUploadResult></CompleteMultipartUploadResult>")
        )

    def _bucket(self, request: web.Request) -> web.Response:
        if request.method == "HEAD":
            return web.Response()
        if not self.lists:
            return make_failure(403, "AccessDenied")
        if "uploads" in request.query:
            return make_xml("<ListMultipartUploadsResult></ListMultipartUploadsResult>")
        prefix, after = request.query.get("prefix", ""), request.query.get("start-after", "")
        contents = "".join(
            f"<Contents><Key>{escape(name)}</Key><Size>{len(body)}</Size><ETag>constructed</ETag></Contents>"
            for name, (body, _) in sorted(self.objects.items())
            if name.startswith(prefix) and name > after
        )
        return make_xml(
            f"<ListBucketResult><Name>constructed</Name><IsTruncated>false</IsTruncated>{contents}</ListBucketResult>"
        )


def make_xml(text: str, status: int = 200) -> web.Response:
    return web.Response(status=status, text=text, content_type="application/xml")


def make_failure(status: int, code: str, *, head: bool = False) -> web.Response:
    if head:
        return web.Response(status=status)
    return make_xml(f"<Error><Code>{code}</Code><Message>constructed</Message></Error>", status)


@asynccontextmanager
async def constructed_s3() -> AsyncIterator[ConstructedS3]:
    store = ConstructedS3()
    app = web.Application(client_max_size=1 << 26)
    app.router.add_route("*", "/{any:.*}", store.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    store.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield store
    finally:
        await runner.cleanup()
