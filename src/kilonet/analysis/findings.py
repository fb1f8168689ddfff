"""What the numbers of a rung say, in sentences that carry them. Every threshold is named here.

The yardstick of all rules about small differences is :attr:`Measurements.material`, half of the
binomial error that the test set carries; so they hold for 99 % on 10,000 images as for 80 % on 500.
Training accuracy is measured while an epoch trains, with dropout and augmentation on, so it lags
behind the network by half an epoch; gaps are read with that in mind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from kilonet.analysis.comparison import Effect
from kilonet.analysis.measurements import Measurements
from kilonet.analysis.statistics import Statistics
from kilonet.analysis.words import count, percent, points, signed
from kilonet.spec import Run, graph

UNDERFIT_ERROR_RATIO = 2.0
"""Underfitting: the training error is more than this many times the error the target allows …"""

UNDERFIT_POINTS = 5.0
"""… or exceeds it by more than this many percentage points."""

GAP_IN_ERRORS = 1.0
"""Over-fitting, or a gap turned round: more than this many binomial errors from zero."""

STRONG_GAP_SHARE = 0.5
"""Strong over-fitting: the gap is more than this share of the test error …"""

STRONG_GAP_POINTS = 5.0
"""… or more than this many percentage points."""

CHANGE_IN_ERRORS = 2.0
"""A trend: a change of more than this many standard errors of its own (and material)."""

TARGET_EPOCHS = 3
"""The target is reached where each of this many last epochs is at or above it."""

STEADIER_RATIO = 0.8
"""Steadier: the movement between epochs is at most this share of the rung before's."""

Kind = Literal["fit", "gap", "trend", "fluctuation", "target", "effect", "climb", "robustness"]
Figure = float | int | None


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that a rung's rows show.

    Attributes:
        kind: what it is about.
        verdict: the rule's outcome, for programs: see each rule.
        sentence: the same for people, figures included.
        figures: the numbers behind it, unrounded.
    """

    kind: Kind
    verdict: str
    sentence: str
    figures: Mapping[str, Figure] = field(default_factory=dict)


def fit(measured: Measurements, *, target: float, run: Run) -> Finding:
    """``underfits`` or ``fits``: can the network learn its own training images?"""
    allowed = max(100 - target, measured.material)
    error = 100 - measured.train
    handicap = " and ".join(_handicaps(run))
    under = f" (with {handicap} on)" if handicap else ""
    accuracy = f"training accuracy {percent(measured.train)} over the last {_epochs(measured)}"
    figures = {"train_accuracy": measured.train, "target": target}
    if error > min(UNDERFIT_ERROR_RATIO * allowed, allowed + UNDERFIT_POINTS):
        sentence = (
            f"Underfits: {accuracy}{under}, an error {error / allowed:.1f} times what the target "
            "allows."
        )
        return Finding(kind="fit", verdict="underfits", sentence=sentence, figures=figures)
    sentence = f"Fits the training images well: {accuracy}{under}."
    return Finding(kind="fit", verdict="fits", sentence=sentence, figures=figures)


def gap(measured: Measurements) -> Finding:
    """``overfits``, ``overfits a little``, ``closed`` or ``reversed``: train minus test accuracy.

    Where the training runs long enough, its trend too: ``widening``, ``narrowing`` or ``steady``.
    """
    size, share = measured.gap, measured.gap_share
    threshold = GAP_IN_ERRORS * max(measured.binomial, 100 / measured.images)
    where = f"over the last {_epochs(measured)}"
    above = f"training accuracy is {points(size)} points above test accuracy {where}"
    if size > threshold and (share > STRONG_GAP_SHARE or size > STRONG_GAP_POINTS):
        verdict = "overfits"
        text = f"Over-fits: {above}, {share:.0%} of the test error"
    elif size > threshold:
        verdict = "overfits a little"
        text = f"Over-fits a little: {above}, {share:.0%} of the test error"
    elif size >= -threshold:
        verdict = "closed"
        text = (
            f"No over-fitting to speak of: the gap is {signed(size)} points {where}, within the "
            f"{points(threshold)} that the test set cannot tell from none"
        )
    else:
        verdict = "reversed"
        text = (
            f"No over-fitting: training accuracy is {points(size)} points below test accuracy "
            f"{where}"
        )
    trend = "unknown"
    figures: dict[str, Figure] = {"gap": size, "share_of_test_error": share}
    if measured.gap_change is not None:
        change, error = measured.gap_change.value, measured.gap_change.error
        figures |= {"gap_change": change, "gap_change_error": error}
        clear = abs(change) > max(CHANGE_IN_ERRORS * error, measured.material)
        trend = ("widening" if change > 0 else "narrowing") if clear else "steady"
        # A gap that widens from below zero is the training catching up, not over-fitting.
        word = "still closing from below" if clear and change > 0 and size < 0 else trend
        text += f"; it is {word} ({signed(size - change)} in the {measured.window} before)"
    figures["widening"] = int(trend == "widening")
    return Finding(kind="gap", verdict=verdict, sentence=f"{text}.", figures=figures)


def trend(measured: Measurements, *, epochs_left: int | None) -> Finding:
    """``improving``, ``level``, ``falling`` or ``too short to say``: test accuracy at the end.

    Args:
        measured: the rung's numbers.
        epochs_left: epochs that the budget still allows; None without a limit.
    """
    change = measured.test_change
    if change is None:
        sentence = f"{count(measured.epochs, 'epoch')}: too short to say where it is heading."
        return Finding(kind="trend", verdict="too short to say", sentence=sentence)
    figures = {"change": change.value, "error": change.error}
    clear = abs(change.value) > max(CHANGE_IN_ERRORS * change.error, measured.material)
    means = (
        f"the mean of the last {measured.window} epochs, {percent(measured.test)}, is "
        f"{points(change.value)} points {'above' if change.value > 0 else 'below'} that of the "
        f"{measured.window} before"
    )
    if clear and change.value > 0:
        fell = "; the learning rate fell meanwhile" if measured.lr_last < measured.lr_before else ""
        spent = "; the budget's epochs are spent" if epochs_left == 0 else ""
        sentence = f"Still improving: {means} (standard error {points(change.error)}){fell}{spent}."
        return Finding(kind="trend", verdict="improving", sentence=sentence, figures=figures)
    if clear:
        sentence = f"Getting worse: {means} (standard error {points(change.error)})."
        return Finding(kind="trend", verdict="falling", sentence=sentence, figures=figures)
    sentence = (
        f"On a plateau: {percent(measured.test)} in the mean of the last {measured.window} epochs, "
        f"{signed(change.value)} points on the {measured.window} before "
        f"(standard error {points(change.error)})."
    )
    return Finding(kind="trend", verdict="level", sentence=sentence, figures=figures)


def fluctuation(measured: Measurements) -> Finding:
    """``fluctuates``, ``settled`` or ``too short to say``: how far single epochs move.

    Fluctuating is movement that is material: it makes the last epoch a matter of luck. All epochs
    see the same test images, so the movement is the weights', not the test set's; the binomial
    error stands beside it as the measure of what a difference is worth.
    """
    movement = measured.movement
    if movement is None:
        sentence = f"{count(measured.epochs, 'epoch')}: too short to say how much it fluctuates."
        return Finding(kind="fluctuation", verdict="too short to say", sentence=sentence)
    figures = {
        "movement": movement,
        "range": measured.high - measured.low,
        "binomial_error": measured.binomial,
    }
    if measured.seeds == 1:
        span = f"between {percent(measured.low)} and {percent(measured.high)}"
    else:
        span = f"within {points(measured.high - measured.low)} points (mean of the seeds)"
    spread = (
        f"over the last {_epochs(measured)} test accuracy moved {span}, standard deviation "
        f"{points(movement)} about its trend; for scale, the {measured.images:,} test images carry "
        f"an error of {points(measured.binomial)} by themselves"
    )
    if movement > measured.material:
        held = measured.lr_last >= measured.lr_peak
        rate = f", and the learning rate is still at its peak of {measured.lr_last:g}"
        sentence = f"Fluctuates: {spread}{rate if held else ''}."
        return Finding(kind="fluctuation", verdict="fluctuates", sentence=sentence, figures=figures)
    sentence = f"Settled: {spread}."
    return Finding(kind="fluctuation", verdict="settled", sentence=sentence, figures=figures)


def target_reached(
    final: Statistics, best: Statistics, *, reached: int, target: float, measured: Measurements
) -> Finding:
    """``reached``, ``reached by some``, ``not reached`` or ``too short to say``, and how far it is.

    Args:
        final: final test accuracies.
        best: best test accuracies, chosen on the test set.
        reached: seeds at or above the target in each of the last three epochs.
        target: percent.
        measured: the rung's numbers.
    """
    short = target - final.mean
    figures: dict[str, Figure] = {
        "reached": reached,
        "seeds": final.n,
        "target": target,
        "short": short,
    }
    mean = f"{'final' if final.n == 1 else 'mean final'} accuracy {percent(final.mean)}"
    if measured.epochs < TARGET_EPOCHS:
        sentence = (
            f"{count(measured.epochs, 'epoch')}: too short to tell whether the target is reached, "
            f"the rule needs three epochs; {mean}, target {percent(target)}."
        )
        return Finding(
            kind="target", verdict="too short to say", sentence=sentence, figures=figures
        )
    who = "" if final.n == 1 else f" by {reached} of {final.n} seeds"
    rule = "in each of the last three epochs"
    if reached == final.n:
        by_all = "" if final.n == 1 else f" by all {final.n} seeds"
        sentence = f"Target reached{by_all}: at least {percent(target)} {rule}."
        return Finding(kind="target", verdict="reached", sentence=sentence, figures=figures)
    behind = final.n - reached
    missed = count(behind, "seed")
    if final.minimum >= target:
        distance = f"{mean}, but below {percent(target)} before the end"
        distance += "" if final.n == 1 else f" in {missed}"
    elif short > 0:
        images = count(max(1, round(short / 100 * measured.images)), "image")
        distance = (
            f"{mean} is {points(short)} points short of {percent(target)}, "
            f"{images} of {measured.images:,}"
        )
        if short < measured.binomial:
            distance += f" and less than the test set's own error of {points(measured.binomial)}"
    else:
        was, their = ("was", "its") if behind == 1 else ("were", "their")
        distance = (
            f"{mean}, but {missed} {was} below {percent(target)} in at least one of {their} last "
            "three epochs"
        )
    if reached:
        sentence = f"Target reached{who} {rule}: {distance}."
        return Finding(kind="target", verdict="reached by some", sentence=sentence, figures=figures)
    touched = ""
    if best.maximum >= target and short > 0:
        touched = f"; the best epoch touched {percent(best.maximum)}, but it was not held"
    sentence = f"Target not reached{'' if final.n == 1 else ' by any seed'}: {distance}{touched}."
    return Finding(kind="target", verdict="not reached", sentence=sentence, figures=figures)


def robustness(before: Measurements, after: Measurements, *, effect: Effect) -> Finding | None:
    """``more robust``, ``less robust``, ``mixed``, ``alike`` or ``less accurate``.

    Against the rung before, more robust is over-fitting less by something material, or movement
    between epochs at most :data:`STEADIER_RATIO` of what it was, over the second part of the
    training, and neither the other way round. A gap below zero is no over-fitting, however far
    below. A step that cost accuracy is not praised for either: a wrecked network over-fits nothing.
    None where the runs are too short.
    """
    if before.second_half_movement is None or after.second_half_movement is None:
        return None
    gap_change = max(after.second_half_gap, 0.0) - max(before.second_half_gap, 0.0)
    old, new = before.second_half_movement, after.second_half_movement
    gains = [gap_change < -after.material, new <= STEADIER_RATIO * old and new < old]
    losses = [gap_change > after.material, old <= STEADIER_RATIO * new and old < new]
    window = 2 * after.window if after.test_change is not None else after.window
    numbers = (
        f"over the last {window} epochs the gap went from {signed(before.second_half_gap)} to "
        f"{signed(after.second_half_gap)} points, the movement between epochs from "
        f"{points(old)} to {points(new)}"
    )
    figures = {
        "gap_before": before.second_half_gap,
        "gap_after": after.second_half_gap,
        "movement_before": old,
        "movement_after": new,
    }
    no_better = ""
    mean = effect.final.mean
    if mean is not None and effect.final.verdict != "better" and mean <= after.material:
        no_better = ", but no better"
    lost = -(mean or 0.0)
    fell = effect.final.verdict == "worse" or lost > after.material
    if fell and (any(gains) or not any(losses)):
        verdict = "less accurate"
        word = f"Less accurate by {points(lost)} points, so nothing is gained in robustness"
    elif any(gains) and not any(losses):
        verdict, word = "more robust", f"Trains more robustly{no_better}"
    elif any(losses) and not any(gains):
        verdict, word = "less robust", "Trains less robustly"
    elif any(gains):
        verdict, word = "mixed", "Steadier in one way, less so in another"
    else:
        verdict, word = "alike", "As robust as before"
    seeds = " (one seed)" if after.seeds == 1 else ""
    sentence = f"{word}: {numbers}{seeds}."
    return Finding(kind="robustness", verdict=verdict, sentence=sentence, figures=figures)


def uses(run: Run, operation: type[object]) -> bool:
    """Whether an operation of :mod:`kilonet.spec.graph` stands in the network, however deep."""
    return any(isinstance(node.op, operation) for node in graph.walk(run.net.nodes))


def _epochs(measured: Measurements) -> str:
    return count(measured.window, "epoch") if measured.window > 1 else "epoch"


def _handicaps(run: Run) -> list[str]:
    """What lowers training accuracy below what the network can do."""
    return ["dropout"] * uses(run, graph.Dropout) + ["augmentation"] * bool(run.data.augment)
