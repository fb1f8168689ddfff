"""A study's results, analysed: rung by rung, and as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kilonet.analysis.capacity import regulariser, width
from kilonet.analysis.changes import Suggestion
from kilonet.analysis.curves import fit, fluctuation, gap, trend
from kilonet.analysis.errors import Errors
from kilonet.analysis.findings import (
    TARGET_EPOCHS,
    Effect,
    Finding,
    effect_of_step,
    robustness,
    target_reached,
)
from kilonet.analysis.learning_rate import learning_rate
from kilonet.analysis.measurements import WINDOW, Measurements, measure
from kilonet.analysis.mistakes import calibration, class_pairs, doubtful, hard_images
from kilonet.analysis.statistics import Statistics, binomial_error, compare, describe
from kilonet.analysis.suggestions import Diagnosis, next_steps
from kilonet.analysis.words import count, percent, points
from kilonet.record import RunRecord
from kilonet.spec import Run
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
        binomial: standard error of the mean final accuracy that the test set carries by itself,
            percentage points.
        measured: gap, movement and trend.
        effect: against the rung before; None for the first.
        errors: what its seeds get wrong; None where the analysis was not given it.
        findings: in the order to be read.
        next_steps: what to try, the most promising first.
    """

    number: int
    name: str
    target: float
    final: Statistics
    last_five: Statistics
    best_test: Statistics
    best_train: Statistics
    reached: int
    binomial: float
    measured: Measurements
    effect: Effect | None
    errors: Errors | None
    findings: tuple[Finding, ...]
    next_steps: tuple[Suggestion, ...]

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
        test_images: how many the accuracies are measured on.
        rungs: one a rung, in order.
        conclusions: sentences about the whole.
    """

    target: float
    test_images: int
    rungs: tuple[RungAnalysis, ...]
    conclusions: tuple[str, ...]


def analyse(
    result: StudyResult, *, test_images: int, errors: Sequence[Errors] = ()
) -> StudyAnalysis:
    """Statistics, findings and suggestions for each rung, and conclusions for the study.

    Args:
        result: the study, or the part of it that has run; each rung with at least one run.
        test_images: how many images the test accuracies are measured on.
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
    rungs: list[RungAnalysis] = []
    before: RungResult | None = None
    for i, rung in enumerate(result.rungs):
        rungs.append(
            _analyse_rung(
                rung,
                before=before,
                analysed_before=rungs[-1] if rungs else None,
                errors=errors[i] if errors else None,
                result=result,
                test_images=test_images,
            )
        )
        before = rung
    return StudyAnalysis(
        target=result.study.target,
        test_images=test_images,
        rungs=tuple(rungs),
        conclusions=_conclude(rungs, test_images=test_images),
    )


def _analyse_rung(
    rung: RungResult,
    *,
    before: RungResult | None,
    analysed_before: RungAnalysis | None,
    errors: Errors | None,
    result: StudyResult,
    test_images: int,
) -> RungAnalysis:
    study, run = result.study, rung.rung.run
    measured = measure(rung.records, test_images=test_images)
    final = _describe([record.final_test_accuracy for record in rung.records])
    best_test = _describe([record.best_test_accuracy for record in rung.records])
    reached = sum(record.reached(study.target) for record in rung.records)
    limit = study.budget.epochs
    findings = [
        target_reached(final, best_test, reached=reached, target=study.target, measured=measured),
        fit(measured, target=study.target, run=run),
        gap(measured),
        trend(measured, epochs_left=None if limit is None else limit - run.train.epochs),
        fluctuation(measured),
    ]
    effect = None
    if before is not None and analysed_before is not None:
        effect = _effect(before, rung)
        findings.append(effect_of_step(effect))
        robust = robustness(analysed_before.measured, measured, effect=effect)
        findings += [robust] if robust is not None else []
    findings += _causes(
        rung, before, analysed_before, target=study.target, measured=measured, findings=findings
    )
    findings += _mistakes(errors, run=run)
    diagnosis = Diagnosis(
        run=run,
        before=None if before is None else before.rung.run,
        step_change=rung.rung.step.change,
        measured=measured,
        findings=_by_kind(findings),
        study=study,
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
        binomial=binomial_error(final.mean, images=test_images),
        measured=measured,
        effect=effect,
        errors=errors,
        findings=tuple(findings),
        next_steps=next_steps(diagnosis),
    )


def _causes(
    rung: RungResult,
    before: RungResult | None,
    analysed_before: RungAnalysis | None,
    *,
    target: float,
    measured: Measurements,
    findings: Sequence[Finding],
) -> list[Finding]:
    """What may lie behind the curves: the learning rate, a regulariser out of place, the width."""
    run, told = rung.rung.run, _by_kind(findings)
    found = [
        learning_rate(rung.records, measured=measured, findings=told, run=run),
        regulariser(
            run,
            before=None if before is None else before.rung.run,
            measured=measured,
            measured_before=None if analysed_before is None else analysed_before.measured,
            findings=told,
            fit_before=None
            if analysed_before is None
            else _by_kind(analysed_before.findings)["fit"],
        ),
        width(measured, target=target, run=run, findings=told),
    ]
    return [finding for finding in found if finding is not None]


def _mistakes(errors: Errors | None, *, run: Run) -> list[Finding]:
    """What the seeds get wrong, where the analysis was given it."""
    if errors is None:
        return []
    found = [class_pairs(errors), hard_images(errors), doubtful(errors)]
    return [finding for finding in [*found, calibration(errors, run=run)] if finding is not None]


def _by_kind(findings: Sequence[Finding]) -> dict[str, Finding]:
    return {finding.kind: finding for finding in findings}


def _effect(before: RungResult, after: RungResult) -> Effect:
    old = {record.run.train.seed: record for record in before.records}
    new = {record.run.train.seed: record for record in after.records}
    return Effect(
        against=before.rung.number,
        final=compare(
            {seed: record.final_test_accuracy for seed, record in old.items()},
            {seed: record.final_test_accuracy for seed, record in new.items()},
        ),
        last_five=compare(
            {seed: _last_five(record) for seed, record in old.items()},
            {seed: _last_five(record) for seed, record in new.items()},
        ),
        unpaired=len(old.keys() ^ new.keys()),
        epochs=min(WINDOW, *(len(r.rows) for r in (*old.values(), *new.values()))),
    )


def _describe(values: list[float]) -> Statistics:
    """:func:`describe` within what an accuracy can be: wide intervals of few seeds end there."""
    return describe(values, limits=(0.0, 100.0))


def _last_five(record: RunRecord) -> float:
    last = [row.test_accuracy for row in record.rows[-WINDOW:]]
    return sum(last) / len(last)


def _conclude(rungs: list[RungAnalysis], *, test_images: int) -> tuple[str, ...]:
    """The whole in a few sentences: how far, how sure, and what the numbers cannot tell."""
    top = max(rungs, key=lambda rung: rung.final.mean)
    seeds = min(rung.seeds for rung in rungs)
    done = [rung for rung in rungs if rung.reached == rung.seeds]
    in_part = [rung for rung in rungs if 0 < rung.reached < rung.seeds]
    of = "final accuracy" if seeds == 1 else "mean final accuracy"
    sentences = []
    if done:
        names = ", ".join(f"{rung.number} ({rung.name})" for rung in done)
        sentences.append(
            f"The target of {percent(top.target)} is reached by "
            f"{'every seed' if seeds > 1 else 'the one seed'} of rung {names}."
        )
    elif in_part:
        first, *more = (
            (f"rung {rung.number} ({rung.name})", f"with {rung.reached} of {rung.seeds}")
            for rung in in_part
        )
        some = ", ".join([" did ".join(first), *map(" ".join, more)])
        sentences.append(
            f"No rung reached the target of {percent(top.target)} with every seed; {some}."
        )
    elif all(rung.measured.epochs < TARGET_EPOCHS for rung in rungs):
        sentences.append(
            f"The runs are too short to tell whether the target of {percent(top.target)} is "
            "reached: the rule needs three epochs."
        )
    else:
        sentences.append(f"No rung reached the target of {percent(top.target)}.")
    if len(rungs) > 1:
        sentences.append(
            f"The highest {of} is rung {top.number}'s ({top.name}), {percent(top.final.mean)}: "
            "picked by test accuracy, so a little optimistic."
        )
    if seeds == 1:
        sentences.append(
            "One seed a rung: nothing can be concluded about the steps. More seeds: add "
            "--set seeds=5; finished runs are kept."
        )
    else:
        sentences.append(
            f"{count(seeds, 'seed')} a rung; intervals are 95% Student-t over the seeds, effects "
            "are paired by seed, and their p values are not corrected for the number of steps."
        )
    sentences.append(
        f"All accuracies are measured on the same {test_images:,} test images; another such set "
        f"would move them by {points(top.binomial)} points (one binomial standard error)."
    )
    return tuple(sentences)
