"""Whether a rung's learning rate shows itself in its rows as too high or too low.

The thresholds are set by trainings of the bundled network, and of five others, at learning rates
four decades apart; docs/analysis.md tells what came of them there and on networks held out
(benchmarks/learning_rates.py). A training whose loss is no longer a number leaves no rows: the
engine ends it with an error that says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

from kilonet.analysis.findings import Figure, Finding
from kilonet.analysis.measurements import Measurements
from kilonet.analysis.statistics import binomial_error
from kilonet.analysis.words import count, percent, points
from kilonet.record import RunRecord
from kilonet.spec import Run

LOSS_RISE = 1.2
"""Diverging: an epoch's training loss and its training error are each at least this many times the
lowest before it. Both, as either alone can rise a little in a sound training …"""

RISE_IN_ERRORS = 4.0
"""… and the training error is higher by at least this many binomial errors of as many images as
test. Where next to nothing is left to learn, a few images are a fifth of it."""

GUESSING_RATIO = 1.1
"""Worse than guessing: over the first epoch the training loss is more than this many times that of
equal probabilities. The margin is for the start: fresh weights are a little worse than that."""

STUCK_RATIO = 0.98
"""Stuck: no epoch's training loss is below this many times that of equal probabilities."""

ERROR_JUMP = 2.0
"""Jumping: the test error is at least this many times what it was an epoch before …"""

JUMP_IN_ERRORS = 4.0
"""… and higher by at least this many binomial errors."""

MOVEMENT_IN_ERRORS = 2.0
"""Jumping throughout: the movement over the last epochs is more than this many binomial errors …"""

MOVEMENT_SHARE = 0.2
"""… and more than this share of the test error, in a training that no longer climbs."""

STEEP_FALL = 0.1
"""Still steep: over the last window the training loss fell by more than this share. Such a training
is not held up by its rate: however its test accuracy jumps meanwhile, with batch norm's running
statistics say, that is no sign of one too high."""

LATE_SHARE = 0.2
"""Or still at its beginning: of all that the training loss came down from guessing, more than this
share came in the last window. What has hardly begun is not steep yet."""

FALL_IN_ERRORS = 1.0
"""Smoothly: from no epoch of the last window to the next did test accuracy fall by more than this
many binomial errors. A small network without normalisation is steep and noisy at any rate …"""

FALL_SHARE = 0.05
"""… nor by more than this share of the test error, where that is more: large errors move more."""

HELD_SHARE = 0.5
"""Held: the last learning rate is at least this share of the highest."""


def learning_rate(
    records: Sequence[RunRecord],
    *,
    measured: Measurements,
    findings: Mapping[str, Finding],
    run: Run,
) -> Finding | None:
    """``too high``, ``too low``, ``stuck`` or None, where the rows show none of them.

    Too high is what more than half of the seeds show by their loss; or by a jump of their accuracy,
    or all together by their movement, where the training loss no longer falls steeply. Too low is a
    network that underfits and still improves, whose training loss falls in every epoch of the last
    window, steeply or from where it began, and smoothly, and whose rate was not lowered meanwhile.
    Stuck is one that never did better than guessing.

    Args:
        records: the rung's runs.
        measured: their numbers.
        findings: kind → finding of the rung: its fit and trend.
        run: the rung's, for its classes.
    """
    rate = f"{measured.lr_peak:g}"
    climbs = findings["trend"].verdict == "improving"
    signs = _signs_of_too_high(records, measured=measured, run=run, climbs=climbs)
    figures: dict[str, Figure]
    if signs:
        figures = {"lr_peak": measured.lr_peak, "movement": measured.movement}
        sentence = f"The learning rate of {rate} looks too high: {'; '.join(signs)}."
        return Finding(kind="learning rate", verdict="too high", sentence=sentence, figures=figures)
    guessing, lowest = math.log(run.net.classes), min(measured.losses)
    if lowest > STUCK_RATIO * guessing:
        sentence = (
            f"Stuck at guessing: in {count(measured.epochs, 'epoch')} the training loss came down "
            f"to {lowest:.2f}, where equal probabilities have {guessing:.2f}; the learning rate of "
            f"{rate} is far off, or nothing passes through the network."
        )
        figures = {"lr_peak": measured.lr_peak, "lowest_loss": lowest}
        return Finding(kind="learning rate", verdict="stuck", sentence=sentence, figures=figures)
    gain = measured.test_change
    learning = climbs and findings["fit"].verdict == "underfits"
    if not learning or gain is None or measured.lr_last < HELD_SHARE * measured.lr_peak:
        return None
    losses, fall = _last_losses(measured), _fall(measured)
    late = losses[0] - losses[-1] > LATE_SHARE * (guessing - losses[-1])
    if not (fall > STEEP_FALL or late):
        return None
    if not all(after < before for before, after in pairwise(losses)):
        return None
    smooth = max(FALL_IN_ERRORS * measured.binomial, FALL_SHARE * (100 - measured.test))
    if _largest_fall(records, measured) > smooth:
        return None
    sentence = (
        f"The learning rate of {rate} looks too low for {count(measured.epochs, 'epoch')}: "
        f"training accuracy is only {percent(measured.train)}, while the training loss still fell "
        f"in each of the last {measured.window}, by {fall:.0%} from {losses[0]:.3f} to "
        f"{losses[-1]:.3f}."
    )
    return Finding(
        kind="learning rate",
        verdict="too low",
        sentence=sentence,
        figures={"lr_peak": measured.lr_peak, "loss_fall": fall, "train": measured.train},
    )


def _signs_of_too_high(
    records: Sequence[RunRecord], *, measured: Measurements, run: Run, climbs: bool
) -> list[str]:
    signs = []
    guessing = math.log(run.net.classes)
    if measured.losses[0] > GUESSING_RATIO * guessing:
        signs.append(
            f"over the first epoch the training loss was {measured.losses[0]:.2f}, more than the "
            f"{guessing:.2f} of guessing"
        )
    rises = [rise for record in records if (rise := _loss_rise(record, measured)) is not None]
    if 2 * len(rises) > len(records):
        ratio, epoch = max(rises)
        signs.append(
            f"the training loss rose{_of_seeds(len(rises), len(records))}, to {ratio:.1f} times "
            f"its lowest before, in epoch {epoch}, and the training error with it"
        )
    if _fall(measured) > STEEP_FALL:
        return signs
    jumps = [jump for record in records if (jump := _jump(record, measured)) is not None]
    if 2 * len(jumps) > len(records):
        ratio, epoch, before, after = max(jumps)
        signs.append(
            f"test accuracy jumped{_of_seeds(len(jumps), len(records))}, from {percent(before)} to "
            f"{percent(after)} in epoch {epoch}, an error {ratio:.1f} times as large"
        )
    movement = measured.movement
    binomial = max(measured.binomial, 100 / measured.images)
    least = max(MOVEMENT_IN_ERRORS * binomial, MOVEMENT_SHARE * (100 - measured.test))
    # A curve that climbs is no straight line, and would pass for movement about one.
    if movement is not None and movement > least and not climbs:
        signs.append(
            f"test accuracy moves by {points(movement)} points about its trend, "
            f"{movement / binomial:.1f} times the test set's own error of {points(binomial)} and "
            f"{movement / (100 - measured.test):.0%} of the test error"
        )
    return signs


def _last_losses(measured: Measurements) -> tuple[float, ...]:
    return measured.losses[-measured.window :]


def _fall(measured: Measurements) -> float:
    """Of the training loss over the last window, a share of what it was."""
    losses = _last_losses(measured)
    return 1 - losses[-1] / losses[0] if losses[0] > 0 else 0.0


def _of_seeds(found: int, seeds: int) -> str:
    return "" if seeds == 1 else f" in {found} of {seeds} seeds"


def _loss_rise(record: RunRecord, measured: Measurements) -> tuple[float, int] | None:
    """The largest rise over the lowest training loss before it, and its epoch."""
    found = None
    lowest_loss = lowest_error = math.inf
    for row in record.rows:
        loss, error = row.train_loss, 100 - row.train_accuracy
        # What is learned to nought has no multiple, and does not diverge.
        if min(lowest_loss, lowest_error) > 0:
            rise = loss / lowest_loss
            images = measured.images
            binomial = max(binomial_error(100 - lowest_error, images=images), 100 / images)
            by_errors = error - lowest_error >= RISE_IN_ERRORS * binomial
            if min(rise, error / lowest_error) >= LOSS_RISE and by_errors:
                found = max(found or (rise, row.epoch), (rise, row.epoch))
        lowest_loss, lowest_error = min(lowest_loss, loss), min(lowest_error, error)
    return found


def _largest_fall(records: Sequence[RunRecord], measured: Measurements) -> float:
    """Of the seeds' mean test accuracy, from one epoch of the last window to the next, points."""
    runs = [[row.test_accuracy for row in record.rows[-measured.window :]] for record in records]
    means = [math.fsum(epoch) / len(runs) for epoch in zip(*runs, strict=True)]
    return max(before - after for before, after in pairwise(means))


def _jump(record: RunRecord, measured: Measurements) -> tuple[float, int, float, float] | None:
    """The largest jump of the test error: its ratio, its epoch, the accuracy before and after."""
    binomial = max(measured.binomial, 100 / measured.images)
    found = None
    for row, after in pairwise(record.rows):
        was, error = 100 - row.test_accuracy, 100 - after.test_accuracy
        if error >= ERROR_JUMP * was and error - was >= JUMP_IN_ERRORS * binomial and was > 0:
            jump = (error / was, after.epoch, row.test_accuracy, after.test_accuracy)
            found = max(found or jump, jump)
    return found
