"""What a reader is told instead of a page: which status, what is wrong, and what to do about it."""

from __future__ import annotations


class HttpProblem(Exception):  # noqa: N818  the word of RFC 9457, Problem Details
    """The request cannot be answered. `says` names the thing, `remedy` the way out; both are shown as they are."""

    def __init__(self, status: int, says: str, remedy: str = "", *, retry_after_seconds: int = 0) -> None:
        super().__init__(says)
        self.status = status
        self.detail = says
        self.remedy = remedy
        self.retry_after_seconds = retry_after_seconds


def bad_parameter(parameter: str, says: str, remedy: str = "") -> HttpProblem:
    """400: one parameter of the address cannot be understood."""
    return HttpProblem(400, f"{parameter}: {says}", remedy or "Change or remove it in the address.")


def not_found(says: str, remedy: str = "") -> HttpProblem:
    """404: there is no such thing here."""
    return HttpProblem(404, says, remedy)
