"""Tables that several formats share: the ladder, a stage's Result, its seeds."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from kilonet import paths
from kilonet.analysis import Difference, Effect, StageAnalysis, Statistics, StudyAnalysis
from kilonet.analysis.comparisons import DecidedBy
from kilonet.analysis.majority import is_imbalanced
from kilonet.formatting import EQUAL, count, interval, percent, points, signed, signed_interval
from kilonet.spec import data_path
from kilonet.spec.inline_toml import inline
from kilonet.storage.record import RunRecord, Split
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

LOG_NOTE = "Epochs count from 0; Diff is train minus test accuracy, in points."
"""Beside a log table."""

LOG_NOTE_UNTESTED = "Epochs count from 0; Diff is train minus validation accuracy, in points."
"""Beside that of a run that does not use the test set."""

BEST_NOTE = f"* Best epoch, {OPTIMISTIC}."

EPOCHS_NOTE = (
    "({epochs} epochs): the difference between the means of the last {epochs} epochs, which both "
    "stages train at the same learning rate; the stage's Analysis has that of the final epoch."
)
"""The ladder's footnote where effects are of more than the final epoch."""

VALIDATION_NOTE = (
    "Stages are compared and picked by validation accuracy, on the images held out by "
    "data.validation: the test set chooses nothing."
)
"""The ladder's other footnote, where stages are judged on validation images."""


def ladder(result: StudyResult, analysis: StudyAnalysis) -> Table:
    """The ladder at a glance, a stage a row; :func:`ladder_notes` has its footnotes.

    The validation accuracy, where a stage has one, comes before the test accuracy, whose interval
    is then left to the stage's Result. The intervals of effects are those that decide their words:
    corrected for all comparisons.
    """
    held_out = any(stage.validation is not None for stage in analysis.stages)
    rows = tuple(
        (
            str(stage.number),
            stage.name,
            f"{each.parameters:,}",
            *([_validation(stage), percent(stage.final.mean)] if held_out else []),
            *([] if held_out else [mean_with_interval(stage.final)]),
            percent(stage.best.mean),
            reached_by(stage),
            *_effects(judged)[: num_effects(analysis)],
        )
        for each, stage, judged in zip(result.stages, analysis.stages, analysis.judged, strict=True)
    )
    columns = (
        *("", "Stage", "Params"),
        *(("Final validation", "Final test") if held_out else ("Final test accuracy",)),
        *("Best*", "Reached"),
        *("Against the stage before", "Since the first stage")[: num_effects(analysis)],
    )
    effects = range(len(columns) - num_effects(analysis), len(columns))
    return Table(columns=columns, rows=rows, left=frozenset({1, *effects}))


def num_effects(analysis: StudyAnalysis) -> int:
    """How many of the ladder's last columns are effects."""
    if any(stage.effect_on_first for stage in analysis.stages):
        return 2
    return 1 if any(stage.effect for stage in analysis.stages) else 0


def ladder_notes(analysis: StudyAnalysis) -> list[str]:
    """The ladder's footnotes."""
    effects = [e for stage in analysis.judged for e in (stage.effect, stage.effect_on_first) if e]
    means = [
        EPOCHS_NOTE.format(epochs=effect.epochs)
        for effect in effects
        if effect.decided_by is DecidedBy.LAST_FIVE and effect.deciding.mean is not None
    ]
    held_out = any(
        judged is not stage for judged, stage in zip(analysis.judged, analysis.stages, strict=True)
    )
    held = [VALIDATION_NOTE] if held_out and len(analysis.stages) > 1 else []
    return [*held, *means[:1], BEST_NOTE]


class ResultLine(NamedTuple):
    """A line of a stage's Result: a figure, and its interval or caveat, or ""."""

    label: str
    value: str
    note: str = ""


def result_lines(
    result: StageResult, stage: StageAnalysis, *, budget: int | None
) -> list[ResultLine]:
    """A stage's Result; ``budget`` is the most parameters allowed, None without a limit."""
    first = result.records[0]
    if stage.seeds == 1:
        train, best, final = "", f"epoch {_best_epoch(first)}", "one seed, so no interval"
        reached = "yes" if stage.reached else "no"
        by_epoch = "" if stage.target is None else last_epochs(first, stage.target)
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
        *validation_lines(stage),
        ResultLine("Best train accuracy", percent(stage.best_train.mean), train),
        ResultLine("Best test accuracy", percent(stage.best.mean), f"{best}; {OPTIMISTIC}"),
        ResultLine("Final test accuracy", percent(stage.final.mean), final),
        *majority_lines(stage),
        *stopping_lines(result.records),
    ]
    if stage.target is not None:
        label = f"{percent(stage.target)} in each of the last three epochs"
        lines.append(ResultLine(label, reached, by_epoch))
    note = f"95% by Wilson, of {images}; standard error {points(stage.binomial)} points"
    return [*lines, ResultLine("Interval of the test set", interval(*stage.binomial95), note)]


def validation_lines(stage: StageAnalysis) -> list[ResultLine]:
    """The validation accuracy, to choose by, if every run holds images out; else nothing."""
    if stage.validation is None:
        return []
    final = stage.validation.final
    mean = f"mean; {_deviation(final)}; " if final.n > 1 else ""
    note = f"{mean}on the images held out by data.validation: the figure to choose by"
    return [ResultLine("Final validation accuracy", percent(final.mean), note)]


def stopping_lines(records: Sequence[RunRecord]) -> list[ResultLine]:
    """Where early stopping ended the runs, and whose weights are final; nothing without it."""
    endings = [record.ending for record in records]
    if not all(endings):
        return []
    early = sum(record.stopped_early for record in records)
    if len(records) == 1:
        return [ResultLine("Early stopping", "yes" if early else "no", endings[0].rstrip("."))]
    seeds = "; ".join(
        f"seed {record.run.train.seed} ran {count(len(record.rows), 'epoch')}, "
        f"final weights of epoch {record.final.epoch}"
        for record in records
    )
    return [ResultLine("Early stopping", f"{early} of {len(records)} seeds", seeds)]


def majority_lines(stage: StageAnalysis) -> list[ResultLine]:
    """The share of the largest class, where the classes are imbalanced; else nothing."""
    errors = stage.errors
    if errors is None or not is_imbalanced(errors):
        return []
    note = f"class {errors.classes[errors.majority]}: the accuracy of always predicting it"
    return [ResultLine("Share of the largest class", percent(errors.majority_share), note)]


UNCHANGED = "The base run, unchanged."
"""The target of a stage without a change."""


def change_line(result: StageResult, *, folder: Path) -> str:
    """The stage's change as in the study's file in ``folder``: a line of TOML; "" without one."""
    change = dict(result.stage.change)
    path = data_path(str(change.get("data.name", "")))
    if path:
        change["data.name"] = paths.relative(Path(path), folder=folder)
    return f"change = {inline(change)}" if change else ""


def reached_by(stage: StageAnalysis) -> str:
    """``2 of 3``: seeds that reached the target."""
    return f"{stage.reached} of {stage.seeds}"


def last_epochs(record: RunRecord, target: float) -> str:
    """The last three epochs' test accuracies, and whether each reached the target."""
    return ", ".join(
        f"{percent(accuracy)} {'yes' if accuracy >= target else 'no'}"
        for accuracy in Split.TEST.accuracies(record)[-3:]
    )


def seeds(result: StageResult, stage: StageAnalysis) -> Table:
    """A stage's seeds, one a row; the last cell is the name of the run's folder."""
    target = stage.target
    if target is None:
        raise ValueError("a run without a target has no table of the seeds that reached it")
    held_out = stage.validation is not None
    rows = tuple(
        (
            str(record.run.train.seed),
            *([percent(record.final_validation_accuracy or 0.0)] if held_out else []),
            percent(record.final_test_accuracy),
            f"{percent(record.best_test_accuracy)} (epoch {_best_epoch(record)})",
            last_epochs(record, target),
            "yes" if record.reached(target) else "no",
            record.path.name,
        )
        for record in result.records
    )
    final = ("Final validation", "Final test") if held_out else ("Final",)
    columns = ("Seed", *final, "Best*", "Last three epochs", "Reached", "Run")
    return Table(columns=columns, rows=rows, left=frozenset({len(columns) - 3, len(columns) - 1}))


def relative(path: Path, start: Path) -> str:
    """``path`` relative to ``start``, with forward slashes; its name on another Windows drive."""
    try:
        return Path(os.path.relpath(path, start)).as_posix()
    except ValueError:
        return path.name


def _best_epoch(record: RunRecord) -> int:
    """The epoch with the best test accuracy; the first of equal ones."""
    accuracies = Split.TEST.accuracies(record)
    return accuracies.index(max(accuracies))


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


def _validation(stage: StageAnalysis) -> str:
    return "" if stage.validation is None else mean_with_interval(stage.validation.final)


def _effects(stage: StageAnalysis) -> tuple[str, str]:
    """A stage's effect, and that of all changes since the first stage.

    Where the stage before is left out, the effect names the stage it is compared with.
    """
    cell = since_first = ""
    if stage.effect is not None:
        cell, against = effect_cell(stage.effect), stage.effect.against
        if against != stage.number - 1:
            cell += f" (against stage {against})"
    if stage.effect_on_first is not None:
        since_first = effect_cell(stage.effect_on_first)
    return cell, since_first


def effect_cell(effect: Effect) -> str:
    """The difference that decides, and over how many epochs where it is a mean."""
    means = effect.decided_by is DecidedBy.LAST_FIVE
    return difference_cell(effect.deciding, over=f"{effect.epochs} epochs" if means else "")


def difference_cell(difference: Difference, *, over: str = "") -> str:
    """A difference of accuracies with its interval and its word, for a table.

    ``over`` is what accuracies are means over, "" of the final epoch.
    """
    word = difference.verdict.partition(":")[0]
    if difference.mean is None:
        return word
    if difference.interval is None:
        return f"{signed(difference.mean)} ({word}{f', {over}' if over else ''})"
    ends = signed_interval(*difference.interval)
    return f"{signed(difference.mean)} {ends} {word}{f' ({over})' if over else ''}"
