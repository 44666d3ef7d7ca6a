"""Errors of an S3 store as StoreErrors: which store, its error code, and the remedy. They contain no key."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from minio.error import InvalidResponseError, MinioException, S3Error, ServerError
from urllib3.exceptions import HTTPError, MaxRetryError, NewConnectionError, SSLError
from urllib3.exceptions import TimeoutError as HttpTimeoutError

from spotlightd.errors import StoreError

NOT_FOUND_CODES = frozenset({"NoSuchKey", "NoSuchUpload", "ResourceNotFound"})
EXISTS_CODES = frozenset({"PreconditionFailed", "ConditionalRequestConflict"})

_REFUSED = {
    "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "AccountProblem",
    "AllAccessDisabled", "InvalidSecurity", "NotSignedUp", "Unauthorized", "401", "403",
}  # fmt: skip
_FULL = {"XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "QuotaExceeded", "InsufficientStorage", "507"}
_ELSEWHERE = {"AuthorizationHeaderMalformed", "PermanentRedirect", "TemporaryRedirect", "Redirect", "301", "307"}
_BUSY = {
    "SlowDown", "SlowDownRead", "SlowDownWrite", "ServiceUnavailable", "InternalError", "RequestTimeout",
    "XMinioServerNotInitialized", "500", "502", "503", "504",
}  # fmt: skip
_REMEDIES = (
    (_REFUSED, "refuses our key", "check bucket.access_key_file, bucket.secret_key_file, and the rights of that key"),
    ({"NoSuchBucket"}, "does not exist", "create it, or set bucket.name"),
    (_FULL, "is full", "free space there, or raise its quota"),
    (_ELSEWHERE, "is in another region or at another address", "set bucket.region and bucket.url"),
    ({"RequestTimeTooSkewed"}, "has a clock that differs from this machine's", "set both clocks right"),
    (_BUSY, "cannot answer now", "the request is repeated; if this lasts, look at its log"),
)


@contextmanager
def translate_s3_errors(store: str) -> Iterator[None]:
    """Raise every failure of the client as a StoreError."""
    try:
        yield
    except (MinioException, HTTPError, OSError, ValueError) as problem:
        raise to_store_error(problem, store) from None


def error_code(problem: BaseException) -> str:
    """S3's error code, or the HTTP status where there is none; empty when the store did not answer."""
    if isinstance(problem, S3Error):
        return str(problem.code)
    if isinstance(problem, ServerError):
        return str(problem.status_code)
    if isinstance(problem, InvalidResponseError):
        return str(problem._code)  # noqa: SLF001  the status has no public name
    return ""


def to_store_error(problem: BaseException, store: str) -> StoreError:
    code = error_code(problem)
    for codes, failure, remedy in _REMEDIES:
        if code in codes:
            return StoreError(f"{store} {failure} ({code}): {remedy}")
    if code:
        return StoreError(f"{store} refused ({code}): look at its log, and at section [bucket] of the settings")
    return _to_unreachable_error(problem, store)


def _to_unreachable_error(problem: BaseException, store: str) -> StoreError:
    cause = problem.reason if isinstance(problem, MaxRetryError) and problem.reason else problem
    if isinstance(cause, SSLError):
        return StoreError(f"{store} has a certificate that is not trusted here: check bucket.url and the certificate")
    if isinstance(cause, HttpTimeoutError) and not isinstance(cause, NewConnectionError):
        return StoreError(f"{store} does not answer: check that it runs, and check bucket.url", slow=True)
    if isinstance(cause, HTTPError | OSError):
        return StoreError(
            f"{store} cannot be reached, or broke off ({type(cause).__name__}): check that it runs, and check bucket.url",
            slow=True,
        )
    return StoreError(f"{store} did not answer as an S3 store does ({type(cause).__name__}): check bucket.url")
