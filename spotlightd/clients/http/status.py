"""What the HTTP status of a publisher means. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

from spotlightd.errors import PublisherError

REDIRECTS = frozenset({301, 302, 303, 307, 308})
ABSENT = frozenset({404, 410})


class TransientError(PublisherError):
    """A failure before the body began that may not occur on the next try."""


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """A response without its body: host, requested address, status. `retry_after` is the header's value in seconds."""

    host: str
    about: str
    status: int
    reason: str
    retry_after: float | None = None

    @property
    def text(self) -> str:
        return f"{self.status} {self.reason}".strip()


def is_usable(status: int, *, conditional: bool) -> bool:
    """Whether the response is a document, a redirect, or the "not modified" of a conditional request."""
    return status == HTTPStatus.OK or status in REDIRECTS or (conditional and status == HTTPStatus.NOT_MODIFIED)


def make_refusal(head: ResponseHead, title: str) -> PublisherError:
    """The error for a response without a document. `title` is the title of the page that came with it, if any.

    403 is not retried at once: the SEC sends it, with a page, to clients that were too fast, and counts every further
    request against them.
    """
    if head.status in ABSENT:
        return PublisherError(f"{head.host} has no {head.about} ({head.text})", outcome="absent", status=head.status)
    if head.status == HTTPStatus.FORBIDDEN:
        page = f", a page titled '{title}'" if title else ""
        return PublisherError(
            f"{head.host} refuses {head.about} ({head.text}{page}): publishers answer so when requests come too fast "
            "or name no contact (publisher.contact); requested again on the next tick",
            status=head.status,
            retry_after_seconds=head.retry_after,
        )
    is_transient = head.status == HTTPStatus.TOO_MANY_REQUESTS or head.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    error_class = TransientError if is_transient else PublisherError
    return error_class(
        f"{head.host} answered {head.text} to {head.about}", status=head.status, retry_after_seconds=head.retry_after
    )


def add_attempts(problem: PublisherError, attempts: int) -> PublisherError:
    """The last failure, with the number of tries and the pause that the publisher requested."""
    retry_after = problem.retry_after_seconds
    tries = f"; tried {attempts} times" if attempts > 1 else ""
    pause = f"; it requests a pause of {retry_after:,.0f} s" if retry_after else ""
    return PublisherError(f"{problem}{tries}{pause}", status=problem.status, retry_after_seconds=retry_after)
