"""The tables of a search's report."""

from __future__ import annotations

import os

from kilonet.analysis import compare, correct
from kilonet.formatting import count, interval, percent
from kilonet.report.searched import SearchContent
from kilonet.report.tables import difference_cell
from kilonet.search.importance import Importance
from kilonet.search.result import Candidate, Confirmed, SearchTrial, State
from kilonet.spec.inline_toml import inline
from kilonet.table import Table

MAX_TRIALS = 200
"""Rows of the table of trials, the best first: it keeps the file small."""

MAX_FAILURES = 20
"""Rows of the table of failed trials."""

FRONT_NOTE = (
    "Confirmed networks stand by the mean of their fresh seeds; others by the single run that "
    "chose them, which is optimistic."
)

STATES_NOTE = (
    "Complete trials were trained at full length, pruned ones stopped at a rung. Duplicates equal "
    "an earlier trial; they, and what is over the budget or invalid, cost no training."
)

CONFIRMED_NOTE = (
    "Own run: the trial's single run, which chose it. "
    "Differences are paired by seed, against the best, corrected by Holm for all of the table. The "
    "best was picked by its mean among these, so its own mean is slightly optimistic too."
)


def front(content: SearchContent) -> Table:
    """The Pareto front of accuracy against parameters, smallest first."""
    return _candidates(content.result.front)


def networks(content: SearchContent) -> Table:
    """The networks to take: confirmed ones, best mean first, then the rest of the front."""
    return _candidates(content.shown)


def confirmed(content: SearchContent) -> Table:
    """The confirmed networks, best mean first, and their difference from the best."""
    found = content.result.confirmed
    cells = _against_best(found)
    rows = tuple(
        (
            str(each.trial.number),
            f"{each.trial.parameters:,}",
            f"{each.trial.macs:,}",
            percent(each.mean),
            "" if each.ci95 is None else interval(*each.ci95),
            f"{min(each.accuracies):.2f} to {max(each.accuracies):.2f}",
            str(len(each.seeds)),
            own_run(each.trial),
            cell,
        )
        for each, cell in zip(found, cells, strict=True)
    )
    columns = (
        "Trial",
        "Parameters",
        "Multiply-adds",
        "Mean",
        "95% interval",
        "Range",
        "Seeds",
        "Own run",
        "Against the best",
    )
    return Table(columns=columns, rows=rows, left=frozenset({len(columns) - 1}))


def states(content: SearchContent) -> Table:
    """How many candidates ended in each state; pruned ones by the rung that they reached."""
    result, rows = content.result, []
    texts = {
        State.COMPLETE: "complete",
        State.RUNNING: "running",
        State.FAILED: "failed",
        State.DUPLICATE: "duplicate",
        State.OVER_BUDGET: "over budget",
        State.INVALID: "invalid",
    }
    for state, text in texts.items():
        if result.counts[state]:
            rows.append((text, f"{result.counts[state]:,}"))
    for i, (epochs, images, _) in enumerate(content.rungs):
        stopped = sum(
            trial.state is State.PRUNED
            and (trial.rungs[-1].epochs, trial.rungs[-1].images) == (epochs, images)
            for trial in result.trials
        )
        if stopped:
            rows.append((f"pruned at rung {i + 1}", f"{stopped:,}"))
    return Table(columns=("State", "Candidates"), rows=tuple(rows), left=frozenset({0}))


def failures(content: SearchContent) -> Table:
    """The trials that failed in training, and why, at most :data:`MAX_FAILURES`."""
    # A page may be published, so it names no folder of this machine.
    here = f"{content.result.path}{os.sep}"
    rows = tuple(
        (str(trial.number), trial.reason.replace(here, ""), values_text(trial))
        for trial in content.result.trials
        if trial.state is State.FAILED
    )
    columns = ("Trial", "Reason", "Values")
    return Table(columns=columns, rows=rows[:MAX_FAILURES], left=frozenset({1, 2}))


def rungs(content: SearchContent) -> Table:
    """The rungs, and how many trials reached each."""
    rows = tuple(
        (str(i + 1), str(epochs), f"{images:,}", f"{reached:,}")
        for i, (epochs, images, reached) in enumerate(content.rungs)
    )
    return Table(columns=("Rung", "Epochs", "Images", "Trials"), rows=rows)


def importance(found: tuple[Importance, ...]) -> Table:
    """The importance of each choice beside what chance gives."""
    rows = tuple(
        (
            each.name,
            f"{each.share:.1%}",
            f"{each.chance:.1%}",
            "yes" if each.shown else "no",
            f"{each.trials:,}",
        )
        for each in found
    )
    columns = ("Choice", "Importance", "Chance", "Above it", "Trials")
    return Table(columns=columns, rows=rows, left=frozenset({0, 3}))


def trials(content: SearchContent) -> Table:
    """The trained trials, best first, at most :data:`MAX_TRIALS`, with the values of choices."""
    rows = tuple(
        (
            str(trial.number),
            trial.state.value,
            f"{trial.parameters:,}",
            percent(trial.rungs[-1].accuracy),
            str(trial.rungs[-1].epochs),
            f"{trial.seconds:.1f}",
            values_text(trial),
        )
        for trial in content.ranked[:MAX_TRIALS]
    )
    columns = ("Trial", "State", "Parameters", "Accuracy", "Epochs", "Seconds", "Values")
    return Table(columns=columns, rows=rows, left=frozenset({1, 6}))


def own_run(trial: SearchTrial) -> str:
    """The accuracy of a trial's own longest run; with its epochs where it was stopped early."""
    last = trial.rungs[-1]
    after = "" if trial.state is State.COMPLETE else f" after {count(last.epochs, 'epoch')}"
    return f"{percent(last.accuracy)}{after}"


def values_text(trial: SearchTrial) -> str:
    """The values of a trial's choices, as TOML in a line."""
    parts = []
    for name, value in trial.values.items():
        # The label of a list or a table is its TOML.
        text = value if isinstance(value, str) else inline(_short(value))
        parts.append(f"{name} = {text}")
    return ", ".join(parts)


def _short(value: object) -> object:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _candidates(found: tuple[Candidate, ...]) -> Table:
    rows = tuple(
        (
            str(each.trial.number),
            f"{each.parameters:,}",
            f"{each.macs:,}",
            percent(each.validation_accuracy),
            "" if each.ci95 is None else interval(*each.ci95),
            "a single run" if each.confirmed is None else f"{len(each.confirmed.seeds)} seeds",
            "" if each.toml is None else each.toml.name,
        )
        for each in found
    )
    columns = (
        "Trial",
        "Parameters",
        "Multiply-adds",
        "Validation accuracy",
        "95% interval",
        "Of",
        "File",
    )
    return Table(columns=columns, rows=rows, left=frozenset({5, 6}))


def _against_best(found: tuple[Confirmed, ...]) -> list[str]:
    """The paired difference of each from the first, as a cell; of the first ""."""
    if not found:
        return []
    by_seed = [dict(zip(each.seeds, each.accuracies, strict=True)) for each in found]
    differences = tuple(compare(by_seed[0], each) for each in by_seed[1:])
    corrected = correct(differences, comparisons=len(differences))
    return ["", *map(difference_cell, corrected)]
