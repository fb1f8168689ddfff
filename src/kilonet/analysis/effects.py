"""A stage against another: the effect, paired by seed, and what it did to robustness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from kilonet.analysis.curves import handicaps
from kilonet.analysis.descriptive import CONFIDENCE, ROUNDING
from kilonet.analysis.differences import LARGEST, Difference, compare, correct
from kilonet.analysis.findings import Figure, Finding, Kind, Verdict
from kilonet.analysis.measurements import Measurements, window_of
from kilonet.analysis.power import POWER, SEEDS_NAMED, detectable_difference, seeds_to_show
from kilonet.formatting import (
    count,
    last_epochs,
    level,
    listed,
    points,
    probability,
    signed,
    signed_interval,
)
from kilonet.spec import Run
from kilonet.storage.record import Split
from kilonet.study import StageResult, StudyResult

CHANCE = 0.05
"""Steadier or less steady: the F test of both movements has a p value below this."""

SPREAD_SEEDS = 5
"""Fewer seeds than this show their spread only roughly, and the seeds needed with it: the true one
may be 3.7 times as large with four, 32 times with two (the upper end of its 95 % interval)."""


@dataclass(frozen=True, kw_only=True)
class Effect:
    """A stage against an earlier one: the one before, or the first.

    Attributes:
        against: number of that earlier stage.
        final: difference of the final accuracies.
        last_five: difference of the mean accuracies of the last five epochs: steadier.
        unpaired: seeds that only one of the two stages has, left out of the differences.
        epochs: how many ``last_five`` is the mean of, in both stages: fewer than five where runs of
            either are too short (:func:`~kilonet.analysis.measurements.window_of`), down to 1.
        split: the images that accuracies are measured on.
    """

    against: int
    final: Difference
    last_five: Difference
    unpaired: int
    epochs: int
    split: Split = Split.TEST


def compare_stages(
    result: StudyResult, *, splits: Sequence[Split]
) -> tuple[list[Effect | None], list[Effect | None]]:
    """Of each stage: against the one before, and from the third on against the first.

    All are one family, as large as the planned ladder makes it, for the final epoch and again for
    the mean of the last five: what is shown while a study runs is still shown at its end.
    ``splits`` are what the stages' accuracies are read from.
    """
    stages, size = result.stages, num_comparisons(len(result.study.stages))
    pairs = [(i - 1, i) for i in range(1, len(stages))] + [(0, i) for i in range(2, len(stages))]
    alone = [_compare(*((stages[i], splits[i]) for i in pair)) for pair in pairs]
    final = correct([effect.final for effect in alone], comparisons=size)
    last_five = correct([effect.last_five for effect in alone], comparisons=size)
    effects: list[Effect | None] = [
        replace(effect, final=final[i], last_five=last_five[i]) for i, effect in enumerate(alone)
    ]
    after_first = max(0, len(stages) - 1)
    return [None, *effects[:after_first]], [None, None, *effects[after_first:]][: len(stages)]


def _compare(before: tuple[StageResult, Split], after: tuple[StageResult, Split]) -> Effect:
    old, new = (
        {record.run.train.seed: split.accuracies(record) for record in stage.records}
        for stage, split in (before, after)
    )
    epochs = window_of(min(map(len, (*old.values(), *new.values()))))
    # Accuracies on other images are no pair.
    if images_of(*before) != images_of(*after):
        final = last_five = Difference(differences=(), verdict=Verdict.OTHER_IMAGES)
    else:
        final = compare(*({s: run[-1] for s, run in runs.items()} for runs in (old, new)))
        last_five = compare(
            *({s: mean_of_last(run, epochs) for s, run in runs.items()} for runs in (old, new))
        )
    return Effect(
        against=before[0].stage.number,
        final=final,
        last_five=last_five,
        unpaired=len(old.keys() ^ new.keys()) if final.n else 0,
        epochs=epochs,
        split=after[1],
    )


def images_of(stage: StageResult, split: Split) -> frozenset[tuple[str, float, int]]:
    """The images that a stage's accuracies are measured on, by fingerprint."""
    return frozenset(map(split.fingerprint, stage.records))


def num_comparisons(stages: int) -> int:
    """How many comparisons a ladder makes: each stage against the one before and the first.

    The second stage's two are one; a single stage counts as one, for its seeds' power.
    """
    return max(1, 2 * stages - 3)


def mean_of_last(accuracies: Sequence[float], epochs: int) -> float:
    """Over a run's last epochs."""
    return fmean(accuracies[-epochs:])


def effect_on_accuracy(effect: Effect, *, since_first: bool = False) -> Finding:
    """The verdict of :class:`Difference` on the final accuracies; last five's mean next to it.

    ``since_first`` where it is against the first stage: the effect of all changes since.
    """
    final, last_five = effect.final, effect.last_five
    figures: dict[str, Figure] = {
        "difference": final.mean,
        "p_adjusted": final.p_adjusted,
        "pairs": final.n,
    }
    opening = f"{'Since' if since_first else 'Against'} stage {effect.against}"
    if effect.split is Split.VALIDATION:
        opening += " in validation accuracy"
    nothing = f"{final.verdict}: nothing can be concluded."
    last = f"in the mean of {last_epochs(effect.epochs)}"
    several = effect.epochs > 1  # else both are of the last epoch
    if final.mean is None or last_five.mean is None:
        text = f"{opening}: {nothing}"
    elif final.n == 1:
        mean = f", {signed(last_five.mean)} {last}" if several else ""
        text = f"{opening}: {signed(final.mean)} points at the final epoch{mean}; {nothing}"
    else:
        mean = f"; {last_five.verdict} {last} ({_shown(last_five)})" if several else ""
        at_end = f"{final.verdict} at the final epoch ({_shown(final)})"
        text = f"{opening}, paired by seed: {at_end}{mean}."
    sentences = [text, *(_caveats(final) if final.n > 1 else [])]
    if not final.shown and final.sd:
        figures["seeds_needed"] = seeds_to_show(final)
        figures["detectable"] = detectable_difference(
            sd=final.sd, n=final.n, level=1 - final.confidence
        )
        sentences.append(_too_few(final))
    if effect.unpaired:
        sentences.append(f"{count(effect.unpaired, 'seed')} without a partner left out.")
    return Finding(
        kind=Kind.SINCE_FIRST if since_first else Kind.EFFECT,
        verdict=final.verdict,
        sentence=" ".join(sentences),
        figures=figures,
    )


def _too_few(final: Difference) -> str:
    """How many seeds would show this difference; where too many, what these would have shown."""
    if final.mean is None or not final.sd:
        raise ValueError("a difference without a spread does not tell how many seeds would show it")
    seeds, needed = count(final.n, "seed"), seeds_to_show(final)
    if needed is not None and needed <= SEEDS_NAMED:
        rough = f", as far as {seeds} show the spread" if final.n < SPREAD_SEEDS else ""
        return (
            f"{seeds} are too few for {signed(final.mean)}: --seeds {needed} would show it in "
            f"{POWER:.0%} of studies{rough}; finished runs are kept."
        )
    detectable = detectable_difference(sd=final.sd, n=final.n, level=1 - final.confidence)
    would = f"would show {points(detectable)} points in {POWER:.0%} of studies"
    if detectable > LARGEST:
        would = "are too few to show any difference"
    beyond = "" if needed is None else f"; {signed(final.mean)} takes more than {SEEDS_NAMED} seeds"
    return f"With this spread {seeds} {would}{beyond}."


def _caveats(final: Difference) -> list[str]:
    """Where the final epoch looked at in another way would have another verdict."""
    caveats, least = [], 1 - CONFIDENCE
    if not any(final.differences):
        caveats.append("Every seed has the same accuracy as before, as if nothing had changed.")
    elif not final.sd:
        more = max(SPREAD_SEEDS, final.n + 2)
        caveats.append(f"More seeds may show a spread: --seeds {more}; finished runs are kept.")
    if final.p is not None and final.ci95 and final.p < least and not final.shown:
        caveats.append(
            f"Alone it would be shown at the final epoch (95% interval "
            f"{signed_interval(*final.ci95)}, {probability(final.p)}), but as one of "
            f"{count(final.comparisons, 'comparison')} it can be luck."
        )
    flips = final.p_sign_flip
    if final.p is not None and flips is not None and (final.p < least) != (flips < least):
        caveats.append(
            f"The exact sign-flip test, which needs no normal distribution, has "
            f"{probability(flips)} where the t-test alone has {probability(final.p)}."
        )
    return caveats


def _shown(difference: Difference) -> str:
    mean = signed(difference.mean or 0.0)
    if difference.interval is None or difference.p_adjusted is None:
        return f"{mean} points in every seed, so that the spread is unknown"
    corrected = "corrected " if difference.comparisons > 1 else ""
    return (
        f"{mean} points, {level(difference.confidence)} interval "
        f"{signed_interval(*difference.interval)}, {corrected}{probability(difference.p_adjusted)}"
    )


def robustness(
    before: Measurements, after: Measurements, *, effect: Effect, runs: tuple[Run, Run]
) -> Finding | None:
    """``more robust``, ``less robust``, ``mixed``, ``alike`` or ``less accurate``.

    More robust is to over-fit less by something material, or to move less between epochs by an F
    test, where either movement is material. Both are measured over two windows; over the last one
    alone where a learning rate fell between the two, as the step it makes would count as movement.
    A gap below zero is no over-fitting, however far below. A change that cost accuracy is less
    accurate whatever else it did: a network that learns nothing over-fits nothing. None where the
    runs are too short, or the stages were measured on different images.
    """
    stages = (before, after)
    fell = any(stage.lr_last < stage.lr_before for stage in stages)
    windows = [stage.window if fell else stage.both_windows for stage in stages]
    gaps = [stage.gap if fell else stage.both_gap for stage in stages]
    old, new = (stage.movement if fell else stage.both_movement for stage in stages)
    if effect.final.verdict is Verdict.OTHER_IMAGES or old is None or new is None:
        return None
    narrowed = max(gaps[0], 0.0) - max(gaps[1], 0.0)
    freedom = [stage.seeds * (n - 2) for stage, n in zip(stages, windows, strict=True)]
    chance = _chance(old, new, freedom=freedom)
    moved = chance < CHANCE and max(old, new) > after.material
    better = ["over-fits less"] * (narrowed > after.material) + ["is steadier"] * (
        moved and new < old
    )
    worse = ["over-fits more"] * (-narrowed > after.material) + ["is less steady"] * (
        moved and new > old
    )
    if effect.final.verdict is Verdict.WORSE or (effect.final.mean or 0.0) < -after.material:
        verdict, word = Verdict.LESS_ACCURATE, "Less accurate, so not more robust"
    elif better and worse:
        verdict, word = Verdict.MIXED, f"It {listed(better)}, but {listed(worse)}"
    elif better:
        verdict, word = Verdict.MORE_ROBUST, f"Trains more robustly: it {listed(better)}"
        if Verdict.BETTER not in (effect.final.verdict, effect.last_five.verdict):
            word += ", but is not shown to be more accurate"
    elif worse:
        verdict, word = Verdict.LESS_ROBUST, f"Trains less robustly: it {listed(worse)}"
    else:
        verdict, word = Verdict.ALIKE, "As robust as before"
    doubts = ["one seed: another may differ"] * (min(before.seeds, after.seeds) == 1)
    added = [name for name in handicaps(runs[1]) if name not in handicaps(runs[0])]
    if narrowed > after.material and added:
        doubts.append(f"{listed(added)} lower{'s' if len(added) == 1 else ''} training accuracy")
    brackets = f" ({'; '.join(doubts)})" if doubts else ""
    lengths = f"{windows[1]}" if windows[0] == windows[1] else f"{windows[0]} and {windows[1]}"
    sentence = (
        f"{word}; over the last {lengths} epochs the gap went from {signed(gaps[0])} to "
        f"{signed(gaps[1])} points, the movement between epochs from {points(old)} to {points(new)}"
        f"{brackets}."
    )
    figures = {
        "gap_before": gaps[0],
        "gap_after": gaps[1],
        "movement_before": old,
        "movement_after": new,
        "chance": chance,
    }
    return Finding(kind=Kind.ROBUSTNESS, verdict=verdict, sentence=sentence, figures=figures)


def _chance(old: float, new: float, *, freedom: Sequence[int]) -> float:
    """Two-sided p value of the F test of two movements, each with its degrees of freedom."""
    from scipy.special import fdtr

    if min(old, new) <= ROUNDING:
        return 1.0 if max(old, new) <= ROUNDING else 0.0
    below = float(fdtr(freedom[1], freedom[0], (new / old) ** 2))
    return 2 * min(below, 1 - below)
