"""Suggestions are read from the validation split where there is one; the rest from the test set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from kilonet.analysis import RungAnalysis, StudyAnalysis, analyse
from kilonet.analysis.held_out import on_held_out
from kilonet.record import EpochRow, RunRecord
from kilonet.spec import Study, load_study
from kilonet.study import RungResult, StudyResult
from ladders import ENVIRONMENT, TEST_IMAGES, made_result, made_rows

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
    data["step"] = [{"name": f"{i}", "change": change} for i, change in enumerate(changes, 1)]
    return Study.from_dict(data)


def result_of(study: Study, histories: Sequence[Sequence[tuple[EpochRow, ...]]]) -> StudyResult:
    """With what an environment tells of the images."""
    data = {**ENVIRONMENT["data"], "train_images": 60_000, "test_images": TEST_IMAGES}

    def told(record: RunRecord) -> RunRecord:
        return replace(record, environment={**record.environment, "data": data})

    def with_images(rung: RungResult) -> RungResult:
        return replace(rung, records=tuple(map(told, rung.records)))

    result = made_result(study, histories)
    return replace(result, rungs=tuple(map(with_images, result.rungs)))


def analysed(result: StudyResult) -> StudyAnalysis:
    return analyse(result, test_images=TEST_IMAGES)


def titles(rung: RungAnalysis) -> list[str]:
    return [suggestion.title for suggestion in rung.next_steps]


def verdicts(rung: RungAnalysis) -> dict[str, str]:
    return {finding.kind: finding.verdict for finding in rung.findings}


HELD_OUT = {"data.validation": 6000}
PLAIN = {"train.epochs": 15}


def test_it_is_the_validation_split_that_asks_for_a_scheduler() -> None:
    rung = analysed(
        result_of(study_of(HELD_OUT), [[rows(test=SETTLED, validation=UNSETTLED)]])
    ).rungs[0]
    assert verdicts(rung)["fluctuation"] == "settled"  # of the test set, as all that is reported
    assert rung.judged_on == "validation"
    first = rung.next_steps[0]
    assert first.title == "Step scheduler for the last third"
    # About its line, level at 99.12, the zigzag has residuals of 0.08, -0.12, 0.08, -0.12 and 0.08
    # points: √(0.048 / 3) = 0.13.
    assert first.reason.startswith("validation accuracy fluctuates by 0.13 points")


def test_what_the_test_set_alone_shows_suggests_nothing() -> None:
    rung = analysed(
        result_of(study_of(HELD_OUT), [[rows(test=UNSETTLED, validation=SETTLED)]])
    ).rungs[0]
    assert verdicts(rung)["fluctuation"] == "fluctuates"
    assert "Step scheduler for the last third" not in titles(rung)
    last = rung.next_steps[-1]
    assert last.title == "One-cycle schedule"
    assert last.reason.startswith("validation accuracy 99.10% in the mean of the last 5 epochs")


def test_without_a_split_the_test_set_is_read_and_says_so() -> None:
    rung = analysed(result_of(study_of(PLAIN), [[rows(test=UNSETTLED, validation=None)]])).rungs[0]
    assert rung.judged_on == "test"
    assert rung.next_steps[0].reason.startswith("test accuracy fluctuates by 0.13 points")
    assert on_held_out(result_of(study_of(PLAIN), [[rows(test=SETTLED, validation=None)]])) is None


def test_a_step_is_taken_back_by_what_it_cost_in_validation() -> None:
    worse = [accuracy - 0.5 for accuracy in SETTLED]
    seeds = (0.0, 0.01, 0.02)

    def shifted(accuracies: Sequence[float], by: float) -> list[float]:
        return [accuracy + by for accuracy in accuracies]

    study = study_of(HELD_OUT, {"train.optimizer.weight_decay": 0.0005})
    before = [rows(test=shifted(SETTLED, s), validation=shifted(SETTLED, s)) for s in seeds]
    # The ripple keeps the differences from being equal, of which nothing could be told.
    after = [
        rows(test=shifted(SETTLED, s), validation=shifted(worse, 1.5 * s), train=98.6)
        for s in seeds
    ]
    second = analysed(result_of(study, [before, after])).rungs[1]
    assert verdicts(second)["effect"] == "no difference shown"
    back = second.next_steps[0]
    assert back.title == "Take this step back"
    # -0.5, -0.495 and -0.49.
    assert back.reason == "it cost 0.49 points of final validation accuracy"


@pytest.mark.parametrize(("amount", "images"), [(6000, 6000), (0.1, 6000), (0.05, 3000)])
def test_how_many_images_that_is(amount: float, images: int) -> None:
    study = study_of({"data.validation": amount})
    held_out = on_held_out(result_of(study, [[rows(test=SETTLED, validation=UNSETTLED)]]))
    assert held_out is not None
    record = held_out.rungs[0].records[0]
    assert record.environment["data"]["test_images"] == images
    assert [row.test_accuracy for row in record.rows] == UNSETTLED
    assert record.rows[-1].test_loss == pytest.approx(0.8 / 30)
    assert analysed(held_out).rungs[0].measured.images == images


def test_other_images_are_no_pair() -> None:
    """A rung that holds images out and one that does not, or others, tell no step's effect."""
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
    held_out = on_held_out(result)
    assert held_out is not None
    effects = [rung.effect.final.verdict for rung in analysed(held_out).rungs if rung.effect]
    nothing = "other test images: nothing can be concluded"
    assert effects == [nothing, nothing, "one seed: nothing can be concluded"]
    # What is reported is of the one test set that all have.
    told = [rung.effect.final.verdict for rung in analysed(result).rungs if rung.effect]
    assert told == ["one seed: nothing can be concluded"] * 3
