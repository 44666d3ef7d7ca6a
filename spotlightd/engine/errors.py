"""Failures in ClickHouse's own form: a code, a sentence, and the HTTP status of that code."""

from __future__ import annotations

import re

UNKNOWN, CUT_OFF, TOO_MANY_QUERIES = 1002, 210, 202
SYNTAX, NOT_IMPLEMENTED, UNKNOWN_SETTING, TOO_LARGE, TIMED_OUT = 62, 48, 115, 396, 159
SAME_ID, READONLY = 216, 164
SESSION_NOT_FOUND, SESSION_IS_LOCKED, AUTHENTICATION_FAILED, UNKNOWN_COMPRESSION = 372, 373, 516, 89
NAMES = {
    UNKNOWN: "UNKNOWN_EXCEPTION", CUT_OFF: "NETWORK_ERROR", TOO_MANY_QUERIES: "TOO_MANY_SIMULTANEOUS_QUERIES",
    SYNTAX: "SYNTAX_ERROR", NOT_IMPLEMENTED: "NOT_IMPLEMENTED", UNKNOWN_SETTING: "UNKNOWN_SETTING",
    TOO_LARGE: "TOO_MANY_ROWS_OR_BYTES", TIMED_OUT: "TIMEOUT_EXCEEDED", SESSION_NOT_FOUND: "SESSION_NOT_FOUND",
    READONLY: "READONLY", SAME_ID: "QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING",
    SESSION_IS_LOCKED: "SESSION_IS_LOCKED", AUTHENTICATION_FAILED: "AUTHENTICATION_FAILED",
    UNKNOWN_COMPRESSION: "UNKNOWN_COMPRESSION_METHOD",
}  # fmt: skip
_STATUS = {
    400: {6, 26, 27, 32, 36, 38, 41, 42, 43, 50, 53, 62, 69, 70, 72, 130, 131, 186, 456, 457},
    403: {164, 497, 516},
    404: {16, 46, 47, 60, 73, 81, 115, 372},
    408: {159},
    501: {48},
    503: {202},
}
_BY_CODE = {code: status for status, codes in _STATUS.items() for code in codes}
_TEXT = re.compile(r"Code: (\d+)\. DB::Exception: .*", re.DOTALL)
_VERSION = re.compile(r"\s*\(version [^()]*\)\s*$")


ENGINE_ERRORS = (RuntimeError, UnicodeDecodeError)
"""What chDB raises when a statement fails. The second: a message that quotes bytes cannot be decoded."""


class StatementError(Exception):
    """A statement failed. `text` is ClickHouse's `Code: n. DB::Exception: …` without the version."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text

    @property
    def status(self) -> int:
        return _BY_CODE.get(self.code, 500)


def failure(code: int, sentence: str) -> StatementError:
    """A failure that this process detects itself, worded as the engine would."""
    return StatementError(code, f"Code: {code}. DB::Exception: {sentence}. ({NAMES[code]})")


def parse_failure(problem: BaseException) -> StatementError:
    """A failure that the engine raised. A message without a code becomes UNKNOWN_EXCEPTION."""
    raw = problem.object if isinstance(problem, UnicodeDecodeError) else str(problem).encode()
    text = raw.decode("utf-8", errors="backslashreplace")
    match = _TEXT.search(text)
    if match is None:
        return failure(UNKNOWN, text.strip().rstrip(".") or type(problem).__name__)
    return StatementError(int(match[1]), _VERSION.sub("", match[0]))
