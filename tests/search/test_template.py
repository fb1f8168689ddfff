"""Templates: names in braces, and what stands for them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilonet.errors import SpecError
from kilonet.search.template import fill, names_in

VALUES: dict[str, Any] = {
    "width": 12,
    "rate": 0.05,
    "on": True,
    "none": [],
    "two": ["conv 4", "conv {width}"],
    "down": "maxpool 2",
    "table": {"residual": ["conv {width} pad=1"]},
    "depth": 3,
}


def filled(template: Any) -> Any:
    return fill(template, VALUES.__getitem__)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{width}", 12),
        ("{rate}", 0.05),
        ("{on}", True),
        ("conv {width} pad=1", "conv 12 pad=1"),
        ("{down} {rate} {on}", "maxpool 2 0.05 true"),
        ("{{width}} {width}", "{width} 12"),
        (["a", "{none}", "b"], ["a", "b"]),
        (["a", "{two}"], ["a", "conv 4", "conv 12"]),
        (["{table}"], [{"residual": ["conv 12 pad=1"]}]),
        ({"layers": "{two}"}, {"layers": ["conv 4", "conv 12"]}),
        ([{"residual": ["{two}"]}], [{"residual": ["conv 4", "conv 12"]}]),
        ([{"copies": "{depth}", "layers": ["conv {width}"]}], ["conv 12"] * 3),
        ([{"copies": 0, "layers": ["conv 4"]}, "gap"], ["gap"]),
        ([[1, 2], 3.5, None], [[1, 2], 3.5, None]),
    ],
)
def test_what_stands_for_a_name(template: Any, expected: Any) -> None:
    assert filled(template) == expected


def test_types_are_kept() -> None:
    assert type(filled("{on}")) is bool
    assert type(filled("{width}")) is int


@pytest.mark.parametrize(
    ("template", "match"),
    [
        ("conv {two}", r"\{two\} is a list or a table here"),
        ([{"copies": "{rate}", "layers": []}], r"0\.copies: 0\.05 should be a whole number"),
        ([{"copies": True, "layers": []}], "True should be a whole number"),
        ([{"copies": 101, "layers": []}], "from 0 to 100"),
        ([{"copies": 2, "layer": []}], r"should be \{ copies = N, layers"),
    ],
)
def test_what_does_not_suit_its_place(template: Any, match: str) -> None:
    with pytest.raises(SpecError, match=match):
        filled(template)


def test_the_names_of_a_template() -> None:
    template = {"a": ["conv {width}", {"copies": "{depth}", "layers": ["{two}"]}], "b": "{{no}}"}
    assert list(names_in(template)) == ["width", "depth", "two"]


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet="ab =.{}", max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(alphabet="ab", max_size=2), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(plain)
def test_doubled_braces_give_back_any_data(data: Any) -> None:
    text = json.dumps(data).replace("{", "{{").replace("}", "}}")
    # The braces of JSON's own tables are doubled too: undo those by filling the text.
    assert fill(text, VALUES.__getitem__) == json.dumps(data)


@given(plain.filter(lambda data: not list(names_in(data)) and "{{" not in json.dumps(data)))
def test_data_without_names_is_unchanged(data: Any) -> None:
    if "}}" not in json.dumps(data):
        assert filled(data) == data
