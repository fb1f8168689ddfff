"""What a step did, in a sentence: the word, the figures behind it, and what else must be said."""

from __future__ import annotations

from kilonet.analysis.comparison import LARGEST, Difference, Effect
from kilonet.analysis.findings import Figure, Finding, Kind
from kilonet.analysis.power import POWER, detectable_difference
from kilonet.analysis.words import (
    count,
    level,
    points,
    probability,
    signed,
    signed_interval,
)


def effect_of_step(effect: Effect) -> Finding:
    """The verdict of :class:`Difference`, on final accuracy; the last five's mean stands beside."""
    return _effect(effect, kind="effect", opening=f"Against rung {effect.against}")


def climb(effect: Effect) -> Finding:
    """The same against the first rung: what all steps so far came to."""
    return _effect(effect, kind="climb", opening=f"Since rung {effect.against}")


def _effect(effect: Effect, *, kind: Kind, opening: str) -> Finding:
    final, steadier = effect.final, effect.last_five
    figures: dict[str, Figure] = {
        "difference": final.mean,
        "difference_last_five": steadier.mean,
        "p": final.p,
        "p_last_five": steadier.p,
        "p_adjusted": final.p_adjusted,
        "p_adjusted_last_five": steadier.p_adjusted,
        "p_sign_flip": final.p_sign_flip,
        "comparisons": final.comparisons,
        "pairs": final.n,
    }
    last = f"the last {count(effect.epochs, 'epoch')}" if effect.epochs > 1 else "the last epoch"
    if final.mean is None or steadier.mean is None:
        sentences = [f"{opening}: {final.verdict}."]
    elif final.n == 1:
        about = " about the step" if kind == "effect" else ""
        figured = (
            f"{opening}: {signed(final.mean)} points at the final epoch, {signed(steadier.mean)} "
            f"in the mean of {last}."
        )
        sentences = [figured, f"{final.verdict[0].upper()}{final.verdict[1:]}{about}."]
    else:
        figured = (
            f"{opening}, paired by seed: {final.verdict} at the final epoch "
            f"({_difference(final)}); {steadier.verdict} in the mean of {last} "
            f"({_difference(steadier)})."
        )
        sentences = [figured, *_remarks(final)]
    if not final.shown and final.sd:
        detectable = detectable_difference(sd=final.sd, n=final.n, level=1 - final.confidence)
        figures["detectable"] = detectable
        shown = f"would show {points(detectable)} points in {POWER:.0%} of studies"
        if detectable > LARGEST:
            shown = "are too few to show any difference"
        sentences.append(f"With this spread {count(final.n, 'seed')} {shown}.")
    if effect.unpaired and final.n:
        sentences.append(f"{count(effect.unpaired, 'seed')} without a partner left out.")
    return Finding(kind=kind, verdict=final.verdict, sentence=" ".join(sentences), figures=figures)


def _remarks(final: Difference) -> list[str]:
    """What must be said where another way to look at the final epoch would say another word."""
    remarks = []
    if not any(final.differences):
        remarks.append("Every seed came to the same accuracy, as if nothing had been changed.")
    if final.shown_alone and not final.shown and final.ci95 and final.p is not None:
        remarks.append(
            f"Alone it would be shown at the final epoch (95% interval "
            f"{signed_interval(*final.ci95)}, {probability(final.p)}), but as one of "
            f"{count(final.comparisons, 'comparison')} it can be luck."
        )
    if final.tests_disagree and final.p is not None and final.p_sign_flip is not None:
        remarks.append(
            f"The exact sign-flip test, which needs no normal distribution, has "
            f"{probability(final.p_sign_flip)} where the t-test alone has {probability(final.p)}: "
            "take the word with care."
        )
    return remarks


def _difference(difference: Difference) -> str:
    mean = signed(difference.mean or 0.0)
    if difference.interval is None or difference.p_adjusted is None:
        return f"{mean} points in every seed, so that the spread is unknown"
    corrected = "corrected " if difference.comparisons > 1 else ""
    return (
        f"{mean} points, {level(difference.confidence)} interval "
        f"{signed_interval(*difference.interval)}, {corrected}{probability(difference.p_adjusted)}"
    )
