"""Columns that cannot be fingerprinted are refused by name."""

from __future__ import annotations

import pytest

from spotlightd.errors import SettingsError
from spotlightd.sql.fingerprint import fingerprint_columns, row_hash

from .proof_world import columns_of


@pytest.mark.parametrize("type_name", ["Nullable(Date)", "String", "Array(Date)", "Bool", "Float64"])
def test_a_time_column_must_be_ordered(type_name: str) -> None:
    with pytest.raises(SettingsError, match=r"column c0: .* is no time"):
        fingerprint_columns(columns_of([type_name]), "c0")


def test_the_time_column_must_exist() -> None:
    with pytest.raises(SettingsError, match="nothing: no such column"):
        fingerprint_columns(columns_of([]), "nothing")


def test_a_decimal_wider_than_the_engines_is_refused() -> None:
    with pytest.raises(SettingsError, match="more than 76 digits"):
        row_hash(columns_of(["Decimal(77, 2)"]))
