"""Numbers with their nouns."""

from __future__ import annotations

import pytest

from spotlightd.model.text import count


@pytest.mark.parametrize(
    ("number", "expected"),
    [(0, "0 partitions"), (1, "1 partition"), (2, "2 partitions"), (1_234, "1,234 partitions")],
)
def test_the_noun_agrees_with_the_number(number: int, expected: str) -> None:
    assert count(number, "partition") == expected


@pytest.mark.parametrize(
    ("number", "expected"), [(0, "0 disks are full"), (1, "1 disk is full"), (2, "2 disks are full")]
)
def test_a_plural_that_is_given_is_used_so_that_verbs_agree_too(number: int, expected: str) -> None:
    assert count(number, "disk is full", "disks are full") == expected
