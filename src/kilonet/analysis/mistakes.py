"""Findings about a stage's errors: class pairs, hard images, labels and calibration."""

from __future__ import annotations

from collections import Counter

from kilonet.analysis.findings import Figure, Finding, Kind, Verdict
from kilonet.analysis.majority import beats_majority, only_guesses
from kilonet.analysis.misclassified import Errors, HardImage
from kilonet.formatting import count, percent, points, signed
from kilonet.spec import Run

PAIR_LEVEL = 0.05
"""Errors concentrate on two classes where, were they spread evenly over the test images and the
other classes, chance would give any pair as many in fewer than this share of studies: a Poisson
tail times the number of pairs …"""

PAIR_IMAGES = 3
"""… and they are at least this many images a seed."""

PAIRS_NAMED = 3
"""How many pairs of classes a sentence names at most."""

SHARED_SHARE = 0.5
"""Shared errors: images that more than half of the seeds get wrong make up more than this share."""

SURE = 0.9
"""A wrong class is predicted surely from this mean probability on."""

IMAGES_NAMED = 5
"""How many images a sentence names at most; of doubtful labels it names all."""

EXCESS_IN_ERRORS = 2.0
"""Over- or under-confident: confidence is this many standard errors from accuracy …"""

EXCESS_SHARE = 0.25
"""Slightly so: by no more than this share of the test error (or one image) …"""

EXCESS_POINTS = 2.0
"""… and no more than this many percentage points."""


def mistakes(errors: Errors, *, run: Run) -> list[Finding]:
    """All that apply, in reading order.

    Where the network only guesses, what it gets wrong tells nothing of pairs, images and labels: it
    is wrong on all images of a class that it never predicts.
    """
    found = [calibration(errors, run=run)]
    if not only_guesses(errors):
        found = [class_pairs(errors), hard_images(errors), label_errors(errors), *found]
    return [finding for finding in found if finding is not None]


def class_pairs(errors: Errors) -> Finding | None:
    """``concentrated`` or ``spread``: whether errors concentrate on certain pairs of classes.

    A pair counts both ways: 4 predicted as 9 and 9 as 4; of large classes more errors are expected.
    None where nothing is wrong, or where there are fewer than three classes and so one pair.
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
    listed = ", ".join(
        f"{errors.classes[first]} and {errors.classes[second]} ({wrong:.1f})"
        for (first, second), wrong in named
    )
    wrong_images = f"{errors.mean_wrong:.1f} wrong images{'' if errors.seeds == 1 else ' a seed'}"
    verdict = Verdict.CONCENTRATED
    text = f"Errors concentrate: {share:.0%} of the {wrong_images} are between {listed}"
    if not outstanding:
        verdict = Verdict.SPREAD
        text = (
            f"Errors do not concentrate: of the {wrong_images} the most are between {listed}, no "
            "more than chance can make"
        )
    return Finding(
        kind=Kind.CLASS_PAIRS,
        verdict=verdict,
        sentence=f"{text}; spread evenly, the {pairs:,} pairs of classes would have {even:.1f} "
        "each on average.",
        figures={
            "wrong": errors.mean_wrong,
            "share": share,
            "even": even,
            "chance": min(1.0, *chance),
            "pairs": len(outstanding),
        },
    )


def hard_images(errors: Errors) -> Finding | None:
    """``shared`` or ``scattered``: whether the seeds get the same images wrong.

    None with one seed, or where nothing is wrong.
    """
    if errors.seeds < 2 or not errors.pairs:
        return None
    hard = len(errors.hard)
    share = sum(image.wrong for image in errors.hard) / (errors.seeds * errors.mean_wrong)
    in_all = sum(image.wrong == errors.seeds for image in errors.hard)
    shared = share > SHARED_SHARE
    where = f"more than half of the {errors.seeds} seeds ({in_all} in all of them)"
    sentence = (
        f"The seeds mostly fail on {'the same' if shared else 'different'} images: "
        f"{count(hard, 'image')} {'is' if hard == 1 else 'are'} wrong in "
        f"{'both seeds' if errors.seeds == 2 else where} and make{'s' if hard == 1 else ''} up "
        f"{share:.0%} of the {errors.mean_wrong:.1f} errors a seed."
    )
    return Finding(
        kind=Kind.HARD_IMAGES,
        verdict=Verdict.SHARED if shared else Verdict.SCATTERED,
        sentence=sentence,
        figures={"hard": hard, "in_every_seed": in_all, "share": share, "wrong": errors.mean_wrong},
    )


def label_errors(errors: Errors) -> Finding | None:
    """``doubtful labels`` or ``worth a look``: errors that may be the data's.

    Doubtful are labels that most people would not choose when asked. Worth a look is what every one
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
    if not found and not sure:
        return None
    sentences = []
    if found:
        sentences.append(
            f"{'The seed' if errors.seeds == 1 else 'Most seeds'} failed on {len(found)} of the "
            f"{len(known)} test images whose label fewer than three of five people confirmed "
            f"(Northcutt et al. 2021): {', '.join(map(str, found))}. All {len(known)} are worth "
            f"{100 * len(known) / errors.images:.2f} points."
        )
    if sure:
        look = ", ".join(_described(image, errors) for image in sure[:IMAGES_NAMED])
        more = f" and {len(sure) - IMAGES_NAMED} more" if len(sure) > IMAGES_NAMED else ""
        sentences.append(
            f"Wrong in every seed, with at least {SURE:.0%} for another class: {look}{more}; look "
            "at these images and their labels."
        )
    return Finding(
        kind=Kind.LABELS,
        verdict=Verdict.DOUBTFUL_LABELS if found else Verdict.WORTH_A_LOOK,
        sentence=" ".join(sentences),
        figures={"doubtful": len(found), "known": len(known), "sure": len(sure)},
    )


def _described(image: HardImage, errors: Errors) -> str:
    return (
        f"{image.index} ({errors.classes[image.label]} predicted as "
        f"{errors.classes[image.predicted]}, {image.probability_predicted:.1%})"
    )


def calibration(errors: Errors, *, run: Run) -> Finding | None:
    """Mean confidence against accuracy: ``calibrated``, or over- or under-confident.

    Calibrated is a difference within its error, where that error is small. Beyond it, a small
    difference is ``slightly over-confident`` or ``slightly under-confident``, a larger one
    ``over-confident`` or ``under-confident``; within a larger error it is ``too few images to
    say``. The expected calibration error is in the sentence. None with a single test image or
    class, and where the confidence is right but the network no better than always predicting the
    largest class.
    """
    if errors.images < 2 or errors.num_tested == 1:
        return None
    measured = errors.calibration
    excess, error, ece = 100 * measured.excess, 100 * measured.standard_error, 100 * measured.ece
    # Where nothing is wrong every probability is too low; one image is the least worth a sentence.
    share = max(EXCESS_SHARE * 100 * (1 - measured.accuracy), 100 / errors.images)
    small = min(share, EXCESS_POINTS)
    slight, under, end = abs(excess) <= small, excess < 0, ""
    if abs(excess) > EXCESS_IN_ERRORS * error:
        name = "under-confident" if under else "over-confident"
        verdict = Verdict(f"slightly {name}" if slight else name)
        word = f"{verdict.capitalize()} by {points(excess)} points"
        if under and run.train.label_smoothing:
            end = f"; label smoothing of {run.train.label_smoothing:g} causes that"
    elif not beats_majority(errors):
        return None
    elif EXCESS_IN_ERRORS * error <= small:
        verdict, word = Verdict.CALIBRATED, "Calibrated on average"
    else:
        verdict = Verdict.TOO_FEW_IMAGES
        word = f"{errors.images:,} test images are too few to say whether it is calibrated"
    sentence = (
        f"{word}: mean confidence {percent(100 * measured.confidence)} where "
        f"{percent(100 * measured.accuracy)} are right, {signed(excess)} points (standard error "
        f"{error:.2f}); expected calibration error {ece:.2f} points{end}."
    )
    figures: dict[str, Figure] = {
        "confidence": 100 * measured.confidence,
        "accuracy": 100 * measured.accuracy,
        "excess": excess,
        "error": error,
        "ece": ece,
    }
    return Finding(kind=Kind.CALIBRATION, verdict=verdict, sentence=sentence, figures=figures)
