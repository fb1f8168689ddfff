"""Inline TOML, read back by Python's own reader."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kilonet.spec.inline_toml import inline

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_VALUES = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=6,
)


@given(_VALUES)
@settings(max_examples=200, deadline=None)
def test_reads_back_equal(value: Any) -> None:
    line = f"value = {inline(value)}"
    assert "\n" not in line
    assert tomllib.loads(line)["value"] == value


def test_reads_as_a_study_is_written() -> None:
    change = {"data.augment": [{"name": "rotation", "degrees": 7}], "plain": 0.1}
    expected = '{ "data.augment" = [{ name = "rotation", degrees = 7 }], plain = 0.1 }'
    assert inline(change) == expected


def test_none_has_no_form() -> None:
    with pytest.raises(TypeError, match="no form in TOML"):
        inline({"a": None})
