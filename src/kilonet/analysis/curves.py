"""What a stage's learning curves show: target, fit, gap, trend and fluctuation.

Rules take a stage's numbers and the target in percent. The yardstick for small differences is
:attr:`Measurements.material`, half of the binomial error of the images; so the rules hold for 99 %
on 10,000 images as for 80 % on 500. Training accuracy is measured while an epoch trains, with
dropout and augmentation on, so it lags behind the network by half an epoch.
"""

from __future__ import annotations

from kilonet.analysis.descriptive import Statistics
from kilonet.analysis.findings import Figure, Finding, Kind, Verdict
from kilonet.analysis.measurements import MIN_WINDOW, Change, Measurements
from kilonet.formatting import count, listed, percent, points, signed
from kilonet.spec import Run, graph

TARGET_EPOCHS = 3
"""The target is reached where each of this many last epochs is at or above it."""

UNDERFIT_ERROR_RATIO = 2.0
"""Underfitting: the training error is more than this many times the error the target allows …"""

UNDERFIT_POINTS = 5.0
"""… or exceeds it by more than this many percentage points."""

GAP_IN_ERRORS = 1.0
"""Over-fitting, or a reversed gap: more than this many binomial errors from zero."""

STRONG_GAP_SHARE = 0.5
"""Strong over-fitting: the gap is more than this share of the error …"""

STRONG_GAP_POINTS = 5.0
"""… or more than this many percentage points."""

CHANGE_IN_ERRORS = 2.0
"""A trend: a change of more than this many of its standard errors (and material)."""


def target_reached(
    final: Statistics,
    best: Statistics,
    *,
    reached: int,
    target: float,
    measured: Measurements,
    majority_share: float = 0.0,
) -> Finding:
    """``reached``, ``reached by some``, ``not reached`` or ``too short to say``, and how far it is.

    ``final`` and ``best`` are the accuracies of the last and of the best epochs; ``reached`` counts
    the seeds at or above the target in each of the last three. ``majority_share`` is the accuracy
    of always predicting the most frequent class: a target no higher than that is said to be so.
    """
    short, seeds = target - final.mean, final.n
    mean = f"{'final' if seeds == 1 else 'mean final'} accuracy {percent(final.mean)}"
    of_seeds = "" if seeds == 1 else f" by {reached} of {seeds} seeds"
    rule = f"at least {percent(target)} in each of the last three epochs"
    if short > 0:
        images = count(max(1, round(short / 100 * measured.images)), "image")
        distance = f"{mean}, {points(short)} points short, {images} of {measured.images:,}"
        if short < measured.binomial:
            distance += f", less than the binomial error of {points(measured.binomial)}"
        if best.maximum >= target:
            distance += f"; the best epoch had {percent(best.maximum)}"
    else:
        distance = f"{mean}, but an epoch of the last three is below the target"
        distance += "" if seeds == 1 else f" in {count(seeds - reached, 'seed')}"
    if measured.epochs < TARGET_EPOCHS:
        verdict = Verdict.TOO_SHORT
        sentence = (
            f"{count(measured.epochs, 'epoch')}: too short to say whether the target of "
            f"{percent(target)} is reached, which takes three; {mean}."
        )
    elif reached == seeds:
        verdict = Verdict.REACHED
        sentence = f"Target reached{of_seeds}: {rule}."
    elif reached:
        verdict = Verdict.REACHED_BY_SOME
        sentence = f"Target reached{of_seeds}, {rule}: {distance}."
    else:
        verdict = Verdict.NOT_REACHED
        by_any = "" if seeds == 1 else " by any seed"
        sentence = f"Target of {percent(target)} not reached{by_any}: {distance}."
    if target <= majority_share:
        share = percent(majority_share)
        sentence += f" Always predicting the largest class would reach it, with {share}."
    figures = {"reached": reached, "seeds": seeds, "target": target, "short": short}
    return Finding(kind=Kind.TARGET, verdict=verdict, sentence=sentence, figures=figures)


def fit(measured: Measurements, *, target: float, run: Run) -> Finding:
    """``underfits``, ``fits`` or ``too short to say``: can it learn its own training images?

    The better of training and evaluated accuracy counts: the latter is free of dropout,
    augmentation and the epoch's lag, and no network does worse on the images it has learned. Runs
    without a window have barely begun to learn, so they fit, or are too short to say.
    """
    train, accuracy = measured.train_accuracy, measured.accuracy
    allowed = max(100 - target, measured.material)
    error = 100 - max(train, accuracy)
    on = f" (with {listed(names)} on)" if (names := handicaps(run)) else ""
    shown = (
        f"training accuracy {percent(train)}{on} and {measured.split} accuracy {percent(accuracy)} "
        f"{measured.at_end}"
    )
    verdict, sentence = Verdict.FITS, f"Fits the training images well: {shown}."
    if error > min(UNDERFIT_ERROR_RATIO * allowed, allowed + UNDERFIT_POINTS):
        verdict = Verdict.UNDERFITS
        times = f"{error / allowed:.1f} times what the target allows"
        sentence = f"Underfits: {shown}, at best an error {times}."
        if measured.window < MIN_WINDOW:
            verdict = Verdict.TOO_SHORT
            epochs = count(measured.epochs, "epoch")
            sentence = f"{epochs}: too short to say whether it underfits: {shown}."
    return Finding(
        kind=Kind.FIT,
        verdict=verdict,
        sentence=sentence,
        figures={"train_accuracy": train, f"{measured.split}_accuracy": accuracy, "target": target},
    )


def gap(measured: Measurements, *, run: Run) -> Finding:
    """``overfits``, ``overfits a little``, ``closed`` or ``reversed``: training minus accuracy.

    Where the training is long enough the sentence has its trend too, and the figures the change.
    Dropout and augmentation are named where they are on and no over-fitting shows: they lower
    training accuracy, and the gap of the same weights on plain images would be larger.
    """
    size, share, split = measured.gap, measured.gap_share, measured.split
    threshold = GAP_IN_ERRORS * max(measured.binomial, 100 / measured.images)
    where = measured.at_end
    above = (
        f"training accuracy is {points(size)} points above {split} accuracy {where}, {share:.0%} "
        f"of the {split} error"
    )
    if size > threshold and (share > STRONG_GAP_SHARE or size > STRONG_GAP_POINTS):
        verdict, text = Verdict.OVERFITS, f"Over-fits: {above}"
    elif size > threshold:
        verdict, text = Verdict.OVERFITS_A_LITTLE, f"Over-fits a little: {above}"
    elif size >= -threshold:
        verdict = Verdict.CLOSED
        text = (
            f"No over-fitting shown: the gap is {signed(size)} points {where}, within the binomial "
            f"error of {points(threshold)}"
        )
    else:
        verdict = Verdict.REVERSED
        text = (
            f"No over-fitting: training accuracy is {points(size)} points below {split} accuracy "
            f"{where}"
        )
    figures: dict[str, Figure] = {"gap": size, "share_of_error": share}
    if (change := measured.gap_change) is not None:
        figures |= {"gap_change": change.value, "gap_change_error": change.error}
        before = size - change.value
        trend = "steady" if abs(change.value) <= measured.material else "not shown to change"
        if _is_clear(change, measured):
            trend = "widening" if change.value > 0 else "narrowing"
            # From below zero training accuracy catches up; that is no over-fitting.
            if change.value > 0 and before < 0 and size <= threshold:
                trend = "closing from below"
        text += f"; it is {trend} ({signed(before)} in the {measured.window} epochs before)"
    if verdict in (Verdict.CLOSED, Verdict.REVERSED) and (on := handicaps(run)):
        text += f"; {listed(on)} lower{'s' if len(on) == 1 else ''} training accuracy"
    return Finding(kind=Kind.GAP, verdict=verdict, sentence=f"{text}.", figures=figures)


def trend(measured: Measurements, *, epochs_left: int | None) -> Finding:
    """``improving``, ``level``, ``falling`` or ``too short to say``: accuracy at the end.

    Where the learning rate fell between the two windows, what that gained is not what more epochs
    would gain: then the change within the last window counts. ``epochs_left`` are those that the
    budget still allows; None without a limit.
    """
    change, rise, window = measured.accuracy_change, measured.rise, measured.window
    if change is None or rise is None:
        sentence = f"{count(measured.epochs, 'epoch')}: too short to say where it is heading."
        return Finding(kind=Kind.TREND, verdict=Verdict.TOO_SHORT, sentence=sentence)
    distance = f"{points(change.value)} points {'above' if change.value > 0 else 'below'}"
    if signed(change.value) == signed(0.0):
        distance = "as high as in"
    shown = (
        f"{measured.mean_at_end}, {percent(measured.accuracy)}, is {distance} the {window} before"
    )
    if measured.lr_last < measured.lr_before:
        shown += f", where the learning rate fell, and {signed(rise.value)} points within these"
        change = rise
    verdict, text = Verdict.LEVEL, "On a plateau"
    if abs(change.value) > measured.material:
        text = "Neither improvement nor decline shown"
    if _is_clear(change, measured):
        verdict, text = Verdict.FALLING, "Getting worse"
        if change.value > 0:
            verdict, text = Verdict.IMPROVING, "Still improving"
    spent = verdict is Verdict.IMPROVING and epochs_left == 0
    end = "; the budget has no epochs left" if spent else ""
    return Finding(
        kind=Kind.TREND,
        verdict=verdict,
        sentence=f"{text}: {shown} (standard error {points(change.error)}){end}.",
        figures={"change": change.value, "error": change.error},
    )


def fluctuation(measured: Measurements) -> Finding:
    """``fluctuates``, ``climbs``, ``settled`` or ``too short to say``: how far single epochs move.

    It fluctuates where both the movement and a fall from one epoch to the next are material: then
    the last epoch is a matter of luck. A curve that rises and bends moves about its straight line
    too, but never falls. All epochs see the same images, so the movement comes from the weights.
    """
    movement = measured.movement
    if movement is None:
        sentence = f"{count(measured.epochs, 'epoch')}: too short to say how much it fluctuates."
        return Finding(kind=Kind.FLUCTUATION, verdict=Verdict.TOO_SHORT, sentence=sentence)
    verdict, opening, end = Verdict.SETTLED, "Settled", ""
    if measured.rise is not None and abs(measured.rise.value) > measured.material:
        opening = "Does not fluctuate"
    if movement > measured.material and measured.fall > measured.material:
        verdict, opening = Verdict.FLUCTUATES, "Fluctuates"
        if measured.lr_last >= measured.lr_peak:
            end = f"; the learning rate is still at its peak of {measured.lr_last:g}"
    elif movement > measured.material:
        verdict, opening = Verdict.CLIMBS, "Climbs without fluctuating"
        end = f"; it never falls by more than {points(measured.fall)}"
    sentence = (
        f"{opening}: {measured.at_end} {measured.split} accuracy moved within "
        f"{points(measured.range)} points, standard deviation {points(movement)} "
        f"about its trend, where the binomial error of {measured.images:,} images is "
        f"{points(measured.binomial)}{end}."
    )
    figures = {"movement": movement, "range": measured.range, "binomial_error": measured.binomial}
    return Finding(kind=Kind.FLUCTUATION, verdict=verdict, sentence=sentence, figures=figures)


def handicaps(run: Run) -> list[str]:
    """What lowers training accuracy while it is measured."""
    return ["dropout"] * run.net.uses(graph.Dropout) + ["augmentation"] * bool(run.data.augment)


def _is_clear(change: Change, measured: Measurements) -> bool:
    return abs(change.value) > max(CHANGE_IN_ERRORS * change.error, measured.material)
