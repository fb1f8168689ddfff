"""Choices: lists, named options and ranges, drawn by Optuna or at random."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kilonet.errors import SpecError
from kilonet.search.choices import OneOf, Range, parse_choice


def test_a_list_has_a_label_for_each_value() -> None:
    choice = parse_choice([["conv", "relu"], "conv 4", 3, 0.5, True])
    assert isinstance(choice, OneOf)
    assert list(choice.options) == ['["conv", "relu"]', "conv 4", 3, 0.5, True]
    assert choice.value('["conv", "relu"]') == ["conv", "relu"]
    assert choice.step is None


@pytest.mark.parametrize(
    ("values", "step"),
    [
        ([4, 6, 8], 2),
        ([8, 4, 12], 4),
        ([1, 2], 1),
        ([4, 6, 9], None),
        ([4.0, 6.0], None),
        ([4], None),
    ],
)
def test_evenly_spaced_numbers_are_ordered(values: list[Any], step: int | None) -> None:
    assert parse_choice(values).step == step


def test_options_have_names() -> None:
    choice = parse_choice({"options": {"none": [], "one": ["conv 4"]}})
    assert choice.options == {"none": [], "one": ["conv 4"]}


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"from": 4, "to": 9, "step": 2}, Range(low=4, high=8, step=2)),
        ({"from": 1, "to": 3}, Range(low=1, high=3)),
        ({"from": 1, "to": 2.5}, Range(low=1.0, high=2.5)),
        ({"from": 0.1, "to": 0.35, "step": 0.1}, Range(low=0.1, high=0.1 + 0.1 * 2, step=0.1)),
        ({"from": 1e-4, "to": 1e-2, "log": True}, Range(low=1e-4, high=1e-2, log=True)),
    ],
)
def test_ranges(table: dict[str, Any], expected: Range) -> None:
    choice = parse_choice(table)
    assert choice == expected
    assert choice.whole == isinstance(expected.low, int)


@pytest.mark.parametrize(
    ("value", "match"),
    [
        (4, "4 is no choice"),
        ([], "is empty"),
        ([1, True], "given twice"),
        ([4, 4], "1: 4 is given twice"),
        ({"options": {}}, "options: should be a table"),
        ({"options": [1]}, "options: should be a table"),
        ({"options": {"a": 1}, "from": 1}, "no choice|unknown key"),
        ({"from": 1}, "to: is missing"),
        ({"to": 1}, "from: is missing"),
        ({"from": 2, "to": 1}, "from: 2 should be below to, which is 1"),
        ({"from": 1, "to": 4, "step": 5}, "step: 5 should be above 0"),
        ({"from": 0, "to": 4, "log": True}, "above 0 with log"),
        ({"from": 1, "to": 4, "log": True, "step": 1}, "step: leave it out"),
        ({"from": 1, "to": 4, "steps": 1}, "steps: unknown key of a range; did you mean 'step'"),
        ({"from": "1", "to": 4}, "from: '1' should be a number"),
        ({"from": 1, "to": math.inf}, "to: inf should be a finite number"),
        ({"from": 1, "to": 4, "log": 1}, "log: 1 should be true or false"),
    ],
)
def test_what_is_no_choice(value: Any, match: str) -> None:
    with pytest.raises(SpecError, match=match):
        parse_choice(value)


ranges = st.one_of(
    st.tuples(st.integers(-50, 50), st.integers(1, 60), st.none() | st.integers(1, 9)).map(
        lambda t: {"from": t[0], "to": t[0] + t[1], "step": min(t[2], t[1]) if t[2] else t[2]}
    ),
    st.tuples(st.floats(-5, 5), st.floats(0.01, 5)).map(
        lambda t: {"from": t[0], "to": t[0] + t[1]}
    ),
    st.tuples(st.floats(1e-5, 1), st.floats(1.01, 100)).map(
        lambda t: {"from": t[0], "to": t[0] * t[1], "log": True}
    ),
    st.tuples(st.integers(1, 50), st.integers(1, 60)).map(
        lambda t: {"from": t[0], "to": t[0] + t[1], "log": True}
    ),
)


@settings(max_examples=60, deadline=None)
@given(ranges, st.integers(0, 1000))
def test_what_is_drawn_is_in_the_range(table: dict[str, Any], seed: int) -> None:
    table = {key: value for key, value in table.items() if value is not None}
    choice = parse_choice(table)
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    drawn = [choice.suggest(study.ask(), "x"), choice.draw(random.Random(seed))]
    for value in drawn:
        assert table["from"] <= value <= table["to"]
        assert isinstance(value, int) == choice.whole
        assert choice.value(value) == value  # a stored label gives the same value again
        if "step" in table:
            assert (value - table["from"]) % table["step"] == 0
        if not choice.whole and value not in (choice.low, choice.high):
            assert float(f"{value:.4g}") == value
