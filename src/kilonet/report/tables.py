"""The rows that every form of the report shows: the ladder at a glance, a rung's result, its seeds.

One place decides what is said and in which words; terminal and Markdown only set it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from kilonet.analysis import Difference, RungAnalysis, Statistics, StudyAnalysis
from kilonet.analysis.held_out import Images
from kilonet.analysis.toml import inline
from kilonet.analysis.words import (
    EQUAL,
    count,
    interval,
    percent,
    points,
    signed,
    signed_interval,
)
from kilonet.record import EpochRow, RunRecord
from kilonet.study import RungResult, StudyResult
from kilonet.table import Table

OPTIMISTIC = "chosen on the test set, so optimistic"
"""What must stand beside every best epoch."""

NEXT_NOTES: dict[Images, str] = {
    "test": (
        "Read from the test set's rows: confirm a choice among these on data not used for it, or "
        "choose by images held out with data.validation."
    ),
    "validation": "Read from the rows of data.validation alone; the test set had no part in it.",
}
"""What must stand once under suggestions, by what they are read from: test never chooses."""

LADDER_NOTE = f"* Best epoch's test accuracy: {OPTIMISTIC}. Headlines use the final epoch."

NUM_SUGGESTIONS = 3
"""How many of a rung's next steps people are shown; the JSON has them all."""

NUM_RUNG_COLUMNS = 6
"""The ladder's columns that tell of a rung alone; those after them tell of its effects, which have
their place elsewhere where a line is too short for them."""


def ladder(result: StudyResult, analysis: StudyAnalysis) -> Table:
    """The ladder at a glance, a rung a row; :data:`LADDER_NOTE` belongs under it.

    Effects come with the intervals that decide their words: corrected for all comparisons.
    """
    columns: tuple[str, ...] = (
        "",
        "Rung",
        "Params",
        "Final test accuracy",
        "Best*",
        "Reached",
        "Against the rung before",
        "Since the first rung",
    )
    if not any(rung.effect_on_first for rung in analysis.rungs):
        columns = columns[:-1]
        if not any(rung.effect for rung in analysis.rungs):
            columns = columns[:-1]
    rows = tuple(
        (
            str(rung.number),
            rung.name,
            f"{ran.parameters:,}",
            mean_with_interval(rung.final),
            percent(rung.best_test.mean),
            f"{rung.reached} of {rung.seeds}",
            _effect(rung),
            "" if rung.effect_on_first is None else difference_cell(rung.effect_on_first.final),
        )[: len(columns)]
        for ran, rung in zip(result.rungs, analysis.rungs, strict=True)
    )
    return Table(columns=columns, rows=rows, left=frozenset({1, 6, 7}))


@dataclass(frozen=True, kw_only=True)
class ResultLine:
    """One line of a rung's Result.

    Attributes:
        label: what it is.
        value: the figure, to be set off.
        note: what must be said beside it, in brackets where it is shown, or "".
    """

    label: str
    value: str
    note: str = ""


def result_lines(
    ran: RungResult, rung: RungAnalysis, *, budget: int | None = None
) -> tuple[ResultLine, ...]:
    """A rung's Result.

    Args:
        ran: the rung.
        rung: its analysis.
        budget: the most parameters that the study allows; None without a limit.
    """
    one = rung.seeds == 1
    final = rung.final
    if one:
        spread = "one seed, so no interval"
    elif final.ci95 is None:
        spread = f"{EQUAL}, so that the spread is unknown"
    else:
        drawn = f", by bootstrap {interval(*final.bootstrap95)}" if final.bootstrap95 else ""
        spread = (
            f"95% interval {interval(*final.ci95)} over {final.n} seeds{drawn}; {_spread(final)}"
        )
    if one:
        best = f"epoch {_best_epoch(ran.records[0])}"
    else:
        ci95 = rung.best_test.ci95
        within = f"95% interval {interval(*ci95)}; " if ci95 else ""
        best = f"mean; {within}{_spread(rung.best_test)}"
    if one:
        reached = "yes" if rung.reached else "no"
        held_note = last_epochs(ran.records[0], target=rung.target)
    else:
        reached = f"{rung.reached} of {rung.seeds} seeds"
        in_turn = ", ".join(f"{seeds} of {rung.seeds}" for seeds in rung.at_target)
        held_note = f"epoch by epoch {in_turn}"
    lines = (
        ResultLine(
            label="Parameters",
            value=f"{ran.parameters:,}",
            note="" if budget is None else f"at most {budget:,}",
        ),
        ResultLine(
            label="Best train accuracy",
            value=percent(rung.best_train.mean),
            note="" if one else f"mean; {_range(rung.best_train)}",
        ),
        ResultLine(
            label="Best test accuracy",
            value=percent(rung.best_test.mean),
            note=f"{best}; {OPTIMISTIC}",
        ),
        ResultLine(
            label="Final test accuracy",
            value=percent(final.mean),
            note=spread,
        ),
        ResultLine(
            label=f"{percent(rung.target)} in each of the last three epochs",
            value=reached,
            note=held_note,
        ),
        ResultLine(
            label="The test set's own error",
            value=f"{points(rung.binomial)} points",
            note=f"binomial standard error of {count(rung.measured.images, 'image')}",
        ),
    )
    validated = _validated(ran.records)
    return lines if validated is None else (*lines[:4], validated, *lines[4:])


def _validated(records: Sequence[RunRecord]) -> ResultLine | None:
    """The accuracy that a choice may go by, of runs that hold images out for it."""
    finals = [record.rows[-1].validation_accuracy for record in records]
    held_out = [value for value in finals if value is not None]
    if len(held_out) < len(finals):
        return None
    several = f"mean of {len(held_out)} seeds; " if len(held_out) > 1 else ""
    return ResultLine(
        label="Final validation accuracy",
        value=percent(fmean(held_out)),
        note=f"{several}of the training images held out by data.validation, to choose by",
    )


def change_line(ran: RungResult) -> str:
    """The step's change as it stands in the study: a line of TOML."""
    return f"change = {inline(ran.rung.step.change)}"


def last_epochs(record: RunRecord, *, target: float) -> str:
    """The last three epochs' test accuracies, and whether each reached the target."""
    return ", ".join(
        f"{percent(row.test_accuracy)} {'yes' if row.test_accuracy >= target else 'no'}"
        for row in record.rows[-3:]
    )


def seeds(ran: RungResult, rung: RungAnalysis, *, links_from: Path | None = None) -> Table:
    """A rung's seeds, one a row.

    Args:
        ran: the rung.
        rung: its analysis.
        links_from: the folder that run folders are linked from, in Markdown; None: their names.
    """
    rows = tuple(
        (
            str(record.run.train.seed),
            percent(record.final_test_accuracy),
            f"{percent(record.best_test_accuracy)} (epoch {_best_epoch(record)})",
            last_epochs(record, target=rung.target),
            "yes" if record.reached(rung.target) else "no",
            _folder(record, links_from),
        )
        for record in ran.records
    )
    columns = ("Seed", "Final", "Best*", "Last three epochs", "Reached", "Run")
    return Table(columns=columns, rows=rows, left=frozenset({3, 5}))


def mean_log(records: Sequence[RunRecord]) -> Table:
    """The notebook's log table of a rung: of several seeds the mean, as many epochs as all have."""
    first = records[0]
    if len(records) == 1:
        return first.log_table
    epochs = zip(*(record.rows for record in records), strict=False)
    return replace(first, rows=tuple(map(_mean_row, epochs))).log_table


def _mean_row(rows: Sequence[EpochRow]) -> EpochRow:
    return EpochRow(
        epoch=rows[0].epoch,
        train_accuracy=fmean(row.train_accuracy for row in rows),
        train_loss=fmean(row.train_loss for row in rows),
        test_accuracy=fmean(row.test_accuracy for row in rows),
        test_loss=fmean(row.test_loss for row in rows),
        lr=rows[0].lr,
        seconds=fmean(row.seconds for row in rows),
    )


def relative(path: Path, start: Path) -> str:
    """``path`` as seen from the folder ``start``, with forward slashes, so that reports can move.

    On another drive (Windows) there is no such path, and the name has to do.
    """
    try:
        return Path(os.path.relpath(path, start)).as_posix()
    except ValueError:
        return path.name


def _best_epoch(record: RunRecord) -> int:
    """The first of the epochs with the best test accuracy."""
    return max(record.rows, key=lambda row: row.test_accuracy).epoch


def mean_with_interval(statistics: Statistics) -> str:
    """A mean accuracy and what its seeds tell of it, short enough for a table."""
    mean = percent(statistics.mean)
    if statistics.ci95 is None:
        return mean if statistics.n == 1 else f"{mean} ({EQUAL})"
    return f"{mean} {interval(*statistics.ci95)}"


def _spread(statistics: Statistics) -> str:
    """Standard deviation and range of several seeds."""
    if statistics.minimum == statistics.maximum:
        return EQUAL
    return f"standard deviation {points(statistics.sd or 0.0)}, {_range(statistics)}"


def _range(statistics: Statistics) -> str:
    if statistics.minimum == statistics.maximum:
        return EQUAL
    return f"from {percent(statistics.minimum)} to {percent(statistics.maximum)}"


def _effect(rung: RungAnalysis) -> str:
    """A step's effect; where the rung before it is left out, on which one."""
    if rung.effect is None:
        return ""
    cell = difference_cell(rung.effect.final)
    against = rung.effect.against
    return cell if against == rung.number - 1 else f"{cell} (against rung {against})"


def difference_cell(difference: Difference) -> str:
    """A difference of accuracies and the word for it, short enough for a table."""
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
