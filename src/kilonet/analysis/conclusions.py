"""A study's conclusions: how far it got, how sure that is, and what the numbers cannot show."""

from __future__ import annotations

from collections.abc import Sequence

from kilonet.analysis.curves import TARGET_EPOCHS
from kilonet.analysis.descriptive import ROUNDING
from kilonet.analysis.differences import LARGEST
from kilonet.analysis.power import (
    MAX_SEEDS,
    PAIRED_SD_IN_BINOMIAL_ERRORS,
    POWER,
    Sensitivity,
    detectable_difference,
)
from kilonet.analysis.results import StageAnalysis
from kilonet.formatting import count, interval, listed, percent, points

SEEDS_ADVISED = 5
"""What a study of one seed is advised to take: the fewest whose t is within a quarter of ten's."""


def conclude(
    stages: Sequence[StageAnalysis], *, sensitivity: Sensitivity, same_images: bool
) -> tuple[str, ...]:
    """The whole in a few sentences.

    Args:
        stages: at least one.
        sensitivity: what the study's seeds can show.
        same_images: whether all stages are measured on the same.
    """
    seeds = min(stage.seeds for stage in stages)
    sentences = [_target(stages)]
    if len(stages) > 1 and same_images:
        sentences.append(_highest(stages))
    if seeds == 1:
        sentences.append(
            "One seed a stage: nothing can be concluded about the changes. More seeds: add "
            f"--set seeds={SEEDS_ADVISED}; finished runs are kept."
        )
    else:
        sentences += _intervals(stages, comparisons=sensitivity.comparisons)
    return (*sentences, _seeds_needed(sensitivity, seeds=seeds), _images(stages, same=same_images))


def _target(stages: Sequence[StageAnalysis]) -> str:
    target = f"the target of {percent(stages[0].target)}"
    whole = [stage for stage in stages if stage.reached == stage.seeds]
    if whole:
        names = ", ".join(f"{stage.number} ({stage.name})" for stage in whole)
        every = "every seed" if min(stage.seeds for stage in stages) > 1 else "the one seed"
        return f"T{target[1:]} is reached by {every} of stage {names}."
    if all(stage.measured.epochs < TARGET_EPOCHS for stage in stages):
        return f"The runs are too short to say whether {target} is reached: it takes three epochs."
    in_part = ", ".join(
        f"stage {stage.number} ({stage.name}) with {stage.reached} of {stage.seeds}"
        for stage in stages
        if stage.reached
    )
    return f"No stage reached {target}{' with every seed: ' if in_part else ''}{in_part}."


def _highest(stages: Sequence[StageAnalysis]) -> str:
    highest = max(stage.final.mean for stage in stages)
    names = [
        f"stage {stage.number}'s ({stage.name})"
        for stage in stages
        if highest - stage.final.mean < ROUNDING
    ]
    of = "final accuracy" if stages[0].seeds == 1 else "mean final accuracy"
    return (
        f"The highest {of} is {listed(names)}, {percent(highest)}: picked by "
        f"{stages[0].measured.split} accuracy, so a little optimistic."
    )


def _intervals(stages: Sequence[StageAnalysis], *, comparisons: int) -> list[str]:
    """Which intervals are shown, and a sentence for each stage whose two intervals differ."""
    finals = [stage.final for stage in stages if stage.final.bootstrap95]
    agrees = finals and not any(final.intervals_disagree for final in finals)
    bootstrap = ", and a bootstrap agrees with them" if agrees else ""
    seeds = count(min(stage.seeds for stage in stages), "seed")
    corrected = f", corrected for {comparisons} comparisons (Holm)" if comparisons > 1 else ""
    sentences = [
        (
            f"{seeds} a stage; intervals of means are 95% Student-t over the seeds{bootstrap}; "
            f"effects are paired by seed{corrected}."
        )
    ]
    for stage in stages:
        drawn, student = stage.final.bootstrap95, stage.final.ci95
        if stage.final.intervals_disagree and drawn and student:
            sentences.append(
                f"Stage {stage.number}: a bootstrap puts the mean final accuracy in "
                f"{interval(*drawn)}, Student's t in {interval(*student)}, because the seeds are "
                "spread unevenly about their mean. Student's t is used; its ends are uncertain."
            )
    return sentences


def _seeds_needed(sensitivity: Sensitivity, *, seeds: int) -> str:
    """How many seeds a small difference takes, and what these seeds can show."""
    needed, comparisons = sensitivity.seeds_for_wanted, sensitivity.comparisons
    corrected = f", corrected for {comparisons} comparisons," if comparisons > 1 else ""
    takes = (
        f"A difference of {points(sensitivity.wanted)} points{corrected} takes "
        f"{'about' if needed < MAX_SEEDS else 'more than'} {count(needed, 'seed')} a stage to be "
        f"shown in {POWER:.0%} of studies"
    )
    detectable, number = sensitivity.detectable, seeds
    if seeds == 1:
        number = SEEDS_ADVISED
        detectable = detectable_difference(sd=sensitivity.sd, n=number, level=sensitivity.level)
    shows = ""
    if detectable is not None:
        shows = f"; {count(number, 'seed')} show {points(detectable)} points as often"
        if detectable > LARGEST:
            shows = f"; {count(number, 'seed')} are too few to show any"
    spread = f"Paired differences have a standard deviation of {points(sensitivity.sd)} points"
    source = f"{PAIRED_SD_IN_BINOMIAL_ERRORS:g} binomial errors: assumed, as in the bundled study"
    if sensitivity.sd95 is not None and sensitivity.seeds_for_wanted95 is not None:
        source = f"pooled over the stages, 95% interval {interval(*sensitivity.sd95)}"
        low, high = sensitivity.seeds_for_wanted95
        if low < high:
            many = f"{high:,}" if high < MAX_SEEDS else f"more than {high:,}"
            source += f", so it may take as few as {low:,} seeds or as many as {many}"
    return f"{takes}{shows}. {spread}, {source}."


def _images(stages: Sequence[StageAnalysis], *, same: bool) -> str:
    if not same:
        return (
            "The stages are measured on different images, so their accuracies do not show what "
            "each change did."
        )
    top = max(stages, key=lambda stage: stage.final.mean)
    images, split = top.measured.images, top.measured.split
    other = f"other images would move them by {points(top.binomial)} points (one standard error)"
    if top.final.mean == 100:
        # The largest error that leaves a chance of 5 % to see none, about three images' worth:
        # Hanley and Lippman-Hand, "If nothing goes wrong, is everything all right?", JAMA 1983.
        room = 100 * (1 - 0.05 ** (1 / images))
        other = (
            f"stage {top.number} gets all of them right, which leaves room for an error of up to "
            f"{points(room)} points on other images (95%)"
        )
    return f"All accuracies are measured on the same {images:,} {split} images; {other}."
