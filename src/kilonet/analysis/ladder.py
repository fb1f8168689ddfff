"""A study's results, analysed: rung by rung, and as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from kilonet.analysis.capacity import regulariser, regularisers, width
from kilonet.analysis.changes import Suggestion
from kilonet.analysis.comparison import Effect
from kilonet.analysis.conclusions import conclude
from kilonet.analysis.curves import fit, fluctuation, gap, trend
from kilonet.analysis.effects import climb, effect_of_step
from kilonet.analysis.errors import Errors
from kilonet.analysis.failed_seeds import failed_seeds, split_failed
from kilonet.analysis.findings import (
    TARGET_EPOCHS,
    Finding,
    robustness,
    target_reached,
)
from kilonet.analysis.held_out import Images, judged_on, on_held_out
from kilonet.analysis.history import Tried
from kilonet.analysis.learning_rate import learning_rate
from kilonet.analysis.measurements import WINDOW, Measurements, measure
from kilonet.analysis.mistakes import calibration, class_pairs, doubtful, hard_images
from kilonet.analysis.pairing import (
    compare_rungs,
    mean_of_last,
    num_comparisons,
    tested_on,
)
from kilonet.analysis.power import Sensitivity, sensitivity_of
from kilonet.analysis.statistics import Statistics, binomial_error, describe
from kilonet.analysis.suggestions import Diagnosis, next_steps
from kilonet.record import RunRecord
from kilonet.spec import Run, Study
from kilonet.study import RungResult, StudyResult


@dataclass(frozen=True, kw_only=True)
class RungAnalysis:
    """What a rung's seeds came to.

    Attributes:
        number: from 1.
        name: the step's.
        target: test accuracy to reach, percent.
        final: test accuracy after the last epoch: the headline.
        last_five: mean test accuracy of the last five epochs, one a seed.
        best_test: test accuracy of each seed's best epoch: chosen on the test set, optimistic.
        best_train: training accuracy of each seed's best epoch.
        reached: seeds at or above the target in each of the last three epochs.
        at_target: seeds at or above the target in the last epoch but two, but one, and the last;
            fewer numbers where runs are shorter.
        binomial: standard error of the mean final accuracy that the test set carries by itself,
            percentage points.
        measured: gap, movement and trend.
        effect: against the rung before; None for the first.
        effect_on_first: against the first rung; None for the first two, the second's being
            ``effect``.
        errors: what its seeds get wrong; None where the analysis was not given it.
        findings: in the order to be read.
        next_steps: what to try, the most promising first.
        judged_on: the images that ``next_steps`` are read from; all else is of the test images.
    """

    number: int
    name: str
    target: float
    final: Statistics
    last_five: Statistics
    best_test: Statistics
    best_train: Statistics
    reached: int
    at_target: tuple[int, ...]
    binomial: float
    measured: Measurements
    effect: Effect | None
    effect_on_first: Effect | None
    errors: Errors | None
    findings: tuple[Finding, ...]
    next_steps: tuple[Suggestion, ...]
    judged_on: Images

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
    """What a ladder came to.

    Attributes:
        target: percent.
        test_images: how many the accuracies are measured on; the first rung's, where a step changes
            the data set.
        rungs: one a rung, in order.
        sensitivity: what its seeds can tell.
        conclusions: sentences about the whole.
    """

    target: float
    test_images: int
    rungs: tuple[RungAnalysis, ...]
    sensitivity: Sensitivity
    conclusions: tuple[str, ...]


def analyse(
    result: StudyResult, *, test_images: int, errors: Sequence[Errors] = ()
) -> StudyAnalysis:
    """Statistics, findings and suggestions for each rung, and conclusions for the study.

    Args:
        result: the study, or the part of it that has run; each rung with at least one run.
        test_images: how many images the test accuracies are measured on, where the records do not
            tell.
        errors: what each rung's seeds get wrong, as :func:`kilonet.analysis.read_errors` gives it;
            left out: nothing is said of single classes and images.

    Raises:
        ValueError: if there is no rung, a rung without runs, no test image, or errors of more or
            fewer rungs.
    """
    if not result.rungs or test_images < 1:
        raise ValueError("nothing to analyse: a study needs a rung and a test image")
    if errors and len(errors) != len(result.rungs):
        raise ValueError(f"errors of {len(errors)} rungs for {len(result.rungs)}")
    analysis = _analyse(result, test_images=test_images, errors=errors)
    held_out = on_held_out(result)
    if held_out is None:
        return analysis
    # Without the mistakes: which they are is kept of the test images alone.
    advised = _analyse(held_out, test_images=test_images, errors=())
    rungs = zip(analysis.rungs, advised.rungs, strict=True)
    return replace(
        analysis,
        rungs=tuple(replace(rung, next_steps=advice.next_steps) for rung, advice in rungs),
    )


def _analyse(result: StudyResult, *, test_images: int, errors: Sequence[Errors]) -> StudyAnalysis:
    effects, effects_on_first = compare_rungs(result)
    # Of an unfinished study a rung may be missing: what stands against another is no step's effect.
    of_step = {
        ran.rung.number: effect
        for ran, effect in zip(result.rungs, effects, strict=True)
        if effect is not None and effect.against == ran.rung.number - 1
    }
    ladder = [
        Tried(number=rung.number, run=rung.run, effect=of_step.get(rung.number))
        for rung in result.study.rungs
    ]
    rungs: list[RungAnalysis] = []
    for i, rung in enumerate(result.rungs):
        rungs.append(
            _analyse_rung(
                rung,
                before=result.rungs[i - 1] if i else None,
                analysed_before=rungs[-1] if rungs else None,
                effect=effects[i],
                effect_on_first=effects_on_first[i],
                errors=errors[i] if errors else None,
                ladder=ladder,
                study=result.study,
                test_images=_num_images(rung, default=test_images),
            )
        )
    same_images = all(tested_on(rung) == tested_on(result.rungs[0]) for rung in result.rungs)
    sensitivity = sensitivity_of(
        [rung.effect.final for rung in rungs if rung.effect is not None],
        seeds=min(rung.seeds for rung in rungs),
        comparisons=num_comparisons(len(result.study.rungs)),
        binomial=rungs[-1].binomial,
        images=rungs[0].measured.images,
    )
    return StudyAnalysis(
        target=result.study.target,
        test_images=test_images,
        rungs=tuple(rungs),
        sensitivity=sensitivity,
        conclusions=conclude(
            rungs, sensitivity=sensitivity, test_images=test_images, same_images=same_images
        ),
    )


def _analyse_rung(
    rung: RungResult,
    *,
    before: RungResult | None,
    analysed_before: RungAnalysis | None,
    effect: Effect | None,
    effect_on_first: Effect | None,
    errors: Errors | None,
    ladder: Sequence[Tried],
    study: Study,
    test_images: int,
) -> RungAnalysis:
    run = rung.rung.run
    trained, failed = split_failed(rung.records, test_images=test_images)
    measured = measure(trained, test_images=test_images)
    final = _describe([record.final_test_accuracy for record in rung.records])
    best_test = _describe([record.best_test_accuracy for record in rung.records])
    reached = sum(record.reached(study.target) for record in rung.records)
    limit = study.budget.epochs
    findings = [
        target_reached(final, best_test, reached=reached, target=study.target, measured=measured),
        *([behind] if (behind := failed_seeds(rung.records, failed=failed)) is not None else []),
        fit(measured, target=study.target, run=run),
        gap(measured, run=run),
        trend(measured, epochs_left=None if limit is None else limit - run.train.epochs),
        fluctuation(measured),
    ]
    if effect is not None and analysed_before is not None:
        findings.append(effect_of_step(effect))
        findings += [climb(effect_on_first)] if effect_on_first is not None else []
        robust = robustness(
            analysed_before.measured,
            measured,
            effect=effect,
            handicaps=_new_handicaps(run, before=before),
        )
        findings += [robust] if robust is not None else []
    findings += _causes(
        rung.rung.run,
        trained,
        before,
        analysed_before,
        target=study.target,
        measured=measured,
        findings=findings,
    )
    findings += _mistakes(errors, run=run)
    diagnosis = Diagnosis(
        number=rung.rung.number,
        run=run,
        before=None if before is None else before.rung.run,
        step_change=rung.rung.step.change,
        ladder=ladder,
        measured=measured,
        findings=_by_kind(findings),
        study=study,
        judged_on=judged_on(rung.records),
    )
    return RungAnalysis(
        number=rung.rung.number,
        name=rung.rung.step.name,
        target=study.target,
        final=final,
        last_five=_describe([_last_five(record) for record in rung.records]),
        best_test=best_test,
        best_train=_describe([record.best_train_accuracy for record in rung.records]),
        reached=reached,
        at_target=_at_target(rung.records, target=study.target),
        binomial=binomial_error(final.mean, images=test_images),
        measured=measured,
        effect=effect,
        effect_on_first=effect_on_first,
        errors=errors,
        findings=tuple(findings),
        next_steps=next_steps(diagnosis),
        judged_on=diagnosis.judged_on,
    )


def _causes(
    run: Run,
    trained: Sequence[RunRecord],
    before: RungResult | None,
    analysed_before: RungAnalysis | None,
    *,
    target: float,
    measured: Measurements,
    findings: Sequence[Finding],
) -> list[Finding]:
    """What may lie behind the curves: the learning rate, a regulariser out of place, the width."""
    told = _by_kind(findings)
    rate = learning_rate(trained, measured=measured, findings=told, run=run)
    if rate is not None:
        told[rate.kind] = rate
    was = analysed_before
    found = [
        rate,
        regulariser(
            run,
            before=None if before is None else before.rung.run,
            measured=measured,
            measured_before=None if was is None else was.measured,
            findings=told,
            fit_before=None if was is None else _by_kind(was.findings)["fit"],
        ),
        width(measured, target=target, run=run, findings=told),
    ]
    return [finding for finding in found if finding is not None]


def _new_handicaps(run: Run, *, before: RungResult | None) -> list[str]:
    """What a step added or made stronger that lowers training accuracy while it is measured."""
    had = {} if before is None else regularisers(before.rung.run)
    return [
        name
        for name, strength in regularisers(run).items()
        if name in ("dropout", "augmentation") and strength > had.get(name, 0.0)
    ]


def _mistakes(errors: Errors | None, *, run: Run) -> list[Finding]:
    """What the seeds get wrong, where the analysis was given it."""
    if errors is None:
        return []
    found = [
        class_pairs(errors),
        hard_images(errors),
        doubtful(errors),
        calibration(errors, run=run),
    ]
    return [finding for finding in found if finding is not None]


def _by_kind(findings: Sequence[Finding]) -> dict[str, Finding]:
    return {finding.kind: finding for finding in findings}


def _num_images(rung: RungResult, *, default: int) -> int:
    return int(rung.records[0].environment.get("data", {}).get("test_images", default))


def _at_target(records: Sequence[RunRecord], *, target: float) -> tuple[int, ...]:
    """Seeds at or above the target, epoch by epoch, as far back as every run has epochs."""
    length = min(TARGET_EPOCHS, *(len(record.rows) for record in records))
    return tuple(
        sum(record.rows[-back].test_accuracy >= target for record in records)
        for back in range(length, 0, -1)
    )


def _describe(values: list[float]) -> Statistics:
    """:func:`describe` within what an accuracy can be: wide intervals of few seeds end there."""
    return describe(values, limits=(0.0, 100.0))


def _last_five(record: RunRecord) -> float:
    return mean_of_last(record, WINDOW)
