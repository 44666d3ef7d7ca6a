"""What a publisher's status means for us, in a sentence: pure."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

from spotlightd.errors import PublisherError

MOVED = frozenset({301, 302, 303, 307, 308})
ABSENT = frozenset({404, 410})


class TransientError(PublisherError):
    """A failure before the body began that may be gone on the next try."""


@dataclass(frozen=True, slots=True)
class Head:
    """The head of an answer: whom and what we asked, what it said. `asked` is its Retry-After in seconds."""

    host: str
    about: str
    status: int
    reason: str
    asked: float | None = None

    @property
    def said(self) -> str:
        return f"{self.status} {self.reason}".strip()


def brings(status: int, *, conditional: bool) -> bool:
    """Whether the answer is a body, a redirect, or "not modified" where that was asked for."""
    return status == HTTPStatus.OK or status in MOVED or (conditional and status == HTTPStatus.NOT_MODIFIED)


def refusal(head: Head, title: str) -> PublisherError:
    """The error for an answer that brings nothing. `title` is that of the page that came with it, if any.

    403 is not tried again at once: the SEC answers it, with a page, to those who were too fast, and counts every
    further request against them.
    """
    if head.status in ABSENT:
        return PublisherError(f"{head.host} has no {head.about} ({head.said})", outcome="absent", status=head.status)
    if head.status == HTTPStatus.FORBIDDEN:
        page = f", a page titled '{title}'" if title else ""
        return PublisherError(
            f"{head.host} refuses {head.about} ({head.said}{page}): publishers answer so when they are asked too fast "
            "or by someone who names no contact (publisher.contact); asked again on the next tick",
            status=head.status,
            retry_after_seconds=head.asked,
        )
    passing = head.status == HTTPStatus.TOO_MANY_REQUESTS or head.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    kind = TransientError if passing else PublisherError
    return kind(f"{head.host} answered {head.said} to {head.about}", status=head.status, retry_after_seconds=head.asked)


def given_up(problem: PublisherError, attempts: int) -> PublisherError:
    """The last failure, with how often it was tried and how long a pause was asked for."""
    asked = problem.retry_after_seconds
    tried = f"; tried {attempts} times" if attempts > 1 else ""
    pause = f"; it asks for a pause of {asked:,.0f} s" if asked else ""
    return PublisherError(f"{problem}{tried}{pause}", status=problem.status, retry_after_seconds=asked)
