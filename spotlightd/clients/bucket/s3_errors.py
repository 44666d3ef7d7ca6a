"""What went wrong at an S3 store, as our error: which store, what it said, and the remedy. No key stands in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from minio.error import InvalidResponseError, MinioException, S3Error, ServerError
from urllib3.exceptions import HTTPError, MaxRetryError, NewConnectionError, SSLError
from urllib3.exceptions import TimeoutError as Late

from spotlightd.errors import StoreError

ABSENT = frozenset({"NoSuchKey", "NoSuchUpload", "ResourceNotFound"})
TAKEN = frozenset({"PreconditionFailed", "ConditionalRequestConflict"})

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
    (_REFUSED, "refuses our key", "see bucket.access_key_file, bucket.secret_key_file, and what that key may do"),
    ({"NoSuchBucket"}, "does not exist", "make it, or set bucket.name"),
    (_FULL, "is full", "free space there, or raise its quota"),
    (_ELSEWHERE, "belongs to another region or address", "set bucket.region and bucket.url"),
    ({"RequestTimeTooSkewed"}, "has another time than this machine", "set both clocks right"),
    (_BUSY, "cannot answer now", "it is asked again; if it lasts, look at its log"),
)


@contextmanager
def blaming(where: str) -> Iterator[None]:
    """Every failure of the client as a StoreError."""
    try:
        yield
    except (MinioException, HTTPError, OSError, ValueError) as problem:
        raise told(problem, where) from None


def code(problem: BaseException) -> str:
    """S3's word for it, or the HTTP status where there is none."""
    if isinstance(problem, S3Error):
        return str(problem.code)
    if isinstance(problem, ServerError):
        return str(problem.status_code)
    if isinstance(problem, InvalidResponseError):
        return str(problem._code)  # noqa: SLF001  it tells its status to nobody
    return ""


def told(problem: BaseException, where: str) -> StoreError:
    said = code(problem)
    for codes, trouble, remedy in _REMEDIES:
        if said in codes:
            return StoreError(f"{where} {trouble} ({said}): {remedy}")
    if said:
        return StoreError(f"{where} refused ({said}): look at its log, and at section [bucket] of the settings")
    return _unreached(problem, where)


def _unreached(problem: BaseException, where: str) -> StoreError:
    cause = problem.reason if isinstance(problem, MaxRetryError) and problem.reason else problem
    if isinstance(cause, SSLError):
        return StoreError(
            f"{where} shows a certificate that is not trusted here: check bucket.url, and its certificate"
        )
    if isinstance(cause, Late) and not isinstance(cause, NewConnectionError):
        return StoreError(f"{where} does not answer: see that it runs, and check bucket.url", slow=True)
    if isinstance(cause, HTTPError | OSError):
        return StoreError(
            f"{where} cannot be reached, or broke off ({type(cause).__name__}): see that it runs, and check bucket.url",
            slow=True,
        )
    return StoreError(f"{where} answered what no S3 store answers ({type(cause).__name__}): check bucket.url")
