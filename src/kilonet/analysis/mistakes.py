"""What a rung's seeds get wrong, in words: class pairs, hard images, labels, calibration."""

from __future__ import annotations

from collections import Counter

from kilonet.analysis.errors import Errors, HardImage
from kilonet.analysis.findings import Finding
from kilonet.analysis.words import count, percent, signed
from kilonet.spec import Run

PAIR_LEVEL = 0.05
"""Two classes stand out where, were the errors spread evenly over the test images and the other
classes, chance would give any pair as many in fewer than this share of studies: a Poisson tail
times the number of pairs …"""

PAIR_IMAGES = 3
"""… and they are at least this many images a seed."""

PAIRS_NAMED = 3
"""How many pairs of classes a sentence names at most."""

SHARED_SHARE = 0.5
"""Shared errors: images that more than half of the seeds get wrong make up more than this share."""

SURE = 0.9
"""A wrong class is given surely from this mean probability on."""

IMAGES_NAMED = 5
"""How many images a sentence names at most; of doubtful labels it names all."""

EXCESS_IN_ERRORS = 2.0
"""Over- or under-confident: confidence is this many standard errors from accuracy …"""

EXCESS_SHARE = 0.25
"""… and further than this share of the test error …"""

EXCESS_POINTS = 5.0
"""… or than this many percentage points."""

UNEVEN_IN_CHANCE = 2.5
"""Unevenly calibrated: right on the whole, but the expected calibration error is more than this
many times what chance alone gives calibrated probabilities (of a single bin 2 standard errors), and
beyond the share or points above."""


def class_pairs(errors: Errors) -> Finding | None:
    """``concentrated`` or ``spread``: whether errors gather between certain classes.

    A pair of classes counts both ways: 4 taken for 9 and 9 for 4; of large classes more is to be
    expected. None where nothing is wrong, or where there are fewer than three classes and so but
    one pair.
    """
    from scipy.special import gammainc

    classes = len(errors.classes)
    if classes < 3 or not errors.pairs:
        return None
    confused: Counter[tuple[int, int]] = Counter()
    for pair in errors.pairs:
        first, second = sorted((pair.label, pair.predicted))
        confused[first, second] += pair.mean_count  # type: ignore[assignment]
    pairs = classes * (classes - 1) // 2
    sizes = errors.confusion.sum(axis=1)
    each = errors.mean_wrong / (errors.images * (classes - 1))
    ranked = confused.most_common()
    # P(count or more) of a Poisson variable; for a mean over seeds between two whole counts.
    chance = [
        pairs * float(gammainc(wrong, each * (sizes[first] + sizes[second])))
        for (first, second), wrong in ranked
    ]
    outstanding = [
        found
        for found, p in zip(ranked, chance, strict=True)
        if p < PAIR_LEVEL and found[1] >= PAIR_IMAGES
    ][:PAIRS_NAMED]
    named = outstanding or ranked[:1]
    share = sum(wrong for _, wrong in named) / errors.mean_wrong
    even = errors.mean_wrong / pairs
    figures = {
        "wrong": errors.mean_wrong,
        "share": share,
        "even": even,
        "chance": min(1.0, *chance),
        "pairs": len(outstanding),
    }
    listed = ", ".join(
        f"{errors.classes[first]} and {errors.classes[second]} ({wrong:.1f})"
        for (first, second), wrong in named
    )
    evenly = (
        f"spread evenly over the images, the {pairs:,} pairs of classes would have {even:.1f} each "
        "on average"
    )
    whose = "" if errors.seeds == 1 else " a seed"
    if outstanding:
        sentence = (
            f"Errors concentrate: {share:.0%} of the {errors.mean_wrong:.1f} wrong images{whose} "
            f"lie between {listed}; {evenly}."
        )
        return Finding(
            kind="class pairs", verdict="concentrated", sentence=sentence, figures=figures
        )
    sentence = (
        f"Errors concentrate nowhere: of the {errors.mean_wrong:.1f} wrong images{whose} the most "
        f"lie between {listed}, no more than chance can make; {evenly}."
    )
    return Finding(kind="class pairs", verdict="spread", sentence=sentence, figures=figures)


def hard_images(errors: Errors) -> Finding | None:
    """``shared`` or ``scattered``: whether the seeds get the same images wrong.

    None with one seed, or where nothing is wrong.
    """
    if errors.seeds < 2 or not errors.pairs:
        return None
    share = sum(image.wrong for image in errors.hard) / (errors.seeds * errors.mean_wrong)
    in_all = sum(image.wrong == errors.seeds for image in errors.hard)
    figures = {
        "hard": len(errors.hard),
        "in_every_seed": in_all,
        "share": share,
        "wrong": errors.mean_wrong,
    }
    hard = count(len(errors.hard), "image")
    verb = "is" if len(errors.hard) == 1 else "are"
    seeds = f"more than half of the {errors.seeds} seeds, {in_all} in all of them,"
    where = "both seeds" if errors.seeds == 2 else seeds
    what = (
        f"{hard} {verb} wrong in {where} and {'makes' if len(errors.hard) == 1 else 'make'} up "
        f"{share:.0%} of the {errors.mean_wrong:.1f} errors a seed"
    )
    if share > SHARED_SHARE:
        sentence = f"The seeds mostly fail on the same images: {what}."
        return Finding(kind="hard images", verdict="shared", sentence=sentence, figures=figures)
    sentence = f"The seeds mostly fail on different images: {what}."
    return Finding(kind="hard images", verdict="scattered", sentence=sentence, figures=figures)


def doubtful(errors: Errors) -> Finding | None:
    """``doubtful labels`` or ``worth a look``: errors that may be the data's.

    Doubtful are labels that most people would not give when asked. Worth a look is what every one
    of several seeds gets wrong and is sure of. None where there is neither.
    """
    known = {label.index for label in errors.doubtful}
    found = sorted(image.index for image in errors.hard if image.index in known)
    sure = [
        image
        for image in errors.hard
        if errors.seeds > 1
        and image.wrong == image.seeds
        and image.probability_predicted >= SURE
        and image.index not in known
    ]
    figures = {"doubtful": len(found), "known": len(known), "sure": len(sure)}
    look = ", ".join(_described(image, errors) for image in sure[:IMAGES_NAMED])
    if len(sure) > IMAGES_NAMED:
        look += f" and {len(sure) - IMAGES_NAMED} more"
    if found:
        where = "the seed" if errors.seeds == 1 else "most seeds"
        sentence = (
            f"{where[0].upper()}{where[1:]} failed on {len(found)} of the {len(known)} test images "
            f"whose label fewer than three of five people confirmed (Northcutt et al. 2021): "
            f"{', '.join(map(str, found))}. All {len(known)} are worth "
            f"{100 * len(known) / errors.images:.2f} points."
        )
        if look:
            sentence += f" Besides them, wrong and sure of it in every seed: {look}."
        return Finding(kind="labels", verdict="doubtful labels", sentence=sentence, figures=figures)
    if look:
        sentence = (
            f"Wrong in every seed, with at least {SURE:.0%} for another class: {look}; look at "
            "these images and their labels."
        )
        return Finding(kind="labels", verdict="worth a look", sentence=sentence, figures=figures)
    return None


def _described(image: HardImage, errors: Errors) -> str:
    return (
        f"{image.index} ({errors.classes[image.label]} taken for "
        f"{errors.classes[image.predicted]}, {image.probability_predicted:.1%})"
    )


def calibration(errors: Errors, *, run: Run) -> Finding | None:
    """``over-confident``, ``under-confident``, ``uneven`` or ``calibrated``: can one believe it?

    Uneven is confidence that is right on the whole and wrong in parts: too sure here, not sure
    enough there. None with a single test image.
    """
    if errors.images < 2:
        return None
    measured = errors.calibration
    excess, error = 100 * measured.excess, 100 * measured.standard_error
    # Where nothing is wrong every probability is too low; one image is the least worth a word.
    share = max(EXCESS_SHARE * 100 * (1 - measured.accuracy), 100 / errors.images)
    allowed = min(share, EXCESS_POINTS)
    figures = {
        "confidence": 100 * measured.confidence,
        "accuracy": 100 * measured.accuracy,
        "excess": excess,
        "error": error,
        "ece": 100 * measured.ece,
    }
    numbers = (
        f"mean confidence {percent(100 * measured.confidence)} where "
        f"{percent(100 * measured.accuracy)} are right, {signed(excess)} points (standard error "
        f"{error:.2f}); expected calibration error {100 * measured.ece:.2f} points"
    )
    if abs(excess) > EXCESS_IN_ERRORS * error and abs(excess) > allowed:
        over = excess > 0
        why = ""
        if not over and run.train.label_smoothing:
            why = f"; label smoothing of {run.train.label_smoothing:g} asks for that"
        verdict, word = (
            ("over-confident", "Over-confident") if over else ("under-confident", "Under-confident")
        )
        return Finding(
            kind="calibration",
            verdict=verdict,
            sentence=f"{word}: {numbers}{why}.",
            figures=figures,
        )
    chance = 100 * measured.chance_ece(seeds=errors.seeds)
    if 100 * measured.ece > UNEVEN_IN_CHANCE * chance and 100 * measured.ece > allowed:
        return Finding(
            kind="calibration",
            verdict="uneven",
            sentence=f"Confidence fits on the whole, but not in parts: {numbers}, where chance "
            f"alone would make {chance:.2f}.",
            figures=figures,
        )
    surely = EXCESS_IN_ERRORS * error <= allowed
    word = "Well calibrated" if surely else "Calibrated, as far as so few images tell"
    return Finding(
        kind="calibration",
        verdict="calibrated",
        sentence=f"{word}: {numbers}.",
        figures=figures,
    )
