"""Cursors: the start of the next page, as a text in its address. A cursor belongs to one order of rows."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

from spotlightd.model.dataset import Column
from spotlightd.query.errors import HttpProblem, bad_parameter
from spotlightd.query.question import Question
from spotlightd.query.values import canonical, to_text


def make_cursor(question: Question, row: dict[str, Any]) -> str:
    """The start of the next page: after that row in the order of the question."""
    values = [to_text(row[column.name]) for column, _ in question.order]
    raw = json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def apply_cursor(question: Question, text: str) -> Question:
    """The question with its cursor parsed by its order: a cursor of another order is refused."""
    if not text:
        return question
    problem = bad_parameter("_next", "is not a mark that this page gave out", "Begin again without _next.")
    try:
        values = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, RecursionError):
        raise problem from None
    order = with_page_order(question).order
    if not isinstance(values, list) or len(values) != len(order):
        raise problem
    try:
        after = tuple(_cursor_value(column, value, problem) for (column, _), value in zip(order, values, strict=True))
    except ValueError:
        raise problem from None
    return replace(question, after=after)


def _cursor_value(column: Column, value: object, problem: HttpProblem) -> str | None:
    if value is None and (column.is_nullable or column.kind == "float"):
        return None
    if not isinstance(value, str):
        raise problem
    return canonical(column, value)


def with_page_order(question: Question) -> Question:
    """The question with the order of a page: newest first unless it has an order."""
    if question.sort:
        return question
    return replace(question, sort=question.dataset.column(question.dataset.time), descending=True)
