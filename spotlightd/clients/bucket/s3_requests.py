"""Requests to an S3 store through the `minio` library. Each call is one request, and blocks its thread.

The library's `put_object` cannot send `If-None-Match: *`, which alone makes two writers of one key safe. So the private
methods below it are called here. The alternatives were tried against MinIO, on two cores shared with other work (medians
of three, processor seconds of our process):
- minio's public calls: version 7.2.20 turns a header of `put_object` into `x-amz-meta-…`, sends a large object in one
  call without a deadline for each part, and has no list of unfinished uploads.
- boto3 1.44 has all of it publicly and passes the contract suite with MinIO. Through `S3Bucket`, 300 puts of 20 kB cost
  2.04 s instead of 1.03, 300 gets 1.10 instead of 0.52, and a put of 64 MiB in parts 0.27 instead of 0.23. Its packages
  take 37 MB.

Time-outs and retries are those of the settings: the library's own would wait half an hour for a store that does not
answer. The time-out for connecting also holds for sending one part.
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

from spotlightd.clients.bucket.s3_errors import EXISTS_CODES, NOT_FOUND_CODES, error_code, translate_s3_errors
from spotlightd.errors import StoreError
from spotlightd.model.bucket import BucketAccess, is_key
from spotlightd.ports.storage import Object
from spotlightd.settings.stores import BucketSettings

PAGE = 1000
BACKOFF_SECONDS = 0.2
SHA256 = "x-amz-meta-sha256"
CREATE_ONLY = {"If-None-Match": "*"}


@dataclass(frozen=True, slots=True)
class Upload:
    """An unfinished multipart upload. `name` is the object's full name in the store."""

    name: str
    id: str
    started_at: datetime | None


class S3Requests:
    """The requests to one bucket. Keys are without the prefix of the settings."""

    def __init__(self, settings: BucketSettings, access: BucketAccess, store: str) -> None:
        self._bucket = settings.name
        self._prefix = access.prefix
        self._store = store
        self._pool = _make_pool(settings)
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
        """Put a small object; False when there is one of that key, which stays as it is."""
        headers = {SHA256: digest, "Content-Type": "application/octet-stream", **CREATE_ONLY}
        return self._create_only(lambda: self._client._put_object(self._bucket, self._prefix + key, body, headers))

    def begin_upload(self, key: str, digest: str) -> str:
        """Start an upload in parts; returns its id."""
        with translate_s3_errors(self._store):
            return str(self._client._create_multipart_upload(self._bucket, self._prefix + key, {SHA256: digest}))

    def send_part(self, key: str, upload: str, number: int, body: bytes) -> str:
        """Send one part; returns the store's tag for it."""
        with translate_s3_errors(self._store):
            return str(self._client._upload_part(self._bucket, self._prefix + key, body, {}, upload, number))

    def complete_upload(self, key: str, upload: str, tags: Sequence[str]) -> bool:
        """Make the object of its parts; False when there is one of that key. The caller must check the object: the
        response may be lost, and a store may answer 200 and then an error.
        """
        headers = {"Content-Type": "application/xml", **CREATE_ONLY}
        query = {"uploadId": upload}
        return self._create_only(
            lambda: self._client._execute(
                "POST", self._bucket, self._prefix + key, body=_parts_xml(tags), headers=headers, query_params=query
            )
        )

    def abort_upload(self, name: str, upload: str) -> None:
        """Delete an upload and its parts. An upload that no longer exists is no error."""
        with translate_s3_errors(self._store):
            try:
                self._client._abort_multipart_upload(self._bucket, name, upload)
            except S3Error as problem:
                if error_code(problem) not in NOT_FOUND_CODES:
                    raise

    def full_name(self, key: str) -> str:
        """The object's full name in the store."""
        return self._prefix + key

    def head(self, key: str) -> Object | None:
        """None when there is no such object. StoreError when there is no such bucket."""
        with translate_s3_errors(self._store):
            try:
                stat = self._client.stat_object(self._bucket, self._prefix + key)
            except S3Error as problem:
                if error_code(problem) not in NOT_FOUND_CODES:
                    raise
                if not self._client.bucket_exists(self._bucket):
                    raise StoreError(f"{self._store} does not exist: create it, or set bucket.name") from None
                return None
            return Object(key, int(stat.size or 0), (stat.metadata or {}).get(SHA256, ""))

    def get(self, key: str, first: int, length: int) -> bytes:
        """Exactly those bytes. StoreError when the store sends others."""
        with translate_s3_errors(self._store):
            response = self._client.get_object(self._bucket, self._prefix + key, offset=first, length=length)
            with closing(response):
                body = bytes(response.read())
                response.release_conn()
        content_range = str(response.headers.get("Content-Range", "")).partition("/")[0]
        if response.status != 206 or content_range != f"bytes {first}-{first + length - 1}" or len(body) != length:  # noqa: PLR2004
            raise StoreError(
                f"{self._store} sent other bytes of {key} than the {length} from {first} on (status {response.status}, Content-Range"
                f" {content_range or 'missing'}, {len(body)} bytes): check for a proxy between it and this machine"
            )
        return body

    def list_page(self, prefix: str, after: str) -> Sequence[Object]:
        """The next objects in order, behind that key; none at the end. Names that are not keys are included."""
        start_after = self._prefix + after if after else None
        with translate_s3_errors(self._store):
            objects = self._client.list_objects(
                self._bucket, prefix=self._prefix + prefix, recursive=True, start_after=start_after
            )
            page = list(itertools.islice(objects, PAGE))
        return [Object(str(item.object_name).removeprefix(self._prefix), int(item.size or 0)) for item in page]

    def list_uploads(self, after: Upload | None) -> tuple[Sequence[Upload], bool]:
        """The next unfinished uploads, and whether there are more. They are of the whole bucket, because MinIO lists none
        for a prefix. MinIO also lists only uploads since its own start, and ends older ones itself after a day.
        """
        markers = {"key_marker": after.name, "upload_id_marker": after.id} if after else {}
        with translate_s3_errors(self._store):
            response = self._client._list_multipart_uploads(self._bucket, max_uploads=PAGE, **markers)
        uploads = [Upload(str(item.object_name), str(item.upload_id), item.initiated_time) for item in response.uploads]
        return uploads, bool(uploads) and bool(response.is_truncated)

    def has_prefix(self, name: str) -> bool:
        """Whether an object of that full name is below the prefix of the settings."""
        return name.startswith(self._prefix)

    def remove(self, key: str) -> None:
        """Only for probes."""
        if is_key(key):
            raise StoreError(f"{key} is an object of the bucket: nothing deletes it")
        with translate_s3_errors(self._store):
            self._client.remove_object(self._bucket, self._prefix + key)

    def _create_only(self, call: Any) -> bool:
        """Run a request with CREATE_ONLY; False when there is an object of that key."""
        with translate_s3_errors(self._store):
            try:
                call()
            except S3Error as problem:
                if error_code(problem) not in EXISTS_CODES:
                    raise
                return False
            return True


def _make_pool(settings: BucketSettings) -> urllib3.PoolManager:
    """Connections with the time-outs of the settings. `Retry-After` is ignored, because a store may ask for minutes."""
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


def _parts_xml(tags: Sequence[str]) -> bytes:
    root = Element("CompleteMultipartUpload")
    for number, tag in enumerate(tags, 1):
        part = SubElement(root, "Part")
        SubElement(part, "PartNumber").text = str(number)
        SubElement(part, "ETag").text = f'"{tag}"'
    return tostring(root)
