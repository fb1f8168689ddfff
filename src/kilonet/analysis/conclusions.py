"""A study's conclusions: how far it got, how sure that is, and what the numbers cannot show."""

from __future__ import annotations

from collections.abc import Sequence

from kilonet.analysis.comparisons import DecidedBy
from kilonet.analysis.curves import TARGET_EPOCHS
from kilonet.analysis.descriptive import ROUNDING
from kilonet.analysis.differences import LARGEST
from kilonet.analysis.findings import Kind, by_kind
from kilonet.analysis.majority import beats_majority
from kilonet.analysis.power import (
    MAX_SEEDS,
    PAIRED_SD_IN_BINOMIAL_ERRORS,
    POWER,
    SEEDS_NAMED,
    Sensitivity,
    detectable_difference,
    seeds_to_show,
)
from kilonet.analysis.results import StageAnalysis, StudyAnalysis
from kilonet.formatting import count, interval, listed, percent, points, signed
from kilonet.storage.record import Split

SEEDS_ADVISED = 5
"""What a study of one seed is advised to take: the fewest whose t is within a quarter of ten's."""


def conclude(analysis: StudyAnalysis, *, same_images: bool) -> tuple[str, ...]:
    """The whole in a few sentences.

    Args:
        analysis: without its conclusions.
        same_images: whether the images that it is judged on are the same for all stages.
    """
    stages, sensitivity = analysis.stages, analysis.sensitivity
    seeds = min(stage.seeds for stage in stages)
    sentences = _majority(stages)
    if analysis.target is not None:
        sentences.append(_target(stages, target=analysis.target))
    if len(stages) > 1 and same_images:
        sentences.append(_highest(analysis))
    if seeds == 1:
        sentences.append(
            "One seed a stage: nothing can be concluded about the changes. More seeds: add "
            f"--seeds {SEEDS_ADVISED}; finished runs are kept."
        )
    else:
        sentences += _intervals(analysis.judged, comparisons=sensitivity.comparisons)
        sentences += _too_few_seeds(analysis.judged)
    sentences.append(_sensitivity(sensitivity, seeds=seeds))
    return (*sentences, _images(analysis, same=same_images))


def _majority(stages: Sequence[StageAnalysis]) -> list[str]:
    """Stages that do not tell classes apart, or leave some out."""
    worse = [s for s in stages if s.errors is not None and not beats_majority(s.errors)]
    known = [s for s in stages if s.errors is not None]
    partly = [s for s in known if s not in worse and Kind.CLASSES in by_kind(s.findings)]
    # A stage may change the data, and with them the largest class.
    largest: dict[tuple[str, str], list[StageAnalysis]] = {}
    for stage in worse:
        if (errors := stage.errors) is not None:
            key = errors.classes[errors.majority], percent(errors.majority_share)
            largest.setdefault(key, []).append(stage)
    sentences = [
        f"{_stages(found).capitalize()} {'is' if len(found) == 1 else 'are'} not shown to be "
        f"better than always predicting class {name}, which {share} of the test images are of."
        for (name, share), found in largest.items()
    ]
    if partly:
        sentences.append(f"In {_stages(partly)} there are seeds that never predict some classes.")
    return sentences


def _stages(stages: Sequence[StageAnalysis]) -> str:
    numbers = listed([str(stage.number) for stage in stages])
    return f"stage {numbers}" if len(stages) == 1 else f"stages {numbers}"


def _target(stages: Sequence[StageAnalysis], *, target: float) -> str:
    text = f"the target of {percent(target)}"
    whole = [stage for stage in stages if stage.reached == stage.seeds]
    if whole:
        names = ", ".join(f"{stage.number} ({stage.name})" for stage in whole)
        every = "every seed" if min(stage.seeds for stage in stages) > 1 else "the one seed"
        errors = whole[0].errors
        low = errors is not None and target <= errors.majority_share
        too = ", and by always predicting the largest class" if low else ""
        return f"T{text[1:]} is reached by {every} of stage {names}{too}."
    if all(stage.measured.epochs < TARGET_EPOCHS for stage in stages):
        return f"The runs are too short to say whether {text} is reached: it takes three epochs."
    in_part = ", ".join(
        f"stage {stage.number} ({stage.name}) with {stage.reached} of {stage.seeds}"
        for stage in stages
        if stage.reached
    )
    return f"No stage reached {text}{' with every seed: ' if in_part else ''}{in_part}."


def _highest(analysis: StudyAnalysis) -> str:
    stages, split = analysis.judged, analysis.judged_on
    highest = max(stage.final.mean for stage in stages)
    best = [i for i, stage in enumerate(stages) if highest - stage.final.mean < ROUNDING]
    names = listed([f"stage {stages[i].number}'s ({stages[i].name})" for i in best])
    mean = "" if stages[0].seeds == 1 else "mean "
    some = any(stage.validation is not None for stage in analysis.stages)
    held_out = some and split is Split.VALIDATION
    of = "validation accuracy" if held_out else "accuracy"
    text = (
        f"The highest {mean}final {of} is {names}, {percent(highest)}: picked by {split} accuracy"
    )
    if held_out:
        test = list(dict.fromkeys(percent(analysis.stages[i].final.mean) for i in best))
        accuracies = "accuracy" if len(test) == 1 else "accuracies"
        are = "is" if len(test) == 1 else "are"
        return f"{text}, so that the test {accuracies} of {listed(test)} {are} not optimistic."
    why = ", as the stages do not hold out the same images" if some else ""
    return f"{text}{why}, so a little optimistic."


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
    sentences += _assumptions(stages)
    for stage in stages:
        drawn, student = stage.final.bootstrap95, stage.final.ci95
        if stage.final.intervals_disagree and drawn and student:
            sentences.append(
                f"Stage {stage.number}: a bootstrap puts the mean final accuracy in "
                f"{interval(*drawn)}, Student's t in {interval(*student)}, because the seeds are "
                "spread unevenly about their mean. Student's t is used; its ends are uncertain."
            )
    return sentences


def _assumptions(stages: Sequence[StageAnalysis]) -> list[str]:
    """What effects are measured by, what their test assumes, and what they hold for."""
    effects = [stage.effect for stage in stages if stage.effect is not None]
    tested = [effect for effect in effects if effect.deciding.p_moderated is not None]
    if not tested:
        return []
    by_mean = [effect for effect in tested if effect.decided_by is DecidedBy.LAST_FIVE]
    where = (by_mean or tested)[0].where
    if by_mean:
        same = len(by_mean) == len(tested)
        where += ", as" if same else " where"
        where += " both stages train them at the same learning rate"
        where += "" if same else ", else at the final epoch"
    spread = "the spread of their own seeds"
    pools = [effect.deciding.pool for effect in tested]
    if any(pool is not None and pool.stages > 2 for pool in pools):
        spread = (
            "the spread of their own seeds and of all stages (moderated t, which assumes that "
            "stages spread about alike)"
        )
    text = f"Effects are measured {where}, and tested against {spread}"
    return [f"{text}; they are about other seeds, not other images."]


def _too_few_seeds(stages: Sequence[StageAnalysis]) -> list[str]:
    """How many seeds would show the differences that these do not, where that is worth a study."""
    found: dict[int, list[str]] = {}
    for stage in stages:
        needed = None if stage.effect is None else seeds_to_show(stage.effect.deciding)
        if stage.effect is not None and needed is not None and needed <= SEEDS_NAMED:
            mean = signed(stage.effect.deciding.mean or 0.0)
            found.setdefault(needed, []).append(f"stage {stage.number}'s {mean}")
    if not found:
        return []
    seeds = count(min(stage.seeds for stage in stages), "seed")
    (least, first), *more = sorted(found.items())
    few = shown = listed(first)
    if more:
        few = "some changes"
    else:
        shown = "it" if len(first) == 1 else "them"
    text = f"{seeds} are too few for {few}: --seeds {least} would show {shown} in"
    others = "".join(f", --seeds {needed} {listed(names)}" for needed, names in more)
    return [f"{text} {POWER:.0%} of studies{others}; finished runs are kept."]


def _sensitivity(sensitivity: Sensitivity, *, seeds: int) -> str:
    """What these seeds can show, and how many a small difference takes, where not too many."""
    needed, comparisons = sensitivity.seeds_for_wanted, sensitivity.comparisons
    detectable, number = sensitivity.detectable, seeds
    if detectable is None:
        number = SEEDS_ADVISED
        detectable = detectable_difference(sd=sensitivity.sd, n=number, level=sensitivity.level)
    corrected = f", corrected for {comparisons} comparisons" if comparisons > 1 else ""
    takes = (
        f"{count(number, 'seed')} show a difference of {points(detectable)} points in {POWER:.0%} "
        f"of studies{corrected}"
    )
    if detectable > LARGEST:
        takes = f"{count(number, 'seed')} are too few to show any difference"
    worth = number < needed <= SEEDS_NAMED
    shows = (
        f"; one of {points(sensitivity.wanted)} points takes about {needed} seeds" if worth else ""
    )
    spread = f"Paired differences have a standard deviation of {points(sensitivity.sd)} points"
    source = f"{PAIRED_SD_IN_BINOMIAL_ERRORS:g} binomial errors: assumed, as in the bundled study"
    if sensitivity.sd95 is not None and sensitivity.seeds_for_wanted95 is not None:
        source = f"pooled over the stages, 95% interval {interval(*sensitivity.sd95)}"
        low, high = sensitivity.seeds_for_wanted95
        if worth and low < high:
            many = f"{high:,}" if high < MAX_SEEDS else f"more than {high:,}"
            source += f", so it may take as few as {low:,} seeds or as many as {many}"
    return f"{takes}{shows}. {spread}, {source}."


def _images(analysis: StudyAnalysis, *, same: bool) -> str:
    if not same:
        return (
            "The stages are measured on different images, so their accuracies do not show what "
            "each change did."
        )
    judged, stages = analysis.judged, analysis.stages
    place = max(range(len(stages)), key=lambda i: judged[i].final.mean)
    top, held_out = stages[place], judged[place].measured
    images = f"{top.measured.images:,} {top.measured.split} images"
    if judged[place] is not top:
        images = f"{held_out.images:,} {held_out.split} images and the same {images}"
    low, high = top.binomial95
    return (
        f"All accuracies are measured on the same {images}; these put stage {top.number}'s "
        f"{percent(top.final.mean)} in {interval(low, high)} (95%, Wilson)."
    )
