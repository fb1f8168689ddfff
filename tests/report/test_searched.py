"""What a search's report says: its figures are the trials', and what is optimistic is called so."""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean

import pytest

from kilonet.report import search_tables
from kilonet.report.searched import SearchContent, duration
from kilonet.report.searched_networks import networks, search_commands
from kilonet.search.result import SearchResult, State
from search_results import EPOCHS, FOLDER, LIMIT, made_search

SEARCH = made_search()
CONTENT = SearchContent(result=SEARCH)


def without_confirmation() -> SearchResult:
    return replace(SEARCH, confirmed=(), tomls={}, study_toml=None)


def test_the_best_is_the_confirmed_one_with_its_interval() -> None:
    best = SEARCH.confirmed[0]
    label, figure, note = CONTENT.facts[0]
    assert label == "Best validation accuracy"
    assert figure == f"{fmean(best.accuracies):.2f}%"
    low, high = best.ci95 or (0.0, 0.0)
    assert note == (
        f"trial {best.trial.number}: 95% interval [{low:.2f}, {high:.2f}] over 5 fresh seeds"
    )
    first = CONTENT.sentences[0]
    assert f"{best.trial.parameters:,} parameters (at most 6,000 parameters and 15 epochs)" in first
    assert figure in first


def test_what_was_not_confirmed_is_called_optimistic() -> None:
    single = [each.trial.number for each in SEARCH.front if each.confirmed is None]
    assert single
    [sentence] = [s for s in CONTENT.sentences if s.startswith("Not confirmed")]
    assert all(str(number) in sentence for number in single)
    assert "optimistic" in sentence
    content = SearchContent(result=without_confirmation())
    assert "optimistic" in content.facts[0][2]
    assert "No network was confirmed with fresh seeds." in content.sentences
    assert content.unfinished == ""  # a search may confirm none


def test_the_optimism_of_choosing_is_the_mean_difference() -> None:
    above = fmean((each.trial.accuracy or 0.0) - each.mean for each in SEARCH.confirmed)
    [sentence] = [s for s in CONTENT.sentences if "single runs that chose them" in s]
    assert f"{abs(above):.2f} points {'above' if above >= 0 else 'below'}" in sentence


def test_a_confirmed_network_that_was_stopped_early() -> None:
    """Its own run had fewer epochs, so nothing compares the two."""
    pruned = next(t for t in SEARCH.trials if t.state is State.PRUNED)
    one = replace(SEARCH.confirmed[0], trial=pruned)
    result = replace(SEARCH, confirmed=(one,))
    content = SearchContent(result=result)
    assert not any("single runs that chose them" in sentence for sentence in content.sentences)
    [row] = search_tables.confirmed(content).rows
    assert f"{pruned.accuracy:.2f}% after {pruned.rungs[-1].epochs} epochs" in row
    [mark] = [mark for mark in content.marks("parameters") if mark.number == pruned.number]
    assert (mark.trained, mark.confirmed, mark.accuracy) == (True, True, one.mean)


def test_a_search_that_still_runs() -> None:
    trials = (*SEARCH.trials[:30], replace(SEARCH.trials[30], state=State.RUNNING, ended=None))
    result = replace(without_confirmation(), trials=trials)
    ended = sum(t.state in (State.COMPLETE, State.PRUNED, State.FAILED) for t in trials)
    content = SearchContent(result=result)
    assert content.unfinished == (
        f"Not finished: {ended} of 60 trials have ended. The same command continues it."
    )


def test_a_search_without_a_trial_at_full_length() -> None:
    pruned = tuple(t for t in SEARCH.trials if t.state is State.PRUNED)
    content = SearchContent(result=replace(without_confirmation(), trials=pruned))
    assert content.sentences == (
        "No trial was trained at full length yet, so there is no best network.",
    )
    assert [label for label, *_ in content.facts] == ["Trials trained", "Training time"]


@pytest.mark.parametrize("unit", ["parameters", "multiply-adds"])
def test_nothing_on_a_front_is_beaten_by_a_smaller_confirmed_network(unit: str) -> None:
    marks = CONTENT.marks(unit)
    front = [mark for mark in marks if mark.on_front]
    assert len(front) > 1
    for mark in front:
        for other in marks:
            if other.confirmed and other.size <= mark.size and other is not mark:
                assert other.accuracy < mark.accuracy or not mark.confirmed


def test_each_trained_trial_is_one_mark_and_one_step() -> None:
    trained = [t for t in SEARCH.trials if t.state in (State.COMPLETE, State.PRUNED)]
    assert len(CONTENT.marks("parameters")) == len(trained) == len(CONTENT.steps)
    seconds = sum(t.seconds for t in SEARCH.trials)
    assert CONTENT.seconds[-1].at == pytest.approx(seconds)


def test_rungs_count_the_trials_that_reached_them() -> None:
    for epochs, images, reached in CONTENT.rungs:
        counted = sum(
            any(rung.epochs == epochs for rung in trial.rungs)
            for trial in SEARCH.trials
            if trial.state is not State.DUPLICATE
        )
        assert (images, reached) == (50_000, counted)
    assert [rung[0] for rung in CONTENT.rungs] == list(EPOCHS)
    assert CONTENT.first_rung == "2 epochs"


def test_the_states_add_up() -> None:
    table = search_tables.states(CONTENT)
    assert sum(int(row[1]) for row in table.rows) == len(SEARCH.trials)
    pruned = sum(int(row[1]) for row in table.rows if row[0].startswith("pruned"))
    assert pruned == SEARCH.counts["pruned"]


def test_confirmed_networks_are_compared_with_the_best_by_seed() -> None:
    table = search_tables.confirmed(CONTENT)
    best, second = SEARCH.confirmed[:2]
    assert table.rows[0][-1] == ""
    difference = fmean(b - a for a, b in zip(best.accuracies, second.accuracies, strict=True))
    assert table.rows[1][-1].startswith(f"{difference:+.2f} [")
    assert "Holm" in search_tables.CONFIRMED_NOTE


def test_one_confirmed_network_with_one_seed_has_no_interval() -> None:
    one = replace(SEARCH.confirmed[0], seeds=(1001,), accuracies=(99.0,), ci95=None)
    content = SearchContent(result=replace(SEARCH, confirmed=(one,)))
    assert content.facts[0][2] == f"trial {one.trial.number}: of 1 fresh seed"
    assert search_tables.confirmed(content).rows[0][3:5] == ("99.00%", "")


def test_failed_trials_and_their_reasons_name_no_folder() -> None:
    failed = next(t for t in SEARCH.trials if t.state is State.FAILED)
    reason = f"{FOLDER / 'runs' / 'x'}: the loss is not finite"
    trials = tuple(replace(t, reason=reason) if t is failed else t for t in SEARCH.trials)
    [row] = search_tables.failures(SearchContent(result=replace(SEARCH, trials=trials))).rows
    assert row[:2] == (str(failed.number), "runs/x: the loss is not finite")


def test_the_networks_to_take_and_their_commands() -> None:
    found = networks(CONTENT, folder=FOLDER)
    numbers = [each.trial.number for each in SEARCH.confirmed]
    assert [net.title.split(":")[0] for net in found[: len(numbers)]] == [
        f"Trial {number}" for number in numbers
    ]
    assert found[0].commands[0] == ("Train it", "kilonet train networks/best-1.toml")
    # A trial holds images out and reads no test images; the run for kilonet train does neither.
    assert "validation = 0" in found[0].toml
    assert str(FOLDER) not in found[0].toml
    assert found[-1].commands == []  # no file was written for it


def test_the_commands_of_a_search() -> None:
    lines = dict(search_commands(CONTENT, folder=FOLDER))
    assert lines["The whole search"] == (
        "kilonet search space.toml --trials 60 --confirm 4 --seeds 5 --jobs 1 --out again"
    )
    assert "kilonet study networks/study.toml" in lines.values()


@pytest.mark.parametrize(
    ("seconds", "text"), [(12.4, "12 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_limit_of_the_space_is_the_charts() -> None:
    assert CONTENT.limits == f"at most {LIMIT:,} parameters and {EPOCHS[-1]} epochs"


def test_a_result_shows_itself() -> None:
    text = str(SEARCH)
    title, *_ = text.splitlines()
    assert title == f"small, at most 6,000 parameters and 15 epochs: {FOLDER}"
    for each in (*SEARCH.confirmed, *SEARCH.front):
        assert f"{each.trial.parameters:,}" in text
    assert "<table>" in SEARCH._repr_html_()
    empty = replace(SEARCH, trials=(), confirmed=())
    assert str(empty).startswith("small, at most")
