"""Tables that several formats share: the ladder, a stage's Result, its seeds."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from kilonet.analysis import Difference, StageAnalysis, Statistics, StudyAnalysis
from kilonet.formatting import EQUAL, count, interval, percent, points, signed, signed_interval
from kilonet.spec.inline_toml import inline
from kilonet.storage.record import RunRecord
from kilonet.study import StageResult, StudyResult
from kilonet.table import Table

OPTIMISTIC = "chosen on the test set, so optimistic"
"""The caveat next to every best epoch."""

SUGGESTIONS_NOTES: dict[str, str] = {
    "test": (
        "Based on test accuracies: confirm a choice on other data, or choose by held-out images "
        "(data.validation)."
    ),
    "validation": "Based on the held-out images of data.validation alone.",
}
"""The caveat under suggestions, by the images they are based on: the test set chooses nothing."""

BEST_NOTE = f"* Best epoch, {OPTIMISTIC}."

NUM_STAGE_COLUMNS = 6
"""The ladder's columns about a stage alone; the effects follow."""


def ladder(result: StudyResult, analysis: StudyAnalysis) -> Table:
    """The ladder at a glance, a stage a row; :data:`BEST_NOTE` is its footnote.

    The intervals of effects are those that decide their words: corrected for all comparisons.
    """
    about_stage = ("", "Stage", "Params", "Final test accuracy", "Best*", "Reached")
    columns: tuple[str, ...] = (*about_stage, "Against the stage before", "Since the first stage")
    since_first = any(stage.effect_on_first for stage in analysis.stages)
    if not since_first:
        columns = columns[: -1 if any(stage.effect for stage in analysis.stages) else -2]
    rows = tuple(
        (
            str(stage.number),
            stage.name,
            f"{each.parameters:,}",
            mean_with_interval(stage.final),
            percent(stage.best.mean),
            reached_by(stage),
            _effect(stage),
            "" if stage.effect_on_first is None else difference_cell(stage.effect_on_first.final),
        )[: len(columns)]
        for each, stage in zip(result.stages, analysis.stages, strict=True)
    )
    return Table(columns=columns, rows=rows, left=frozenset({1, 6, 7}))


class ResultLine(NamedTuple):
    """A line of a stage's Result: a figure, and its interval or caveat, or ""."""

    label: str
    value: str
    note: str = ""


def result_lines(
    result: StageResult, stage: StageAnalysis, *, budget: int | None, has_target: bool
) -> list[ResultLine]:
    """A stage's Result; ``budget`` is the most parameters allowed, None without a limit."""
    first = result.records[0]
    if stage.seeds == 1:
        train, best, final = "", f"epoch {_best_epoch(first)}", "one seed, so no interval"
        reached, by_epoch = "yes" if stage.reached else "no", last_epochs(first, stage.target)
    else:
        train = f"mean; {_range(stage.best_train)}"
        best, final = (f"mean; {_deviation(s)}" for s in (stage.best, stage.final))
        reached = f"{reached_by(stage)} seeds"
        seeds = ", ".join(f"{seeds} of {stage.seeds}" for seeds in stage.at_target)
        by_epoch = f"epoch by epoch {seeds}"
    limit = "" if budget is None else f"at most {budget:,}"
    images = count(stage.measured.images, "image")
    lines = [
        ResultLine("Parameters", f"{result.parameters:,}", limit),
        ResultLine("Best train accuracy", percent(stage.best_train.mean), train),
        ResultLine("Best test accuracy", percent(stage.best.mean), f"{best}; {OPTIMISTIC}"),
        ResultLine("Final test accuracy", percent(stage.final.mean), final),
        *validation_lines(result.records),
    ]
    if has_target:
        label = f"{percent(stage.target)} in each of the last three epochs"
        lines.append(ResultLine(label, reached, by_epoch))
    error = f"{points(stage.binomial)} points"
    return [*lines, ResultLine("Standard error of the test set", error, f"binomial, of {images}")]


def validation_lines(records: Sequence[RunRecord]) -> list[ResultLine]:
    """The validation accuracy, to choose by, if every run holds images out; else nothing."""
    finals = [record.rows[-1].validation_accuracy for record in records]
    held_out = [value for value in finals if value is not None]
    if len(held_out) < len(finals):
        return []
    mean = f"mean of {len(held_out)} seeds; " if len(held_out) > 1 else ""
    note = f"{mean}on the images held out by data.validation: the figure to choose by"
    return [ResultLine("Final validation accuracy", percent(fmean(held_out)), note)]


def change_line(result: StageResult) -> str:
    """The stage's change as in the study's file: a line of TOML."""
    return f"change = {inline(result.stage.change)}"


def reached_by(stage: StageAnalysis) -> str:
    """``2 of 3``: seeds that reached the target."""
    return f"{stage.reached} of {stage.seeds}"


def last_epochs(record: RunRecord, target: float) -> str:
    """The last three epochs' test accuracies, and whether each reached the target."""
    return ", ".join(
        f"{percent(row.test_accuracy)} {'yes' if row.test_accuracy >= target else 'no'}"
        for row in record.rows[-3:]
    )


def seeds(result: StageResult, stage: StageAnalysis, *, links_from: Path | None = None) -> Table:
    """A stage's seeds, one a row; run folders are linked from the folder of a Markdown file."""
    rows = tuple(
        (
            str(record.run.train.seed),
            percent(record.final_test_accuracy),
            f"{percent(record.best_test_accuracy)} (epoch {_best_epoch(record)})",
            last_epochs(record, stage.target),
            "yes" if record.reached(stage.target) else "no",
            _folder(record, links_from),
        )
        for record in result.records
    )
    columns = ("Seed", "Final", "Best*", "Last three epochs", "Reached", "Run")
    return Table(columns=columns, rows=rows, left=frozenset({3, 5}))


def relative(path: Path, start: Path) -> str:
    """``path`` relative to ``start``, with forward slashes; its name on another Windows drive."""
    try:
        return Path(os.path.relpath(path, start)).as_posix()
    except ValueError:
        return path.name


def _best_epoch(record: RunRecord) -> int:
    """The epoch with the best test accuracy; the first of equal ones."""
    return max(record.rows, key=lambda row: row.test_accuracy).epoch


def mean_with_interval(statistics: Statistics) -> str:
    """A mean accuracy and its interval, for a table."""
    mean = percent(statistics.mean)
    if statistics.ci95 is None:
        return mean if statistics.n == 1 else f"{mean} ({EQUAL})"
    return f"{mean} {interval(*statistics.ci95)}"


def spread(statistics: Statistics) -> str:
    """The interval of a mean, or the reason there is none."""
    if statistics.ci95 is None:
        return "one seed" if statistics.n == 1 else EQUAL
    return interval(*statistics.ci95)


def _deviation(statistics: Statistics) -> str:
    """Intervals, standard deviation and range of several seeds."""
    if statistics.ci95 is None:
        return f"{EQUAL}, so the spread is unknown"
    bootstrap95 = statistics.bootstrap95
    bootstrap = f", by bootstrap {interval(*bootstrap95)}" if bootstrap95 else ""
    return (
        f"95% interval {interval(*statistics.ci95)}{bootstrap}; standard deviation "
        f"{points(statistics.sd or 0.0)}, {_range(statistics)}"
    )


def _range(statistics: Statistics) -> str:
    if statistics.minimum == statistics.maximum:
        return EQUAL
    return f"from {percent(statistics.minimum)} to {percent(statistics.maximum)}"


def _effect(stage: StageAnalysis) -> str:
    """A stage's effect; where the stage before is left out, with the stage it is compared with."""
    if stage.effect is None:
        return ""
    cell = difference_cell(stage.effect.final)
    against = stage.effect.against
    return cell if against == stage.number - 1 else f"{cell} (against stage {against})"


def difference_cell(difference: Difference) -> str:
    """A difference of accuracies with its interval and its word, for a table."""
    word = difference.verdict.partition(":")[0]
    if difference.mean is None:
        return word
    if difference.interval is None:
        return f"{signed(difference.mean)} ({word})"
    return f"{signed(difference.mean)} {signed_interval(*difference.interval)} {word}"


def _folder(record: RunRecord, links_from: Path | None) -> str:
    name = record.path.name
    if links_from is None:
        return name
    return f"[{name}]({relative(record.path, links_from).replace(' ', '%20')})"
