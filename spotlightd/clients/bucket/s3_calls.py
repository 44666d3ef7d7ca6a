"""Calls to an S3 store through the `minio` library; each is one request, and blocks its thread.

The library's own `put_object` cannot say `If-None-Match: *`, which alone makes two writers of one key safe; so what it
is made of is called here. Time-outs and retries are those of the settings: the library's own would wait half an hour
for a store that is a black hole. A time-out for connecting also holds for sending one part.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit
from xml.etree.ElementTree import Element, SubElement, tostring

import urllib3
from minio import Minio
from minio.error import S3Error
from urllib3.util import Retry, Timeout

from spotlightd.clients.bucket.s3_errors import ABSENT, TAKEN, blaming, code
from spotlightd.errors import StoreError
from spotlightd.model.bucket import Access, is_key
from spotlightd.ports.storage import Object
from spotlightd.settings.stores import BucketSettings

PAGE = 1000
BACKOFF_SECONDS = 0.2
SHA256 = "x-amz-meta-sha256"
NEW = {"If-None-Match": "*"}


@dataclass(frozen=True, slots=True)
class Upload:
    """A multipart upload that was begun. `name` is the object's whole name in the store."""

    name: str
    id: str
    begun_at: datetime | None


class S3Requests:
    """What is asked of one bucket. Keys are ours, without the prefix of the settings."""

    def __init__(self, settings: BucketSettings, access: Access, where: str) -> None:
        self._bucket = settings.name
        self._prefix = access.prefix
        self._where = where
        self._pool = _pool(settings)
        address = urlsplit(settings.url)
        self._client: Any = Minio(
            address.netloc,
            access_key=access.access_key,
            secret_key=access.secret_key,
            secure=address.scheme == "https",
            region=settings.region,
            http_client=self._pool,
        )

    def close(self) -> None:
        self._pool.clear()

    def create(self, key: str, body: bytes, digest: str) -> bool:
        """Put a small object; false when there is one of that key, which stays as it is."""
        headers = {SHA256: digest, "Content-Type": "application/octet-stream", **NEW}
        return self._made(lambda: self._client._put_object(self._bucket, self._prefix + key, body, headers))

    def begin(self, key: str, digest: str) -> str:
        """Begin an object in parts; the name of the upload."""
        with blaming(self._where):
            return str(self._client._create_multipart_upload(self._bucket, self._prefix + key, {SHA256: digest}))

    def part(self, key: str, upload: str, number: int, body: bytes) -> str:
        """Send one part; the store's tag for it."""
        with blaming(self._where):
            return str(self._client._upload_part(self._bucket, self._prefix + key, body, {}, upload, number))

    def complete(self, key: str, upload: str, tags: Sequence[str]) -> bool:
        """Make the object of its parts; false when there is one of that key. What came of it is to be looked at: this
        answer may be lost, and a store may answer 200 and then an error.
        """
        headers = {"Content-Type": "application/xml", **NEW}
        query = {"uploadId": upload}
        return self._made(
            lambda: self._client._execute(
                "POST", self._bucket, self._prefix + key, body=_parts(tags), headers=headers, query_params=query
            )
        )

    def abort(self, name: str, upload: str) -> None:
        """Forget an upload and its parts; one that is not known any more is no error."""
        with blaming(self._where):
            try:
                self._client._abort_multipart_upload(self._bucket, name, upload)
            except S3Error as problem:
                if code(problem) not in ABSENT:
                    raise

    def named(self, key: str) -> str:
        """An object's whole name in the store."""
        return self._prefix + key

    def head(self, key: str) -> Object | None:
        """None when there is no such object in a bucket that there is."""
        with blaming(self._where):
            try:
                found = self._client.stat_object(self._bucket, self._prefix + key)
            except S3Error as problem:
                if code(problem) not in ABSENT:
                    raise
                if not self._client.bucket_exists(self._bucket):
                    raise StoreError(f"{self._where} does not exist: make it, or set bucket.name") from None
                return None
            return Object(key, int(found.size or 0), (found.metadata or {}).get(SHA256, ""))

    def get(self, key: str, first: int, length: int) -> bytes:
        """Exactly those bytes. StoreError when the store gives others."""
        with blaming(self._where):
            answer = self._client.get_object(self._bucket, self._prefix + key, offset=first, length=length)
            with closing(answer):
                body = bytes(answer.read())
                answer.release_conn()
        said = str(answer.headers.get("Content-Range", "")).partition("/")[0]
        if answer.status != 206 or said != f"bytes {first}-{first + length - 1}" or len(body) != length:  # noqa: PLR2004
            raise StoreError(
                f"{self._where} was asked for {length} bytes of {key} from {first} and gave others ({answer.status}, {said or 'no'}"
                f" Content-Range, {len(body)} bytes): see what stands between it and us"
            )
        return body

    def page(self, prefix: str, after: str) -> Sequence[Object]:
        """The next objects in order, behind that key; none at the end. What has a name that is no key is not ours."""
        behind = self._prefix + after if after else None
        with blaming(self._where):
            found = self._client.list_objects(
                self._bucket, prefix=self._prefix + prefix, recursive=True, start_after=behind
            )
            some = list(itertools.islice(found, PAGE))
        return [Object(str(one.object_name).removeprefix(self._prefix), int(one.size or 0)) for one in some]

    def uploads(self, after: Upload | None) -> tuple[Sequence[Upload], bool]:
        """The next uploads that are not finished, and whether there are more; of the whole bucket, because asked by
        prefix MinIO tells of none. It also tells only of those since its own start, and ends others itself after a day.
        """
        markers = {"key_marker": after.name, "upload_id_marker": after.id} if after else {}
        with blaming(self._where):
            found = self._client._list_multipart_uploads(self._bucket, max_uploads=PAGE, **markers)
        some = [Upload(str(one.object_name), str(one.upload_id), one.initiated_time) for one in found.uploads]
        return some, bool(some) and bool(found.is_truncated)

    def is_ours(self, name: str) -> bool:
        """Whether an object of that whole name is below our prefix."""
        return name.startswith(self._prefix)

    def remove(self, key: str) -> None:
        """Of probes only."""
        if is_key(key):
            raise StoreError(f"{key} is an object of the bucket: nothing deletes it")
        with blaming(self._where):
            self._client.remove_object(self._bucket, self._prefix + key)

    def _made(self, call: Any) -> bool:
        with blaming(self._where):
            try:
                call()
            except S3Error as problem:
                if code(problem) not in TAKEN:
                    raise
                return False
            return True


def _pool(settings: BucketSettings) -> urllib3.PoolManager:
    """Connections with our time-outs. What a store asks for in `Retry-After` may be minutes, so it is not obeyed here."""
    return urllib3.PoolManager(
        timeout=Timeout(connect=settings.connect_seconds, read=settings.read_seconds),
        maxsize=settings.threads,
        cert_reqs="CERT_REQUIRED",
        retries=Retry(
            total=settings.retries,
            redirect=0,
            backoff_factor=BACKOFF_SECONDS,
            backoff_jitter=BACKOFF_SECONDS,
            status_forcelist=(500, 502, 503, 504),
            raise_on_status=False,
            raise_on_redirect=False,
            respect_retry_after_header=False,
        ),
    )


def _parts(tags: Sequence[str]) -> bytes:
    root = Element("CompleteMultipartUpload")
    for number, tag in enumerate(tags, 1):
        part = SubElement(root, "Part")
        SubElement(part, "PartNumber").text = str(number)
        SubElement(part, "ETag").text = f'"{tag}"'
    return tostring(root)
