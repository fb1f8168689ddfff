"""A stage against another in words: its effect on accuracy, and on robustness."""

from __future__ import annotations

from collections.abc import Sequence

from kilonet.analysis.comparisons import DecidedBy, Effect
from kilonet.analysis.curves import handicaps
from kilonet.analysis.descriptive import CONFIDENCE, ROUNDING
from kilonet.analysis.differences import LARGEST, Difference
from kilonet.analysis.findings import Figure, Finding, Kind, Verdict
from kilonet.analysis.measurements import Measurements
from kilonet.analysis.power import POWER, SEEDS_NAMED, detectable, seeds_to_show
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

CHANCE = 0.05
"""Steadier or less steady: the F test of both movements has a p value below this."""

SPREAD_SEEDS = 5
"""Fewer seeds than this show their spread only roughly, and the seeds needed with it: the true one
may be 3.7 times as large with four, 32 times with two (the upper end of its 95 % interval)."""


def effect_on_accuracy(effect: Effect, *, since_first: bool = False) -> Finding:
    """The verdict of the :class:`Difference` that decides; the other measure next to it.

    ``since_first`` where it is against the first stage: the effect of all changes since.
    """
    deciding = effect.deciding
    figures: dict[str, Figure] = {
        "difference": deciding.mean,
        "p_adjusted": deciding.p_adjusted,
        "pairs": deciding.n,
    }
    opening = f"{'Since' if since_first else 'Against'} stage {effect.against}"
    if effect.split is Split.VALIDATION:
        opening += " in validation accuracy"
    nothing = f"{deciding.verdict}: nothing can be concluded."
    measures = _measures(effect)
    if deciding.mean is None:
        text = f"{opening}: {nothing}"
    elif deciding.n == 1:
        means = ", ".join(
            f"{signed(each.mean or 0.0)}{' points' * (i == 0)} {where}"
            for i, (each, where) in enumerate(measures)
        )
        text = f"{opening}: {means}; {nothing}"
    else:
        found = "; ".join(f"{each.verdict} {where} ({_shown(each)})" for each, where in measures)
        text = f"{opening}, paired by seed: {found}."
    sentences = [text, *(_caveats(deciding, where=measures[0][1]) if deciding.n > 1 else [])]
    if not deciding.shown and deciding.sd_moderated:
        figures["seeds_needed"] = seeds_to_show(deciding)
        figures["detectable"] = detectable(deciding)
        sentences.append(_too_few(deciding))
    if effect.unpaired:
        sentences.append(f"{count(effect.unpaired, 'seed')} without a partner left out.")
    return Finding(
        kind=Kind.SINCE_FIRST if since_first else Kind.EFFECT,
        verdict=deciding.verdict,
        sentence=" ".join(sentences),
        figures=figures,
    )


def _measures(effect: Effect) -> list[tuple[Difference, str]]:
    """What decides, then the other measure, each with the words for where it is measured."""
    decides = (effect.deciding, effect.where)
    if effect.epochs == 1:  # both are of the last epoch
        return [decides]
    if effect.decided_by is DecidedBy.LAST_FIVE:
        return [decides, (effect.final, "at the final epoch")]
    return [decides, (effect.last_five, f"in the mean of {last_epochs(effect.epochs)}")]


def _too_few(deciding: Difference) -> str:
    """How many seeds would show this difference; where too many, what these would have shown."""
    if deciding.mean is None or deciding.freedom is None:
        raise ValueError("a difference without a spread does not tell how many seeds would show it")
    seeds, needed = count(deciding.n, "seed"), seeds_to_show(deciding)
    mean = signed(deciding.mean)
    if needed is not None and needed <= SEEDS_NAMED:
        rough = f", as far as {seeds} show the spread"
        return (
            f"{seeds} are too few for {mean}: --seeds {needed} would show it in {POWER:.0%} of "
            f"studies{rough * (deciding.freedom < SPREAD_SEEDS - 1)}; finished runs are kept."
        )
    least = detectable(deciding)
    would = f"would show {points(least)} points in {POWER:.0%} of studies"
    if least > LARGEST:
        would = "are too few to show any difference"
    beyond = "" if needed is None else f"; {mean} takes more than {SEEDS_NAMED} seeds"
    return f"With this spread {seeds} {would}{beyond}."


def _caveats(deciding: Difference, *, where: str) -> list[str]:
    """What, looked at in another way, would have another verdict; ``where`` it is measured."""
    caveats, least = [], 1 - CONFIDENCE
    if not any(deciding.differences):
        caveats.append("Every seed has the same accuracy as before, as if nothing had changed.")
    elif not deciding.sd_moderated:
        more = max(SPREAD_SEEDS, deciding.n + 2)
        caveats.append(f"More seeds may show a spread: --seeds {more}; finished runs are kept.")
    own, p, flips = deciding.p, deciding.p_moderated, deciding.p_sign_flip
    alone = deciding.moderated95
    if p is not None and alone is not None and p < least and not deciding.shown:
        caveats.append(
            f"Alone it would be shown {where} (95% interval {signed_interval(*alone)}, "
            f"{probability(p)}), but as one of {count(deciding.comparisons, 'comparison')} it can "
            "be luck."
        )
    if deciding.shown and own is not None and own >= least:
        caveats.append(
            f"The spread of all stages decides: by their own, these {count(deciding.n, 'seed')} "
            f"would not show it ({probability(own)})."
        )
    if own is not None and flips is not None and (own < least) != (flips < least):
        caveats.append(
            f"The exact sign-flip test, which needs no normal distribution, has "
            f"{probability(flips)} where the t-test alone has {probability(own)}."
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
    if effect.deciding.verdict is Verdict.OTHER_IMAGES or old is None or new is None:
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
    deciding = effect.deciding
    if deciding.verdict is Verdict.WORSE or (deciding.mean or 0.0) < -after.material:
        verdict, word = Verdict.LESS_ACCURATE, "Less accurate, so not more robust"
    elif better and worse:
        verdict, word = Verdict.MIXED, f"It {listed(better)}, but {listed(worse)}"
    elif better:
        verdict, word = Verdict.MORE_ROBUST, f"Trains more robustly: it {listed(better)}"
        if deciding.verdict is not Verdict.BETTER:
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
