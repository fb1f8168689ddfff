"""A study's results, analyzed: stage by stage, and as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from kilonet.analysis.capacity import regularizer, width
from kilonet.analysis.comparisons import (
    Effect,
    compare_stages,
    images_of,
    mean_of_last,
    num_comparisons,
)
from kilonet.analysis.conclusions import conclude
from kilonet.analysis.curves import TARGET_EPOCHS, fit, fluctuation, gap, target_reached, trend
from kilonet.analysis.descriptive import (
    Statistics,
    binomial_error,
    binomial_interval,
    describe,
)
from kilonet.analysis.effects import effect_on_accuracy, robustness
from kilonet.analysis.failed_seeds import failed_seeds, separate_failed
from kilonet.analysis.findings import Finding, Kind, Verdict, by_kind
from kilonet.analysis.learning_rate import learning_rate
from kilonet.analysis.majority import beats_majority, majority, not_known
from kilonet.analysis.measurements import measure, window_of
from kilonet.analysis.misclassified import Errors
from kilonet.analysis.mistakes import mistakes
from kilonet.analysis.power import Sensitivity, sensitivity_of
from kilonet.analysis.results import StageAnalysis, StudyAnalysis
from kilonet.analysis.suggestions import Diagnosis, Suggestion, suggestions
from kilonet.spec import Run, Study
from kilonet.storage.record import RunRecord, Split, choosing_split
from kilonet.study import StageResult, StudyResult


def analyze(
    result: StudyResult,
    *,
    test_images: int,
    split: Split = Split.TEST,
    errors: Sequence[Errors] = (),
    without_images: bool = False,
    has_target: bool = True,
) -> StudyAnalysis:
    """Statistics, findings and suggestions for each stage, and conclusions for the study.

    Suggestions are read from the validation split of each stage that has one, whatever ``split``.
    Where all stages hold out the same images, these are what the stages are compared and picked by,
    and what findings and conclusions are read from, but for the target and the errors.

    Args:
        result: the study, or the part of it that has run; each stage with at least one run.
        test_images: how many images the test set has, where the records do not say.
        split: the images that the stages' own statistics are of.
        errors: what each stage's seeds get wrong on the test set, from
            :func:`kilonet.analysis.read_errors`; left out: no findings about classes and images.
        without_images: whether ``errors`` are left out because the test images cannot be read,
            which is a finding.
        has_target: False of runs without a target: no rule that needs one is applied.

    Raises:
        ValueError: if there is no stage, a stage without runs or without ``split``, no test image,
            or errors of more or fewer stages.
    """
    if not result.stages or test_images < 1:
        raise ValueError("nothing to analyze: a study needs a stage and a test image")
    if errors and len(errors) != len(result.stages):
        raise ValueError(f"errors of {len(errors)} stages for {len(result.stages)}")
    choosing = [choosing_split(stage.records) for stage in result.stages]
    judged_on = _judged_on(result, choosing, default=split)
    target = result.study.target if has_target else None
    read = partial(
        _read,
        result,
        target=target,
        test_images=test_images,
        errors=errors or [None] * len(choosing),
    )
    stages = read(splits=[split] * len(choosing))
    chosen = read(splits=choosing) if any(each is not split for each in choosing) else stages
    for i, ran in enumerate(result.stages):
        of_study = chosen[i] if judged_on is Split.VALIDATION else stages[i]
        of_errors = mistakes(errors[i], run=ran.stage.run) if errors else []
        stages[i] = replace(
            stages[i],
            findings=(
                *([not_known()] if without_images else []),
                *_with_target(of_study, of=stages[i]),
                *of_errors,
            ),
            suggestions=_suggested(chosen[i], ran=ran, study=result.study),
            judged_on=choosing[i],
            validation=None if choosing[i] is split else chosen[i],
        )
    analysis = StudyAnalysis(
        target=target,
        test_images=test_images,
        stages=tuple(stages),
        judged_on=judged_on,
        sensitivity=_sensitivity(chosen if judged_on is Split.VALIDATION else stages, result.study),
        conclusions=(),
    )
    same_images = len({images_of(stage, judged_on) for stage in result.stages}) == 1
    return replace(analysis, conclusions=conclude(analysis, same_images=same_images))


def _judged_on(result: StudyResult, choosing: Sequence[Split], *, default: Split) -> Split:
    """Validation, where all stages hold out the same images; else the default."""
    if any(split is Split.TEST for split in choosing):
        return default
    same = len({images_of(stage, Split.VALIDATION) for stage in result.stages}) == 1
    return Split.VALIDATION if same else default


def _with_target(judged: StageAnalysis, *, of: StageAnalysis) -> list[Finding]:
    """The findings of the judged split, but that of the target: a target is a test accuracy."""
    targets = by_kind(of.findings)
    return [
        targets[Kind.TARGET] if finding.kind is Kind.TARGET else finding
        for finding in judged.findings
    ]


def _suggested(judged: StageAnalysis, *, ran: StageResult, study: Study) -> tuple[Suggestion, ...]:
    if judged.target is None:
        return ()
    diagnosis = Diagnosis(
        stage=ran.stage,
        study=study,
        measured=judged.measured,
        findings=by_kind(judged.findings),
        effect=judged.effect,
        errors=judged.errors,
    )
    return suggestions(diagnosis)


def _sensitivity(stages: Sequence[StageAnalysis], study: Study) -> Sensitivity:
    return sensitivity_of(
        [stage.effect.deciding for stage in stages if stage.effect is not None],
        seeds=min(stage.seeds for stage in stages),
        comparisons=num_comparisons(len(study.stages)),
        binomial=stages[-1].binomial,
        images=stages[0].measured.images,
    )


def _read(
    result: StudyResult,
    *,
    splits: Sequence[Split],
    target: float | None,
    test_images: int,
    errors: Sequence[Errors | None],
) -> list[StageAnalysis]:
    """Each stage as its split shows it, without findings about errors and suggestions."""
    effects, effects_on_first = compare_stages(result, splits=splits, test_images=test_images)
    stages: list[StageAnalysis] = []
    for i, stage in enumerate(result.stages):
        stages.append(
            _read_stage(
                stage,
                before=(result.stages[i - 1], stages[-1]) if i else None,
                effect=effects[i],
                effect_on_first=effects_on_first[i],
                study=result.study,
                target=target,
                errors=errors[i],
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
    target: float | None,
    errors: Errors | None,
    split: Split,
    images: int,
) -> StageAnalysis:
    records = stage.records
    curves = [split.accuracies(record) for record in records]
    finals = [split.final(record) for record in records]
    final, best = _describe(finals), _describe(list(map(max, curves)))
    reached, at_target = 0, tuple[int, ...]()
    if target is not None:
        reached, at_target = _at_target(curves, finals, target=target)
    trained, failed = separate_failed(records, images=images, split=split)
    analysis = StageAnalysis(
        number=stage.stage.number,
        name=stage.stage.name,
        target=target,
        final=final,
        last_five=_describe([mean_of_last(curve, window_of(len(curve))) for curve in curves]),
        best=best,
        best_train=_describe([record.best_train_accuracy for record in records]),
        reached=reached,
        at_target=at_target,
        binomial=binomial_error(final.mean, images=images),
        binomial95=binomial_interval(final.mean, images=images),
        measured=measure(trained, images=images, split=split),
        effect=effect,
        effect_on_first=effect_on_first,
        errors=errors,
        findings=(),
        suggestions=(),
        judged_on=split,
    )
    found = _findings(
        analysis, stage=stage, before=before, trained=trained, failed=failed, study=study
    )
    return replace(analysis, findings=tuple(found))


def _findings(
    analysis: StageAnalysis,
    *,
    stage: StageResult,
    before: tuple[StageResult, StageAnalysis] | None,
    trained: Sequence[RunRecord],
    failed: Sequence[RunRecord],
    study: Study,
) -> list[Finding]:
    """The findings of a stage in reading order, but for those about its errors.

    ``trained`` are the runs that learning curves are read from, ``failed`` the others.
    """
    run, target = stage.stage.run, analysis.target
    measured, errors = analysis.measured, analysis.errors
    # A network that does no better than the largest class is not praised for it.
    better = beats_majority(errors)
    found: list[Finding | None] = []
    if errors is not None:
        found.append(majority(errors))
    if target is not None:
        found.append(
            target_reached(
                analysis.final,
                analysis.best,
                reached=analysis.reached,
                target=target,
                measured=measured,
                majority_share=0.0 if errors is None else errors.majority_share,
            )
        )
    found.append(failed_seeds(stage.records, failed=failed, split=analysis.judged_on))
    if target is not None:
        fits = fit(measured, target=target, run=run)
        found.append(fits if better or fits.verdict is not Verdict.FITS else None)
    limit = study.budget.epochs
    found += [
        gap(measured, run=run),
        trend(measured, epochs_left=None if limit is None else limit - run.train.epochs),
        fluctuation(measured),
    ]
    if analysis.effect is not None and before is not None:
        found += _effects(analysis, analysis.effect, run=run, before=before, better=better)
    learned = errors is not None and better
    found.append(learning_rate(trained, measured=measured, run=run, learned=learned))
    known = by_kind(_present(found))
    if target is not None and better:
        found.append(regularizer(measured, run=run, findings=known))
        found.append(width(measured, target=target, run=run, findings=known))
    return _present(found)


def _effects(
    analysis: StageAnalysis,
    effect: Effect,
    *,
    run: Run,
    before: tuple[StageResult, StageAnalysis],
    better: bool,
) -> list[Finding | None]:
    """What the stage's change did; ``better``: the network beats the largest class."""
    found: list[Finding | None] = [effect_on_accuracy(effect)]
    if analysis.effect_on_first is not None:
        found.append(effect_on_accuracy(analysis.effect_on_first, since_first=True))
    robust = robustness(
        before[1].measured,
        analysis.measured,
        effect=effect,
        runs=(before[0].stage.run, run),
    )
    praised = robust is not None and robust.verdict is Verdict.MORE_ROBUST
    found.append(robust if better or not praised else None)
    return found


def _at_target(
    curves: Sequence[Sequence[float]], finals: Sequence[float], *, target: float
) -> tuple[int, tuple[int, ...]]:
    """Seeds that reached the target, and seeds at or above it epoch by epoch.

    The latter as far back as every run has epochs, three at most. ``finals`` are those of the final
    weights, which early stopping may take from an earlier epoch: they count too.
    """
    ends = [[accuracy >= target for accuracy in curve[-TARGET_EPOCHS:]] for curve in curves]
    reached = sum(
        len(end) == TARGET_EPOCHS and all(end) and final >= target
        for end, final in zip(ends, finals, strict=True)
    )
    length = min(map(len, ends))
    return reached, tuple(sum(end[-back] for end in ends) for back in range(length, 0, -1))


def _present(findings: Sequence[Finding | None]) -> list[Finding]:
    return [finding for finding in findings if finding is not None]


def _describe(values: list[float]) -> Statistics:
    """:func:`describe` within the limits of an accuracy: wide intervals of few seeds are cut."""
    return describe(values, limits=(0.0, 100.0))
