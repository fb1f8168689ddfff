"""What a finding is; and the rules for the target, and for a rung against another one.

A finding is a sentence that carries its figures. Each rule names its thresholds as constants above
it; docs/analysis.md lists them all with their reasons. The yardstick of all rules about small
differences is :attr:`Measurements.material`, half of the binomial error that the test set carries;
so they hold for 99 % on 10,000 images as for 80 % on 500.
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

TARGET_EPOCHS = 3
"""The target is reached where each of this many last epochs is at or above it."""

STEADIER_RATIO = 0.8
"""Steadier: the movement between epochs is at most this share of the rung before's."""

Kind = Literal[
    "fit",
    "gap",
    "trend",
    "fluctuation",
    "target",
    "effect",
    "climb",
    "robustness",
    "learning rate",
    "regulariser",
    "width",
    "class pairs",
    "hard images",
    "labels",
    "calibration",
]
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
    between epochs at most :data:`STEADIER_RATIO` of what it was, and neither the other way round.
    Both are looked at over the second part of the training; over the last window alone where a
    learning rate fell between the two, as the step it makes would pass for movement. A gap below
    zero is no over-fitting, however far below. A step that cost accuracy is not praised for either:
    a wrecked network over-fits nothing. None where the runs are too short.
    """
    fell = any(rung.lr_last < rung.lr_before for rung in (before, after))
    window = after.window if fell or after.test_change is None else 2 * after.window
    gaps = [rung.gap if fell else rung.second_half_gap for rung in (before, after)]
    old, new = (rung.movement if fell else rung.second_half_movement for rung in (before, after))
    if old is None or new is None:
        return None
    gap_change = max(gaps[1], 0.0) - max(gaps[0], 0.0)
    fits_less, fits_more = gap_change < -after.material, gap_change > after.material
    steadier = new <= STEADIER_RATIO * old and new < old
    unsteadier = old <= STEADIER_RATIO * new and old < new
    numbers = (
        f"over the last {window} epochs the gap went from {signed(gaps[0])} to {signed(gaps[1])} "
        f"points, the movement between epochs from {points(old)} to {points(new)}"
    )
    figures = {
        "gap_before": gaps[0],
        "gap_after": gaps[1],
        "movement_before": old,
        "movement_after": new,
    }
    no_better = ""
    mean = effect.final.mean
    if mean is not None and effect.final.verdict != "better" and mean <= after.material:
        no_better = ", but no better"
    lost = -(mean or 0.0)
    fell_back = effect.final.verdict == "worse" or lost > after.material
    gained, worsened = fits_less or steadier, fits_more or unsteadier
    if fell_back and (gained or not worsened):
        verdict = "less accurate"
        word = f"Less accurate by {points(lost)} points, so nothing is gained in robustness"
    elif gained and not worsened:
        how = ["over-fits less"] * fits_less + ["is steadier"] * steadier
        verdict, word = "more robust", f"Trains more robustly ({' and '.join(how)}){no_better}"
    elif worsened and not gained:
        how = ["over-fits more"] * fits_more + ["is less steady"] * unsteadier
        verdict, word = "less robust", f"Trains less robustly ({' and '.join(how)})"
    elif gained:
        verdict = "mixed"
        word = "Over-fits less, but is less steady" if fits_less else "Steadier, but over-fits more"
    else:
        verdict, word = "alike", "As robust as before"
    seeds = " (one seed)" if after.seeds == 1 else ""
    sentence = f"{word}: {numbers}{seeds}."
    return Finding(kind="robustness", verdict=verdict, sentence=sentence, figures=figures)


def uses(run: Run, operation: type[object]) -> bool:
    """Whether an operation of :mod:`kilonet.spec.graph` stands in the network, however deep."""
    return any(isinstance(node.op, operation) for node in graph.walk(run.net.nodes))
