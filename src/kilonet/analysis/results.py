"""What an analysis is: of a stage, and of a study."""

from __future__ import annotations

from dataclasses import dataclass

from kilonet.analysis.descriptive import Statistics
from kilonet.analysis.effects import Effect
from kilonet.analysis.findings import Finding
from kilonet.analysis.measurements import Measurements
from kilonet.analysis.misclassified import Errors
from kilonet.analysis.power import Sensitivity
from kilonet.analysis.suggestions import Suggestion
from kilonet.storage.record import Split


@dataclass(frozen=True, kw_only=True)
class StageAnalysis:
    """What a stage's seeds show.

    Accuracies are of the split that the analysis was asked for: ``measured.split``.

    Attributes:
        number: from 1.
        name: the stage's.
        target: accuracy to reach, percent.
        final: accuracy after the last epoch: the headline.
        last_five: mean accuracy of the last five epochs, one a seed.
        best: accuracy of each seed's best epoch: chosen on the same images, so optimistic.
        best_train: training accuracy of each seed's best epoch.
        reached: seeds at or above the target in each of the last three epochs.
        at_target: seeds at or above the target in the last epoch but two, but one, and the last;
            fewer numbers where runs are shorter.
        binomial: standard error of the mean final accuracy that comes from the number of images,
            percentage points.
        measured: gap, movement and trend.
        effect: against the stage before; None for the first.
        effect_on_first: against the first stage; None for the first two, as the second's is
            ``effect``.
        errors: what its seeds get wrong on the test set; None where the analysis was not given it.
        findings: in reading order.
        suggestions: what to try, the most promising first.
        judged_on: the split that ``suggestions`` are read from.
    """

    number: int
    name: str
    target: float
    final: Statistics
    last_five: Statistics
    best: Statistics
    best_train: Statistics
    reached: int
    at_target: tuple[int, ...]
    binomial: float
    measured: Measurements
    effect: Effect | None
    effect_on_first: Effect | None
    errors: Errors | None
    findings: tuple[Finding, ...]
    suggestions: tuple[Suggestion, ...]
    judged_on: Split

    @property
    def seeds(self) -> int:
        """How many."""
        return self.final.n

    @property
    def sentences(self) -> tuple[str, ...]:
        """The findings', in order."""
        return tuple(finding.sentence for finding in self.findings)


@dataclass(frozen=True, kw_only=True)
class StudyAnalysis:
    """What a study shows.

    Attributes:
        target: percent.
        test_images: how many images the test set has; the first stage's, where a change is to the
            data set.
        stages: one a stage, in order.
        sensitivity: what differences its seeds can show.
        conclusions: sentences about the whole.
    """

    target: float
    test_images: int
    stages: tuple[StageAnalysis, ...]
    sensitivity: Sensitivity
    conclusions: tuple[str, ...]
