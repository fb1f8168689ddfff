"""Whether a stage's learning rate shows in its rows as far off: training diverges, or is stuck.

Rates that are off by less do not show reliably; ``kilonet train RUN --find-lr`` measures a range of
them. docs/analysis.md has their verdicts on trainings that they were not fitted to
(benchmarks/learning_rates.py). A training whose loss is no longer a number leaves no rows: the
engine ends it with an error.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from kilonet.analysis.descriptive import binomial_error
from kilonet.analysis.findings import Finding, Kind, Verdict
from kilonet.analysis.measurements import MIN_WINDOW, Measurements
from kilonet.formatting import count
from kilonet.spec import Run
from kilonet.storage.record import RunRecord

LOSS_RISE = 1.2
"""Diverging: an epoch's training loss and its training error are each at least this many times the
lowest before it. Both, as either alone can rise a little in a sound training …"""

RISE_IN_ERRORS = 4.0
"""… and the training error is higher by at least this many binomial errors of as many images as
accuracy is measured on. Where next to nothing is left to learn, a few images are a fifth of it."""

GUESSING_RATIO = 1.1
"""Worse than guessing: over the first epoch the training loss is more than this many times that of
equal probabilities. The margin is for fresh weights, which are a little worse than that."""

STUCK_RATIO = 0.98
"""Stuck: no epoch's training loss is below this many times that of equal probabilities."""


def learning_rate(
    records: Sequence[RunRecord], *, measured: Measurements, run: Run, learned: bool = False
) -> Finding | None:
    """``diverging``, ``stuck``, ``too short to say`` or None, where the rows show neither.

    Diverging is a training whose loss rises in more than half of the seeds, or is worse than
    guessing over the first epoch; stuck is one that never did better than guessing, in a run that
    has a window: a shorter one may have barely begun. ``learned`` where the final weights are
    known to do better than always predicting the largest class: such a run is not stuck.
    """
    rate, losses = f"{measured.lr_peak:g}", measured.losses
    guessing = math.log(run.net.num_classes)
    signs = []
    if losses[0] > GUESSING_RATIO * guessing:
        signs.append(
            f"over the first epoch the training loss was {losses[0]:.2f}, more than the "
            f"{guessing:.2f} of guessing"
        )
    rises = [rise for record in records if (rise := _rise(record, images=measured.images))]
    if 2 * len(rises) > len(records):
        ratio, epoch = max(rises)
        seeds = "" if len(records) == 1 else f" in {len(rises)} of {len(records)} seeds"
        signs.append(
            f"the training loss rose{seeds}, to {ratio:.1f} times its lowest before, in epoch "
            f"{epoch}, and the training error with it"
        )
    figures = {
        "lr_peak": measured.lr_peak,
        "first_loss": losses[0],
        "lowest_loss": min(losses),
        "rises": len(rises),
    }
    if signs:
        verdict = Verdict.DIVERGING
        sentence = f"Diverges at a learning rate of {rate}: {'; '.join(signs)}."
    elif min(losses) > STUCK_RATIO * guessing and not learned:
        epochs = count(measured.epochs, "epoch")
        shown = (
            f"the training loss came down to {min(losses):.2f}, where equal probabilities have "
            f"{guessing:.2f}"
        )
        if measured.window < MIN_WINDOW:
            verdict = Verdict.TOO_SHORT
            sentence = f"{epochs}: too short to say whether it is stuck at guessing: {shown}."
        else:
            verdict = Verdict.STUCK
            sentence = (
                f"Stuck at guessing: in {epochs} {shown}; the learning rate of {rate} is far off, "
                "nothing passes through the network, or the images do not show their classes."
            )
    else:
        return None
    return Finding(kind=Kind.LEARNING_RATE, verdict=verdict, sentence=sentence, figures=figures)


def _rise(record: RunRecord, *, images: int) -> tuple[float, int] | None:
    """The largest rise over the lowest training loss before it, and its epoch."""
    rises = []
    lowest_loss = lowest_error = math.inf
    for row in record.rows:
        loss, error = row.train_loss, 100 - row.train_accuracy
        # A loss or an error of zero has no multiple.
        if 0 < min(lowest_loss, lowest_error) < math.inf:
            rise = loss / lowest_loss
            binomial = max(binomial_error(100 - lowest_error, images=images), 100 / images)
            by_errors = error - lowest_error >= RISE_IN_ERRORS * binomial
            if by_errors and min(rise, error / lowest_error) >= LOSS_RISE:
                rises.append((rise, row.epoch))
        lowest_loss, lowest_error = min(lowest_loss, loss), min(lowest_error, error)
    return max(rises, default=None)
