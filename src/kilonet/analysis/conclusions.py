"""A study's conclusions, in sentences: how far, how sure, and what the numbers cannot tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kilonet.analysis.comparison import LARGEST
from kilonet.analysis.findings import TARGET_EPOCHS
from kilonet.analysis.power import (
    MAX_SEEDS,
    PAIRED_SD_IN_BINOMIAL_ERRORS,
    POWER,
    Sensitivity,
    detectable_difference,
)
from kilonet.analysis.statistics import ROUNDING
from kilonet.analysis.words import count, interval, percent, points

SEEDS_ADVISED = 5
"""What a study of one seed is advised to take: the fewest whose t is within a quarter of ten's."""

if TYPE_CHECKING:
    from kilonet.analysis.ladder import RungAnalysis


def conclude(
    rungs: Sequence[RungAnalysis], *, sensitivity: Sensitivity, test_images: int, same_images: bool
) -> tuple[str, ...]:
    """The whole in a few sentences: how far, how sure, and what the numbers cannot tell.

    Args:
        rungs: at least one.
        sensitivity: what the study's seeds can tell.
        test_images: how many the first rung is measured on.
        same_images: whether all rungs are measured on the same.
    """
    top = max(rungs, key=lambda rung: rung.final.mean)
    seeds = min(rung.seeds for rung in rungs)
    done = [rung for rung in rungs if rung.reached == rung.seeds]
    in_part = [rung for rung in rungs if 0 < rung.reached < rung.seeds]
    of = "final accuracy" if seeds == 1 else "mean final accuracy"
    sentences = []
    if done:
        names = ", ".join(f"{rung.number} ({rung.name})" for rung in done)
        sentences.append(
            f"The target of {percent(top.target)} is reached by "
            f"{'every seed' if seeds > 1 else 'the one seed'} of rung {names}."
        )
    elif in_part:
        first, *more = (
            (f"rung {rung.number} ({rung.name})", f"with {rung.reached} of {rung.seeds}")
            for rung in in_part
        )
        some = ", ".join([" did ".join(first), *map(" ".join, more)])
        sentences.append(
            f"No rung reached the target of {percent(top.target)} with every seed; {some}."
        )
    elif all(rung.measured.epochs < TARGET_EPOCHS for rung in rungs):
        sentences.append(
            f"The runs are too short to tell whether the target of {percent(top.target)} is "
            "reached: the rule needs three epochs."
        )
    else:
        sentences.append(f"No rung reached the target of {percent(top.target)}.")
    if len(rungs) > 1 and same_images:
        highest = [
            f"rung {rung.number}'s ({rung.name})"
            for rung in rungs
            if top.final.mean - rung.final.mean < ROUNDING
        ]
        sentences.append(
            f"The highest {of} is {' and '.join(highest)}, {percent(top.final.mean)}: picked by "
            "test accuracy, so a little optimistic."
        )
    if seeds == 1:
        sentences.append(
            "One seed a rung: nothing can be concluded about the steps. More seeds: add "
            f"--set seeds={SEEDS_ADVISED}; finished runs are kept."
        )
    else:
        sentences.append(_what_is_shown(rungs, seeds=seeds, comparisons=sensitivity.comparisons))
        sentences += _disagreements(rungs)
    sentences.append(_what_seeds_would_show(sensitivity, seeds=seeds))
    if not same_images:
        sentences.append(
            "The rungs are tested on different images, so that their accuracies tell nothing about "
            "the steps between them."
        )
        return tuple(sentences)
    move = (
        f"another such set would move them by {points(top.binomial)} points (one binomial standard "
        "error)"
    )
    if top.final.mean == 100:
        # The largest error that leaves none to be seen a chance of 5 %, about three images' worth:
        # Hanley and Lippman-Hand, "If nothing goes wrong, is everything all right?", JAMA 1983.
        room = 100 * (1 - 0.05 ** (1 / test_images))
        move = (
            f"that rung {top.number} gets all of them right leaves room for an error of up to "
            f"{points(room)} points on other images (95%)"
        )
    sentences.append(
        f"All accuracies are measured on the same {test_images:,} test images; {move}."
    )
    return tuple(sentences)


def _what_is_shown(rungs: Sequence[RungAnalysis], *, seeds: int, comparisons: int) -> str:
    of_means = "intervals of means are 95% Student-t over the seeds"
    told = [rung.final for rung in rungs if rung.final.bootstrap95]
    if told and not any(final.intervals_disagree for final in told):
        of_means += ", and a bootstrap agrees with them"
    corrected = (
        f", their intervals and p values corrected for {comparisons} comparisons (Holm)"
        if comparisons > 1
        else ""
    )
    return f"{count(seeds, 'seed')} a rung; {of_means}; effects are paired by seed{corrected}."


def _disagreements(rungs: Sequence[RungAnalysis]) -> list[str]:
    """A sentence for each rung whose two intervals are apart: which is used, and why."""
    return [
        f"Rung {rung.number}: a bootstrap puts the mean final accuracy in "
        f"{interval(*rung.final.bootstrap95)}, Student's t in {interval(*rung.final.ci95)}, "
        "because the seeds lie unevenly about their mean; Student's t is used, which holds as well "
        "in simulation and goes with the test of the steps, but take its ends with care."
        for rung in rungs
        if rung.final.intervals_disagree and rung.final.bootstrap95 and rung.final.ci95
    ]


def _what_seeds_would_show(sensitivity: Sensitivity, *, seeds: int) -> str:
    comparisons = sensitivity.comparisons
    corrected = f"corrected for {comparisons} comparisons, " if comparisons > 1 else ""
    about = "about" if sensitivity.seeds_for_wanted < MAX_SEEDS else "more than"
    takes = (
        f"{corrected}a difference of {points(sensitivity.wanted)} points takes {about} "
        f"{count(sensitivity.seeds_for_wanted, 'seed')} a rung to be shown in {POWER:.0%} of "
        "studies"
    )
    spread = f"a standard deviation of {points(sensitivity.sd)} points"
    if sensitivity.assumed:
        advised = ""
        if seeds == 1:
            shown = detectable_difference(
                sd=sensitivity.sd, n=SEEDS_ADVISED, level=sensitivity.level
            )
            if shown <= LARGEST:
                advised = f"{SEEDS_ADVISED} seeds would show {points(shown)} points as often; "
        return (
            f"{takes[0].upper()}{takes[1:]}; {advised}that assumes paired differences with "
            f"{spread}, {PAIRED_SD_IN_BINOMIAL_ERRORS:g} binomial errors, as in the bundled study."
        )
    shows = rough = ""
    if sensitivity.detectable is not None:
        what = f"show {points(sensitivity.detectable)} points as often"
        if sensitivity.detectable > LARGEST:
            what = "are too few to show any"
        shows = f"; {count(seeds, 'seed')} {what}"
    if sensitivity.seeds_for_wanted95 is not None and sensitivity.sd95 is not None:
        low, high = sensitivity.seeds_for_wanted95
        if low < high:
            many = f"{high:,}" if high < MAX_SEEDS else f"more than {high:,}"
            rough = (
                f" That spread is known roughly, 95% interval {interval(*sensitivity.sd95)}, so it "
                f"may take as few as {low:,} seeds or as many as {many}."
            )
    return (
        f"Paired differences have {spread}, pooled over {count(sensitivity.steps, 'step')}: "
        f"{takes}{shows}.{rough}"
    )
