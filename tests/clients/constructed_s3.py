"""An S3 server in memory, constructed for faults: it does what real ones do when they are broken, foreign or full."""

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
    """What it holds, and what is wrong with it; the fields may be changed at any time.

    failing        (status, code) of every answer that is a failure; None = it works
    overwrites     does not know If-None-Match
    ranges         how a range is answered: right, whole (200 and everything), wrong (other bytes), short
    lists, deletes whether the key may
    truncates      keeps half of what it is sent, and answers 200
    forgets        keeps nothing, and answers 200
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
    asked: int = 0
    before: Callable[[web.Request], None] = lambda _: None
    url: str = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.asked += 1
        self.before(request)
        if self.failing is not None:
            return failure(*self.failing, head=request.method == "HEAD")
        _, _, name = request.path.lstrip("/").partition("/")
        if not name:
            return self._bucket(request)
        if "uploads" in request.query or "uploadId" in request.query:
            return await self._parts(request, name)
        if request.method == "PUT":
            return self._kept(request, name, await request.read(), request.headers.get(META, ""))
        return self._deleted(name) if request.method == "DELETE" else self._got(request, name)

    def _deleted(self, name: str) -> web.Response:
        if not self.deletes:
            return failure(403, "AccessDenied")
        self.objects.pop(name, None)
        return web.Response(status=204)

    def _kept(self, request: web.Request, name: str, body: bytes, digest: str) -> web.Response:
        if name in self.objects and request.headers.get("If-None-Match") == "*" and not self.overwrites:
            return failure(412, "PreconditionFailed")
        if not self.forgets:
            self.objects[name] = (body[: len(body) // 2] if self.truncates else body, digest)
        return web.Response(headers={"ETag": '"constructed"'})

    def _got(self, request: web.Request, name: str) -> web.Response:
        if name not in self.objects:
            return failure(404, "NoSuchKey", head=request.method == "HEAD")
        body, digest = self.objects[name]
        head = {META: digest, "ETag": '"constructed"', "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}
        span = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("Range", ""))
        if span is None or self.ranges == "whole":
            return web.Response(body=body, headers=head)
        first, last = int(span[1]), int(span[2])
        some = body[first : last + 1]
        told = {"Content-Range": f"bytes {first}-{last}/{len(body)}"}
        if self.ranges == "wrong":
            some = body[: len(some)]
        if self.ranges == "short":
            some = some[:-1]
        return web.Response(status=206, body=some, headers=head | told)

    async def _parts(self, request: web.Request, name: str) -> web.Response:
        upload = request.query.get("uploadId", "")
        if "uploads" in request.query:
            made = str(len(self.uploads) + 1)
            self.uploads[made] = (request.headers.get(META, ""), {})
            return xml(f"<InitiateMultipartUploadResult><UploadId>{made}</UploadId></InitiateMultipartUploadResult>")
        if upload not in self.uploads:
            return failure(404, "NoSuchUpload")
        digest, parts = self.uploads[upload]
        if request.method == "PUT":
            parts[int(request.query["partNumber"])] = await request.read()
            return web.Response(headers={"ETag": '"part"'})
        del self.uploads[upload]
        if request.method == "DELETE":
            return web.Response(status=204)
        done = self._kept(request, name, b"".join(parts[number] for number in sorted(parts)), digest)
        return done if done.status != 200 else xml("<CompleteMultipartUploadResult></CompleteMultipartUploadResult>")

    def _bucket(self, request: web.Request) -> web.Response:
        if request.method == "HEAD":
            return web.Response()
        if not self.lists:
            return failure(403, "AccessDenied")
        if "uploads" in request.query:
            return xml("<ListMultipartUploadsResult></ListMultipartUploadsResult>")
        prefix, after = request.query.get("prefix", ""), request.query.get("start-after", "")
        found = "".join(
            f"<Contents><Key>{escape(name)}</Key><Size>{len(body)}</Size><ETag>constructed</ETag></Contents>"
            for name, (body, _) in sorted(self.objects.items())
            if name.startswith(prefix) and name > after
        )
        return xml(
            f"<ListBucketResult><Name>constructed</Name><IsTruncated>false</IsTruncated>{found}</ListBucketResult>"
        )


def xml(text: str, status: int = 200) -> web.Response:
    return web.Response(status=status, text=text, content_type="application/xml")


def failure(status: int, code: str, *, head: bool = False) -> web.Response:
    if head:
        return web.Response(status=status)
    return xml(f"<Error><Code>{code}</Code><Message>constructed</Message></Error>", status)


@asynccontextmanager
async def constructed_s3() -> AsyncIterator[ConstructedS3]:
    store = ConstructedS3()
    app = web.Application(client_max_size=1 << 26)
    app.router.add_route("*", "/{any:.*}", store.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    store.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield store
    finally:
        await runner.cleanup()
