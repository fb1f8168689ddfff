"""Whether a network has learned more than which class is the most frequent.

Where 95 % of the images are of one class, a network that always predicts that class is right in
95 % of cases: it reaches a target, fits and is calibrated, and tells nothing apart. So this comes
before all other findings, and rules that would praise such a network are left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kilonet.analysis.descriptive import binomial_interval
from kilonet.analysis.findings import Figure, Finding, Kind, Verdict
from kilonet.analysis.misclassified import Errors
from kilonet.formatting import count, interval, listed, percent

CLASSES_NAMED = 3
"""How many classes a sentence names at most."""

SMALL_CLASS = 5
"""A network that beats the majority may leave out classes of fewer test images than this: with so
few, all wrong is little."""

IMBALANCED = 50.0
"""Imbalanced: the most frequent class has at least this share of the test images, percent …"""

IMBALANCED_RATIO = 1.5
"""… and this many times its even share."""


def majority(errors: Errors) -> Finding | None:
    """``one class``, ``never predicted``, ``never predicted by some``, ``no better`` or None.

    Never predicted are classes that the test images have; by some, where some seeds predict them.
    """
    sizes, share, accuracy = errors.class_sizes, errors.majority_share, errors.accuracy
    largest, better = errors.classes[errors.majority], beats_majority(errors)
    present = np.flatnonzero(sizes >= (SMALL_CLASS if better else 1))
    missing = errors.predictions[:, present] == 0  # (runs, present)
    always, ever = present[missing.all(axis=0)], present[missing.any(axis=0)]
    runs, without = len(missing), int(missing.any(axis=1).sum())
    num_classes = errors.num_tested
    as_well = f"{percent(share)} is the share of class {largest} in the test set"
    well = "as well as" if accuracy >= share else "better than"
    no_better = f"so always predicting that class does {well} the {percent(accuracy)} here"
    if num_classes == 1:
        verdict = Verdict.ONE_CLASS
        text = (
            f"All {count(errors.images, 'test image')} are of class {largest}: an accuracy of "
            f"{percent(accuracy)} does not show that classes are told apart"
        )
    elif len(ever):
        verdict = Verdict.NEVER_PREDICTED if len(always) else Verdict.NEVER_PREDICTED_BY_SOME
        named = always if len(always) else ever
        names = [errors.classes[i] for i in named]
        if len(always):
            text = _never_predicted(names, of=num_classes)
        elif without * len(ever) == missing.sum():  # these seeds leave out the same classes
            text = f"{_never_predicted(names, of=num_classes)} in {without} of {runs} seeds"
        else:
            text = f"{without} of {runs} seeds never predict some of the classes {_shown(names)}"
        of_them = 100 * float(sizes[named].sum()) / errors.images
        text += f"; {as_well}"
        if not better:
            text += f", {no_better}"
        elif len(always):
            text += f", {percent(of_them)} that of what is never predicted"
    elif not better:
        low, high = binomial_interval(accuracy, images=errors.images)
        verdict = Verdict.NO_BETTER
        text = (
            f"Not shown to be better than always predicting class {largest}: {as_well}, the "
            f"accuracy is {percent(accuracy)}, 95% interval {interval(low, high)}"
        )
    else:
        return None
    figures: dict[str, Figure] = {
        "majority_share": share,
        "accuracy": accuracy,
        "never_predicted": len(always),
        "classes": num_classes,
        "seeds_without": without,
    }
    return Finding(kind=Kind.CLASSES, verdict=verdict, sentence=f"{text}.", figures=figures)


def not_known() -> Finding:
    """``not known``: without the test images, whether a network tells classes apart."""
    sentence = (
        "The test images are not at hand, so whether classes are told apart is not known: always "
        "predicting the largest class may do as well."
    )
    return Finding(kind=Kind.CLASSES, verdict=Verdict.NOT_KNOWN, sentence=sentence)


def beats_majority(errors: Errors | None) -> bool:
    """Whether the accuracy is shown to be above the largest class's share; True if not known.

    Shown is what the 95 % interval of the number of test images leaves out.
    """
    if errors is None:
        return True
    return binomial_interval(errors.accuracy, images=errors.images)[0] > errors.majority_share


def only_guesses(errors: Errors) -> bool:
    """Whether what is wrong is no more than what guessing gets wrong.

    No better than the majority, and about as good, or without a class that no run ever predicts.
    One that is clearly worse, as on labels that were mixed up, has mistakes to look at.
    """
    if beats_majority(errors):
        return False
    missing = (errors.predictions == 0).all(axis=0) & (errors.class_sizes > 0)
    high = binomial_interval(errors.accuracy, images=errors.images)[1]
    return bool(missing.any()) or high >= errors.majority_share


def is_imbalanced(errors: Errors) -> bool:
    """Whether one class has so many of the test images that an accuracy needs its share beside."""
    least = max(IMBALANCED, IMBALANCED_RATIO * 100 / errors.num_tested)
    return errors.num_tested == 1 or errors.majority_share >= least


def rare_classes(errors: Errors) -> list[str]:
    """Classes never predicted in some run; where there are none, those below their even share."""
    sizes = errors.class_sizes
    missing = (errors.predictions == 0).any(axis=0) & (sizes > 0)
    small = (sizes > 0) & (sizes * errors.num_tested < errors.images)
    found = missing if missing.any() else small
    return [errors.classes[i] for i in np.flatnonzero(found)]


def _never_predicted(classes: Sequence[str], *, of: int) -> str:
    if len(classes) == 1:
        return f"Class {classes[0]} is never predicted"
    if len(classes) <= CLASSES_NAMED:
        return f"Classes {_shown(classes)} are never predicted"
    return f"{len(classes):,} of {of:,} classes are never predicted ({_shown(classes)})"


def _shown(classes: Sequence[str]) -> str:
    more = len(classes) - CLASSES_NAMED
    if more <= 0:
        return listed(classes)
    return listed([*classes[:CLASSES_NAMED], f"{more:,} more"])
