"""Which choices mattered: true ones are found, others are not, and nothing is said from little."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kilonet.errors import UsageError
from kilonet.search.importance import MIN_TRIALS, importances, parameter, ranked_trials
from kilonet.search.result import SearchResult, SearchTrial, State
from search_results import made_search

SEARCH = made_search()


def with_values(values: list[dict[str, object]], accuracies: list[float]) -> SearchResult:
    """A search whose trials, all at full length, have these values and accuracies."""
    like = next(trial for trial in SEARCH.trials if trial.state is State.COMPLETE)
    last = like.rungs[-1]
    trials = tuple(
        replace(like, number=i, values=each, rungs=(replace(last, accuracy=accuracy),))
        for i, (each, accuracy) in enumerate(zip(values, accuracies, strict=True))
    )
    return replace(SEARCH, trials=trials, confirmed=())


def drawn(number: int) -> list[dict[str, object]]:
    generator = np.random.Generator(np.random.Philox(3))
    return [
        {
            "width": int(generator.choice([4, 8, 12, 16])),
            "rate": float(10 ** generator.uniform(-3, 0)),
            "block": str(generator.choice(["relu", "silu"])),
            "nothing": int(generator.integers(0, 100)),
        }
        for _ in range(number)
    ]


@pytest.mark.parametrize(("name", "factor"), [("width", 1.0), ("rate", 10.0)])
def test_the_choice_that_decides_has_the_largest_share(name: str, factor: float) -> None:
    values = drawn(60)
    accuracies = [90 + factor * float(str(each[name])) for each in values]
    first, *others = importances(with_values(values, accuracies))
    assert first.name == name
    assert first.shown
    assert first.share > 0.5
    assert sum(each.share for each in (first, *others)) == pytest.approx(1.0)
    assert all(each.trials == 60 for each in (first, *others))


def test_a_choice_of_texts_that_decides() -> None:
    values = drawn(60)
    accuracies = [90.0 + (each["block"] == "silu") + 0.001 * i for i, each in enumerate(values)]
    first = importances(with_values(values, accuracies))[0]
    assert (first.name, first.shown) == ("block", True)


@pytest.mark.slow
def test_pure_chance_is_seldom_called_more() -> None:
    """By construction one choice in twenty; of these 40 at most 6 (binomial: 0.7 % have more)."""
    found = 0
    for seed in range(10):
        accuracies = np.random.Generator(np.random.Philox(seed)).random(40).tolist()
        found += sum(each.shown for each in importances(with_values(drawn(40), accuracies)))
    assert found <= 6


def test_a_choice_that_some_trials_lack_counts_its_own() -> None:
    values = drawn(60)
    for each in values[::3]:
        del each["nothing"]
    accuracies = [float(str(each["width"])) for each in values]
    by_name = {each.name: each for each in importances(with_values(values, accuracies))}
    assert by_name["nothing"].trials == 40
    assert by_name["width"].shown


def test_the_same_search_gives_the_same_numbers() -> None:
    assert importances(SEARCH) == importances(SEARCH)


def test_a_longer_training_ranks_above_any_accuracy() -> None:
    ranked = ranked_trials(SEARCH)
    assert {trial.state for trial in ranked} == {State.COMPLETE, State.PRUNED}
    lengths = [trial.rungs[-1].epochs for trial in ranked]
    assert lengths == sorted(lengths, reverse=True)
    for length in set(lengths):
        accuracies = [t.accuracy for t in ranked if t.rungs[-1].epochs == length]
        assert accuracies == sorted(accuracies, key=lambda a: -(a or 0.0))


def test_few_trials_tell_nothing() -> None:
    values = drawn(MIN_TRIALS - 1)
    with pytest.raises(UsageError, match="19 trained trials do not tell"):
        importances(with_values(values, [90.0 + i for i in range(len(values))]))


def test_choices_that_never_varied_are_left_out() -> None:
    values: list[dict[str, object]] = [{"width": 4} for _ in range(30)]
    assert importances(with_values(values, [90.0 + i for i in range(30)])) == ()


@pytest.mark.parametrize(
    ("value", "wanted"), [(3, 3), (0.5, 0.5), ("relu", "relu"), (True, "true"), ([1, 2], "[1, 2]")]
)
def test_values_as_parameters(value: object, wanted: object) -> None:
    assert parameter(value) == wanted


def test_failed_and_rejected_trials_are_not_ranked() -> None:
    numbers = {trial.number for trial in ranked_trials(SEARCH)}
    others: list[SearchTrial] = [t for t in SEARCH.trials if t.number not in numbers]
    assert {trial.state for trial in others} == {
        State.FAILED,
        State.DUPLICATE,
        State.OVER_BUDGET,
    }
