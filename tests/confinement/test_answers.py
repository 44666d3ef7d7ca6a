"""What a child answers is read with a bound on depth and size, and with the type of each field."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spotlightd.confinement import answers
from spotlightd.engine.host.ready import DetachedTable, Ready, from_json

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
SHALLOW = st.lists(st.dictionaries(st.text(), SCALARS | st.lists(SCALARS)))


@given(value=SHALLOW, is_escaped=st.booleans())
def test_shallow_values_come_through_whatever_their_texts_hold(value: Any, is_escaped: bool) -> None:
    assert answers.decode_json(json.dumps(value, ensure_ascii=is_escaped).encode()) == value


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 200_000, b"[" * 9 + b"]" * 9, b'{"a":' * 9 + b"1" + b"}" * 9, b'["\\"[",' + b"[" * 9 + b"]" * 10, b"[" * 20 + b"}" * 20,
        b"[1," * 300_000, b'"' * 300_001, b"", b"[\xff]", b"9" * 5_000, b"{", b"[1] [2]",
    ],
)  # fmt: skip
def test_what_is_deep_or_no_value_is_a_value_error(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        answers.decode_json(text)


def test_brackets_in_texts_do_not_count_and_values_do(monkeypatch: pytest.MonkeyPatch) -> None:
    assert answers.decode_json(json.dumps(["[" * 1_000, '"[{' * 100]).encode()) == ["[" * 1_000, '"[{' * 100]
    monkeypatch.setattr(answers, "MOST_VALUES", 100)
    assert len(answers.decode_json(b"[" + b"[]," * 99 + b"[]]")) == 100
    with pytest.raises(ValueError, match="more than 100 values"):
        answers.decode_json(b"[" + b"[]," * 100 + b"[]]")


@pytest.mark.parametrize(
    ("read", "good", "bad"),
    [
        (lambda value: answers.read_number(value, 9), [0, 9], [-1, 10, 1.0, True, "1", None, float("inf")]),
        (lambda value: answers.read_number(value, 9, -9), [-9], [-10]),
        (lambda value: answers.read_text(value, 3), ["", "é\0"], ["four", 1, None, [], b"x", "\ud800"]),
        (answers.read_flag, [True, False], [0, 1, "true", None]),
        (answers.read_list, [[], [1]], [{}, "ab", None]),
        (answers.read_object, [{}], [[], "ab", None]),
        (lambda value: answers.read_fields(value, "a"), [{"a": 1}], [{}, {"b": 1}, {"a": 1, "b": 2}, ["a"], "a"]),
    ],
)
def test_a_field_of_another_type_is_a_value_error(read: Callable[[Any], Any], good: list[Any], bad: list[Any]) -> None:
    for value in good:
        read(value)
    for value in bad:
        with pytest.raises(ValueError, match=r"."):
            read(value)


def test_what_the_engine_says_at_its_start_is_read_in_the_same_way() -> None:
    ready = Ready("Landlock ABI 6, seccomp", (DetachedTable("a.b", "why [[["),))
    assert from_json(ready.to_json().encode()) == ready
    for text in (
        b"[" * 200_000,
        b"{}",
        b'{"sandbox": [], "detached": []}',
        b'{"sandbox": "", "detached": [[]]}',
        b"no",
    ):
        with pytest.raises(ValueError, match=r"."):
            from_json(text)
