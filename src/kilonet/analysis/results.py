"""What an analysis is: of a stage, and of a study."""

from __future__ import annotations

from dataclasses import dataclass

from kilonet.analysis.comparisons import Effect
from kilonet.analysis.descriptive import Statistics
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
        target: accuracy to reach, percent; None of a run without one.
        final: accuracy of the final weights, which are those of the last epoch but where early
            stopping restores the best: the headline.
        last_five: mean accuracy of the last five epochs, one a seed; fewer where runs are short.
        best: accuracy of each seed's best epoch: chosen on the same images, so optimistic.
        best_train: training accuracy of each seed's best epoch.
        reached: seeds at or above the target in each of the last three epochs; 0 without one.
        at_target: seeds at or above the target in the last epoch but two, but one, and the last;
            fewer numbers where runs are shorter, none without a target.
        binomial: standard error of the mean final accuracy that comes from the number of images,
            percentage points.
        binomial95: its 95 % interval that comes from the number of images, percent.
        measured: gap, movement and trend.
        effect: against the stage before; None for the first.
        effect_on_first: against the first stage; None for the first two, as the second's is
            ``effect``.
        errors: what its seeds get wrong on the test set; None where the analysis was not given it.
        findings: in reading order; of the split that the study is judged on, but for the target
            and the errors.
        suggestions: what to try, the most promising first; none without a target.
        judged_on: the split that ``suggestions`` are read from.
        validation: the same stage as its validation images show it, without suggestions; None
            without a validation split, and where the analysis itself is of that split.
    """

    number: int
    name: str
    target: float | None
    final: Statistics
    last_five: Statistics
    best: Statistics
    best_train: Statistics
    reached: int
    at_target: tuple[int, ...]
    binomial: float
    binomial95: tuple[float, float]
    measured: Measurements
    effect: Effect | None
    effect_on_first: Effect | None
    errors: Errors | None
    findings: tuple[Finding, ...]
    suggestions: tuple[Suggestion, ...]
    judged_on: Split
    validation: StageAnalysis | None = None

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
        target: percent; None of a run without one.
        test_images: how many images the test set has; the first stage's, where a change is to the
            data set.
        stages: one a stage, in order.
        judged_on: the split that stages are compared and picked by: validation, where all stages
            hold out the same images; else the split that the analysis was asked for.
        sensitivity: what differences its seeds can show.
        conclusions: sentences about the whole.
    """

    target: float | None
    test_images: int
    stages: tuple[StageAnalysis, ...]
    judged_on: Split
    sensitivity: Sensitivity
    conclusions: tuple[str, ...]

    @property
    def judged(self) -> tuple[StageAnalysis, ...]:
        """The stages as :attr:`judged_on` shows them: what they are compared and picked by."""
        return tuple(
            stage.validation
            if stage.validation is not None and self.judged_on is Split.VALIDATION
            else stage
            for stage in self.stages
        )
