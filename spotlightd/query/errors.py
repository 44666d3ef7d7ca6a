"""The answer to a reader whose request fails: the status, what is wrong, and what to do about it."""

from __future__ import annotations


class HttpProblem(Exception):  # noqa: N818  named after RFC 9457, Problem Details
    """The request cannot be answered. `detail` names the thing, `remedy` the way out; both are shown as they are."""

    def __init__(self, status: int, detail: str, remedy: str = "", *, retry_after_seconds: int = 0) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.remedy = remedy
        self.retry_after_seconds = retry_after_seconds


def bad_parameter(parameter: str, detail: str, remedy: str = "") -> HttpProblem:
    """400: a parameter of the address is wrong."""
    return HttpProblem(400, f"{parameter}: {detail}", remedy or "Change or remove it in the address.")


def not_found(detail: str, remedy: str = "") -> HttpProblem:
    """404: the thing does not exist here."""
    return HttpProblem(404, detail, remedy)
