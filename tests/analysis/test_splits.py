"""Suggestions are read from the validation split where there is one; the rest from the test set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from kilonet.analysis import Kind, Split, StageAnalysis, StudyAnalysis, Verdict, analyze, measure
from kilonet.analysis.effects import compare_stages
from kilonet.spec import Study, load_study
from kilonet.storage.provenance import DataInfo
from kilonet.storage.record import EpochRow, RunRecord, choosing_split
from kilonet.study import StageResult, StudyResult
from ladders import TEST_IMAGES, made_result, made_rows

STUDY = load_study("mnist-8k")
SETTLED = [98.0, 98.6, 98.8, 98.9, 99.0, 99.05, 99.1, 99.1, 99.1] + [99.1] * 6
UNSETTLED = [*SETTLED[:10], 99.2, 99.0, 99.2, 99.0, 99.2]


def rows(
    *, test: Sequence[float], validation: Sequence[float] | None, train: float = 99.1
) -> tuple[EpochRow, ...]:
    made = made_rows(test, train=train)
    if validation is None:
        return made
    return tuple(
        replace(row, validation_accuracy=accuracy, validation_loss=(100 - accuracy) / 30)
        for row, accuracy in zip(made, validation, strict=True)
    )


def study_of(*changes: dict[str, Any]) -> Study:
    data = STUDY.to_dict()
    data["stage"] = [{"name": f"{i}", "change": change} for i, change in enumerate(changes, 1)]
    return Study.from_dict(data)


def result_of(study: Study, histories: Sequence[Sequence[tuple[EpochRow, ...]]]) -> StudyResult:
    """With a provenance that has the number of images."""
    data = DataInfo(name="mnist", sha256="ab" * 32, train_images=60_000, test_images=TEST_IMAGES)

    def with_data(record: RunRecord) -> RunRecord:
        return replace(record, provenance=replace(record.provenance, data=data))

    def with_images(stage: StageResult) -> StageResult:
        return replace(stage, records=tuple(map(with_data, stage.records)))

    result = made_result(study, histories)
    return replace(result, stages=tuple(map(with_images, result.stages)))


def analyzed(result: StudyResult) -> StudyAnalysis:
    return analyze(result, test_images=TEST_IMAGES)


def titles(stage: StageAnalysis) -> list[str]:
    return [suggestion.title for suggestion in stage.suggestions]


def verdicts(stage: StageAnalysis) -> dict[Kind, Verdict]:
    return {finding.kind: finding.verdict for finding in stage.findings}


HELD_OUT = {"data.validation": 6000}
PLAIN = {"train.epochs": 15}


def test_it_is_the_validation_split_that_asks_for_a_scheduler() -> None:
    stage = analyzed(
        result_of(study_of(HELD_OUT), [[rows(test=SETTLED, validation=UNSETTLED)]])
    ).stages[0]
    # Of the test set, as all that is reported.
    assert verdicts(stage)[Kind.FLUCTUATION] is Verdict.SETTLED
    assert stage.measured.split is Split.TEST
    assert stage.judged_on is Split.VALIDATION
    first = stage.suggestions[0]
    assert first.title == "Step scheduler for the last third"
    # About its line, level at 99.12, the zigzag has residuals of 0.08, -0.12, 0.08, -0.12 and 0.08
    # points: √(0.048 / 3) = 0.13.
    assert first.reason.startswith("validation accuracy fluctuates by 0.13 points")


def test_what_the_test_set_alone_shows_suggests_nothing() -> None:
    stage = analyzed(
        result_of(study_of(HELD_OUT), [[rows(test=UNSETTLED, validation=SETTLED)]])
    ).stages[0]
    assert verdicts(stage)[Kind.FLUCTUATION] is Verdict.FLUCTUATES
    assert "Step scheduler for the last third" not in titles(stage)
    last = stage.suggestions[-1]
    assert last.title == "One-cycle schedule"
    assert last.reason.startswith("validation accuracy is 99.10% in the mean of the last 5 epochs")


def test_without_a_split_the_test_set_is_read_and_says_so() -> None:
    stage = analyzed(result_of(study_of(PLAIN), [[rows(test=UNSETTLED, validation=None)]])).stages[
        0
    ]
    assert stage.judged_on is Split.TEST
    assert stage.suggestions[0].reason.startswith("test accuracy fluctuates by 0.13 points")


def test_a_change_is_taken_back_by_what_it_cost_in_validation() -> None:
    worse = [accuracy - 0.5 for accuracy in SETTLED]
    seeds = (0.0, 0.01, 0.02)

    def shifted(accuracies: Sequence[float], by: float) -> list[float]:
        return [accuracy + by for accuracy in accuracies]

    study = study_of(HELD_OUT, {"train.optimizer.weight_decay": 0.0005})
    before = [rows(test=shifted(SETTLED, s), validation=shifted(SETTLED, s)) for s in seeds]
    # The ripple keeps the differences from being equal, which would leave nothing to conclude.
    after = [
        rows(test=shifted(SETTLED, s), validation=shifted(worse, 1.5 * s), train=98.6)
        for s in seeds
    ]
    second = analyzed(result_of(study, [before, after])).stages[1]
    assert verdicts(second)[Kind.EFFECT] is Verdict.NO_DIFFERENCE
    back = second.suggestions[0]
    assert back.title == "Take this change back"
    # -0.5, -0.495 and -0.49.
    assert back.reason == "it cost 0.49 points of final validation accuracy"


@pytest.mark.parametrize(("amount", "images"), [(6000, 6000), (0.1, 6000), (0.05, 3000)])
def test_how_many_images_that_is(amount: float, images: int) -> None:
    study = study_of({"data.validation": amount})
    [stage] = result_of(study, [[rows(test=SETTLED, validation=UNSETTLED)]]).stages
    [record] = stage.records
    assert Split.VALIDATION.num_images(record, default=7) == images
    assert Split.TEST.num_images(record, default=7) == TEST_IMAGES
    assert Split.VALIDATION.accuracies(record) == UNSETTLED
    assert Split.TEST.accuracies(record) == SETTLED


def test_all_of_an_analysis_is_of_the_split_asked_for() -> None:
    result = result_of(study_of(HELD_OUT), [[rows(test=SETTLED, validation=UNSETTLED)]])
    analysis = analyze(result, test_images=TEST_IMAGES, split=Split.VALIDATION)
    [stage] = analysis.stages
    assert (stage.final.mean, stage.best.mean) == (UNSETTLED[-1], max(UNSETTLED))
    assert (stage.measured.split, stage.measured.images) == (Split.VALIDATION, 6000)
    assert verdicts(stage)[Kind.FLUCTUATION] is Verdict.FLUCTUATES
    assert not any("test" in sentence for sentence in (*stage.sentences, *analysis.conclusions))


def test_a_split_that_a_run_lacks_is_refused() -> None:
    result = result_of(study_of(PLAIN), [[rows(test=SETTLED, validation=None)]])
    records = result.stages[0].records
    assert choosing_split(records) is Split.TEST
    with pytest.raises(ValueError, match="epochs without a validation accuracy"):
        measure(records, images=6000, split=Split.VALIDATION)
    with pytest.raises(ValueError, match="epochs without a validation accuracy"):
        analyze(result, test_images=TEST_IMAGES, split=Split.VALIDATION)


def test_other_images_are_no_pair() -> None:
    """A stage that holds images out and one that does not, or others, have no paired effect."""
    other = {"data.validation_seed": 1}
    histories = [
        [rows(test=SETTLED, validation=None)],
        [rows(test=SETTLED, validation=SETTLED)],
        [rows(test=SETTLED, validation=SETTLED)],
        [rows(test=SETTLED, validation=SETTLED)],
    ]
    result = result_of(
        study_of(PLAIN, HELD_OUT, other, {"train.optimizer.weight_decay": 0.0005}), histories
    )
    splits = [choosing_split(stage.records) for stage in result.stages]
    assert splits == [Split.TEST, *[Split.VALIDATION] * 3]
    effects, _ = compare_stages(result, splits=splits)
    verdicts = [effect.final.verdict for effect in effects if effect is not None]
    assert verdicts == [Verdict.OTHER_IMAGES, Verdict.OTHER_IMAGES, Verdict.ONE_SEED]
    # What is reported is of the one test set that all have.
    reported = [stage.effect.final.verdict for stage in analyzed(result).stages if stage.effect]
    assert reported == [Verdict.ONE_SEED] * 3
