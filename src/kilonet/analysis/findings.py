"""What a finding is: its kind, a verdict for programs, and a sentence for people.

The rules are in the other modules, each with its thresholds as constants; docs/analysis.md lists
them all with their reasons.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Kind(StrEnum):
    """What a finding is about."""

    CLASSES = "classes"
    TARGET = "target"
    SEEDS = "seeds"
    FIT = "fit"
    GAP = "gap"
    TREND = "trend"
    FLUCTUATION = "fluctuation"
    EFFECT = "effect"
    SINCE_FIRST = "since first"
    ROBUSTNESS = "robustness"
    LEARNING_RATE = "learning rate"
    REGULARIZER = "regularizer"
    WIDTH = "width"
    CLASS_PAIRS = "class pairs"
    HARD_IMAGES = "hard images"
    LABELS = "labels"
    CALIBRATION = "calibration"


class Verdict(StrEnum):
    """The outcome of a rule, or of a paired comparison. Sentences and tables print these words."""

    TOO_SHORT = "too short to say"

    NOT_KNOWN = "not known"
    ONE_CLASS = "one class"
    NEVER_PREDICTED = "never predicted"
    NEVER_PREDICTED_BY_SOME = "never predicted by some"
    NO_BETTER = "no better than the majority"

    REACHED = "reached"
    REACHED_BY_SOME = "reached by some"
    NOT_REACHED = "not reached"

    FAR_BEHIND = "far behind"

    FITS = "fits"
    UNDERFITS = "underfits"

    OVERFITS = "overfits"
    OVERFITS_A_LITTLE = "overfits a little"
    CLOSED = "closed"
    REVERSED = "reversed"

    IMPROVING = "improving"
    LEVEL = "level"
    FALLING = "falling"

    FLUCTUATES = "fluctuates"
    CLIMBS = "climbs"
    SETTLED = "settled"

    BETTER = "better"
    WORSE = "worse"
    NO_DIFFERENCE = "no difference shown"
    ONE_SEED = "one seed"
    NO_COMMON_SEED = "no seed in common"
    OTHER_IMAGES = "other images"

    MORE_ROBUST = "more robust"
    LESS_ROBUST = "less robust"
    MIXED = "mixed"
    ALIKE = "alike"
    LESS_ACCURATE = "less accurate"

    STUCK = "stuck"
    DIVERGING = "diverging"

    ON_WHAT_UNDERFITS = "on what underfits"
    OUT_OF_REACH = "out of reach"

    CONCENTRATED = "concentrated"
    SPREAD = "spread"
    SHARED = "shared"
    SCATTERED = "scattered"
    DOUBTFUL_LABELS = "doubtful labels"
    WORTH_A_LOOK = "worth a look"
    OVER_CONFIDENT = "over-confident"
    UNDER_CONFIDENT = "under-confident"
    SLIGHTLY_OVER_CONFIDENT = "slightly over-confident"
    SLIGHTLY_UNDER_CONFIDENT = "slightly under-confident"
    CALIBRATED = "calibrated"
    TOO_FEW_IMAGES = "too few images to say"


Figure = float | int | None


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that a stage's runs show.

    Attributes:
        kind: what it is about.
        verdict: the rule's outcome, for programs: see each rule.
        sentence: the same for people, figures included.
        figures: the numbers behind it, unrounded.
    """

    kind: Kind
    verdict: Verdict
    sentence: str
    figures: Mapping[str, Figure] = field(default_factory=dict)


def by_kind(findings: Iterable[Finding]) -> dict[Kind, Finding]:
    """Each kind's finding; a stage has at most one of a kind."""
    return {finding.kind: finding for finding in findings}
