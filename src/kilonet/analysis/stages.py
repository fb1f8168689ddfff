"""A study's results, analyzed: stage by stage, and as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from kilonet.analysis.capacity import regularizer, width
from kilonet.analysis.conclusions import conclude
from kilonet.analysis.curves import TARGET_EPOCHS, fit, fluctuation, gap, target_reached, trend
from kilonet.analysis.descriptive import Statistics, binomial_error, describe
from kilonet.analysis.effects import (
    Effect,
    compare_stages,
    effect_on_accuracy,
    images_of,
    mean_of_last,
    num_comparisons,
    robustness,
)
from kilonet.analysis.failed_seeds import failed_seeds, separate_failed
from kilonet.analysis.findings import Finding, by_kind
from kilonet.analysis.learning_rate import learning_rate
from kilonet.analysis.measurements import WINDOW, measure
from kilonet.analysis.misclassified import Errors
from kilonet.analysis.mistakes import mistakes
from kilonet.analysis.power import sensitivity_of
from kilonet.analysis.results import StageAnalysis, StudyAnalysis
from kilonet.analysis.suggestions import Diagnosis, suggestions
from kilonet.spec import Study
from kilonet.storage.record import Split, choosing_split
from kilonet.study import StageResult, StudyResult


def analyze(
    result: StudyResult,
    *,
    test_images: int,
    split: Split = Split.TEST,
    errors: Sequence[Errors] = (),
) -> StudyAnalysis:
    """Statistics, findings and suggestions for each stage, and conclusions for the study.

    Suggestions are read from the validation split of each stage that has one, whatever ``split``.

    Args:
        result: the study, or the part of it that has run; each stage with at least one run.
        test_images: how many images the test set has, where the records do not say.
        split: the images that all else is read from.
        errors: what each stage's seeds get wrong on the test set, from
            :func:`kilonet.analysis.read_errors`; left out: no findings about classes and images.

    Raises:
        ValueError: if there is no stage, a stage without runs or without ``split``, no test image,
            or errors of more or fewer stages.
    """
    if not result.stages or test_images < 1:
        raise ValueError("nothing to analyze: a study needs a stage and a test image")
    if errors and len(errors) != len(result.stages):
        raise ValueError(f"errors of {len(errors)} stages for {len(result.stages)}")
    choosing = [choosing_split(stage.records) for stage in result.stages]
    stages = _read(result, splits=[split] * len(result.stages), test_images=test_images)
    judged = stages
    if any(each is not split for each in choosing):
        judged = _read(result, splits=choosing, test_images=test_images)
    for i, ran in enumerate(result.stages):
        diagnosis = Diagnosis(
            stage=ran.stage,
            study=result.study,
            measured=judged[i].measured,
            findings=by_kind(judged[i].findings),
            effect=judged[i].effect,
        )
        of_errors = mistakes(errors[i], run=ran.stage.run) if errors else []
        stages[i] = replace(
            stages[i],
            errors=errors[i] if errors else None,
            findings=(*stages[i].findings, *of_errors),
            suggestions=suggestions(diagnosis),
            judged_on=choosing[i],
        )
    sensitivity = sensitivity_of(
        [stage.effect.final for stage in stages if stage.effect is not None],
        seeds=min(stage.seeds for stage in stages),
        comparisons=num_comparisons(len(result.study.stages)),
        binomial=stages[-1].binomial,
        images=stages[0].measured.images,
    )
    same_images = len({images_of(stage, split) for stage in result.stages}) == 1
    return StudyAnalysis(
        target=result.study.target,
        test_images=test_images,
        stages=tuple(stages),
        sensitivity=sensitivity,
        conclusions=conclude(stages, sensitivity=sensitivity, same_images=same_images),
    )


def _read(result: StudyResult, *, splits: Sequence[Split], test_images: int) -> list[StageAnalysis]:
    """Each stage as its split shows it, without errors and suggestions."""
    effects, effects_on_first = compare_stages(result, splits=splits)
    stages: list[StageAnalysis] = []
    for i, stage in enumerate(result.stages):
        stages.append(
            _read_stage(
                stage,
                before=(result.stages[i - 1], stages[-1]) if i else None,
                effect=effects[i],
                effect_on_first=effects_on_first[i],
                study=result.study,
                split=splits[i],
                images=splits[i].num_images(stage.records[0], default=test_images),
            )
        )
    return stages


def _read_stage(
    stage: StageResult,
    *,
    before: tuple[StageResult, StageAnalysis] | None,
    effect: Effect | None,
    effect_on_first: Effect | None,
    study: Study,
    split: Split,
    images: int,
) -> StageAnalysis:
    run, records, target = stage.stage.run, stage.records, study.target
    curves = [split.accuracies(record) for record in records]
    final, best = _describe([curve[-1] for curve in curves]), _describe(list(map(max, curves)))
    # Seeds at or above the target epoch by epoch, as far back as every run has epochs.
    ends = [[accuracy >= target for accuracy in curve[-TARGET_EPOCHS:]] for curve in curves]
    reached = sum(len(end) == TARGET_EPOCHS and all(end) for end in ends)
    length = min(map(len, ends))
    at_target = tuple(sum(end[-back] for end in ends) for back in range(length, 0, -1))

    trained, failed = separate_failed(records, images=images, split=split)
    measured = measure(trained, images=images, split=split)
    limit = study.budget.epochs
    found: list[Finding | None] = [
        target_reached(final, best, reached=reached, target=target, measured=measured),
        failed_seeds(records, failed=failed, split=split),
        fit(measured, target=target, run=run),
        gap(measured, run=run),
        trend(measured, epochs_left=None if limit is None else limit - run.train.epochs),
        fluctuation(measured),
    ]
    if effect is not None and before is not None:
        found.append(effect_on_accuracy(effect))
        if effect_on_first is not None:
            found.append(effect_on_accuracy(effect_on_first, since_first=True))
        runs = (before[0].stage.run, run)
        found.append(robustness(before[1].measured, measured, effect=effect, runs=runs))
    found.append(learning_rate(trained, measured=measured, run=run))
    known = by_kind(_present(found))
    found.append(regularizer(measured, run=run, findings=known))
    found.append(width(measured, target=target, run=run, findings=known))
    return StageAnalysis(
        number=stage.stage.number,
        name=stage.stage.name,
        target=target,
        final=final,
        last_five=_describe([mean_of_last(curve, WINDOW) for curve in curves]),
        best=best,
        best_train=_describe([record.best_train_accuracy for record in records]),
        reached=reached,
        at_target=at_target,
        binomial=binomial_error(final.mean, images=images),
        measured=measured,
        effect=effect,
        effect_on_first=effect_on_first,
        errors=None,
        findings=tuple(_present(found)),
        suggestions=(),
        judged_on=split,
    )


def _present(findings: Sequence[Finding | None]) -> list[Finding]:
    return [finding for finding in findings if finding is not None]


def _describe(values: list[float]) -> Statistics:
    """:func:`describe` within the limits of an accuracy: wide intervals of few seeds are cut."""
    return describe(values, limits=(0.0, 100.0))
