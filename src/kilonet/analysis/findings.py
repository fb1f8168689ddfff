"""What a finding is; and the rules for the target, and for a rung against another one.

A finding is a sentence that carries its figures. Each rule names its thresholds as constants above
it; docs/analysis.md lists them all with their reasons. The yardstick of all rules about small
differences is :attr:`Measurements.material`, half of the binomial error that the test set carries;
so they hold for 99 % on 10,000 images as for 80 % on 500.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from kilonet.analysis.comparison import OTHER_IMAGES, Effect
from kilonet.analysis.measurements import Measurements
from kilonet.analysis.statistics import ROUNDING, Statistics
from kilonet.analysis.words import count, percent, points, signed

TARGET_EPOCHS = 3
"""The target is reached where each of this many last epochs is at or above it."""

STEADIER_RATIO = 0.8
"""Steadier: the movement between epochs is at most this share of the rung before's."""

CHANCE = 0.05
"""Where chance alone changes the movement as much more often than this, the sentence says so."""

Kind = Literal[
    "fit",
    "gap",
    "trend",
    "fluctuation",
    "target",
    "seeds",
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
        all_seeds = "both seeds" if final.n == 2 else f"all {final.n} seeds"
        by_all = "" if final.n == 1 else f" by {all_seeds}"
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


def robustness(
    before: Measurements, after: Measurements, *, effect: Effect, handicaps: Sequence[str] = ()
) -> Finding | None:
    """``more robust``, ``less robust``, ``mixed``, ``alike`` or ``less accurate``.

    Against the rung before, more robust is over-fitting less by something material, or movement
    between epochs at most :data:`STEADIER_RATIO` of what it was, and neither the other way round.
    Both are looked at over the second part of the training; over the last window alone where a
    learning rate fell between the two, as the step it makes would pass for movement. A gap below
    zero is no over-fitting, however far below. A step that cost accuracy is not praised for either:
    a wrecked network over-fits nothing. What weakens the claim is said in brackets: that it rests
    on one seed, that chance alone moves as much (an F test of both movements), and that the gap
    narrows by itself where training accuracy is measured with more against it than before. None
    where the runs are too short, or the rungs were tested on different images.

    Args:
        before: the numbers of the rung before.
        after: the rung's.
        effect: of the step between them.
        handicaps: what the step added that lowers training accuracy while it is measured: dropout,
            augmentation.
    """
    if effect.final.verdict == OTHER_IMAGES:
        return None
    fell = any(rung.lr_last < rung.lr_before for rung in (before, after))
    windows = [rung.window if fell else rung.second_half for rung in (before, after)]
    gaps = [rung.gap if fell else rung.second_half_gap for rung in (before, after)]
    old, new = (rung.movement if fell else rung.second_half_movement for rung in (before, after))
    if old is None or new is None:
        return None
    gap_change = max(gaps[1], 0.0) - max(gaps[0], 0.0)
    fits_less, fits_more = gap_change < -after.material, gap_change > after.material
    steadier = new <= STEADIER_RATIO * old and new < old
    unsteadier = old <= STEADIER_RATIO * new and old < new
    lengths = f"{windows[1]}" if windows[0] == windows[1] else f"{windows[0]} and {windows[1]}"
    numbers = (
        f"over the last {lengths} epochs the gap went from {signed(gaps[0])} to {signed(gaps[1])} "
        f"points, the movement between epochs from {points(old)} to {points(new)}"
    )
    figures: dict[str, Figure] = {
        "gap_before": gaps[0],
        "gap_after": gaps[1],
        "movement_before": old,
        "movement_after": new,
    }
    no_better = ""
    mean = effect.final.mean
    shown_better = "better" in (effect.final.verdict, effect.last_five.verdict)
    if mean is not None and not shown_better and mean <= after.material:
        no_better = ", but no better"
    lost = -(mean or 0.0)
    fell_back = effect.final.verdict == "worse" or lost > after.material
    unshown = " (not shown)" if effect.final.n > 1 and not effect.final.shown else ""
    gained, worsened = fits_less or steadier, fits_more or unsteadier
    if fell_back and (gained or not worsened):
        verdict = "less accurate"
        less = f"Less accurate by {points(lost)} points{unshown}"
        word = f"{less}, so nothing is gained in robustness"
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
    doubts = ["one seed: another may say otherwise"] * (min(before.seeds, after.seeds) == 1)
    freedoms = (before.seeds * (windows[0] - 2), after.seeds * (windows[1] - 2))
    chance = _chance_of_movement(old, new, freedoms=freedoms)
    figures["chance"] = chance
    if (steadier or unsteadier) and chance is not None and chance > CHANCE:
        doubts.append(f"chance alone changes the movement as much in {chance:.0%} of cases")
    if fits_less and handicaps:
        doubts.append(
            f"measured with {' and '.join(handicaps)} on, training accuracy is lower by itself"
        )
    brackets = f" ({'; '.join(doubts)})" if doubts else ""
    sentence = f"{word}: {numbers}{brackets}."
    return Finding(kind="robustness", verdict=verdict, sentence=sentence, figures=figures)


def _chance_of_movement(old: float, new: float, *, freedoms: tuple[int, int]) -> float | None:
    """Two-sided p value of the F test of two movements; None where one of them is nought."""
    from scipy.special import fdtr

    if min(old, new) <= ROUNDING or min(freedoms) < 1:
        return None
    below = float(fdtr(freedoms[1], freedoms[0], (new / old) ** 2))
    return 2 * min(below, 1 - below)
