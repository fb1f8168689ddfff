"""Suggestions are read from the validation split where there is one; the rest from the test set."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from html_pages import Page
from kilonet.analysis import Kind, Split, StageAnalysis, StudyAnalysis, Verdict, analyze, measure
from kilonet.analysis.comparisons import compare_stages
from kilonet.data import Dataset
from kilonet.errors import DataError
from kilonet.report import tables
from kilonet.report.content import Content
from kilonet.report.html import render_html
from kilonet.report.json.records import study_json
from kilonet.report.terminal.ladder import ladder_table
from kilonet.spec import Study
from kilonet.storage.provenance import DataInfo
from kilonet.storage.record import EpochRow, RunRecord, choosing_split
from kilonet.study import StageResult, StudyResult
from ladders import FOUR_STAGES, TEST_IMAGES, made_result, made_rows, plain

STUDY = FOUR_STAGES
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
    # What is chosen by is what the findings are of; what is reported is of the test set.
    assert verdicts(stage)[Kind.FLUCTUATION] is Verdict.FLUCTUATES
    assert stage.measured.split is Split.TEST
    assert stage.final.mean == SETTLED[-1]
    assert stage.judged_on is Split.VALIDATION
    assert stage.validation is not None
    assert stage.validation.final.mean == UNSETTLED[-1]
    first = stage.suggestions[0]
    assert first.title == "Step scheduler for the last third"
    # About its line, level at 99.12, the zigzag has residuals of 0.08, -0.12, 0.08, -0.12 and 0.08
    # points: √(0.048 / 3) = 0.13.
    assert first.reason.startswith("validation accuracy fluctuates by 0.13 points")


def test_what_the_test_set_alone_shows_suggests_nothing() -> None:
    stage = analyzed(
        result_of(study_of(HELD_OUT), [[rows(test=UNSETTLED, validation=SETTLED)]])
    ).stages[0]
    assert verdicts(stage)[Kind.FLUCTUATION] is Verdict.SETTLED
    assert "Step scheduler for the last third" not in titles(stage)
    last = stage.suggestions[-1]
    assert last.title == "One-cycle schedule"
    mean = "the mean validation accuracy of the last 5 epochs is 99.10%"
    assert last.reason.startswith(mean)


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
    assert verdicts(second)[Kind.EFFECT] is Verdict.WORSE
    assert second.effect is not None
    assert second.effect.final.verdict is Verdict.NO_DIFFERENCE  # of the test accuracies
    back = second.suggestions[0]
    assert back.title == "Take this change back"
    # -0.5, -0.495 and -0.49.
    assert (
        back.reason == "it cost 0.49 points of validation accuracy in the mean of the last 5 epochs"
    )


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
    effects, _ = compare_stages(result, splits=splits, test_images=TEST_IMAGES)
    verdicts = [effect.final.verdict for effect in effects if effect is not None]
    assert verdicts == [Verdict.OTHER_IMAGES, Verdict.OTHER_IMAGES, Verdict.ONE_SEED]
    # What is reported is of the one test set that all have.
    reported = [stage.effect.final.verdict for stage in analyzed(result).stages if stage.effect]
    assert reported == [Verdict.ONE_SEED] * 3


class TestAStudyWithASplit:
    """Two stages of three seeds: the first is better in validation, the second on the test set."""

    SEEDS = (0.0, 0.03, 0.01)

    def result(self, *changes: dict[str, Any]) -> StudyResult:
        def stage(test: float, validation: float | None, *, factor: float) -> Any:
            return [
                rows(
                    test=[test + factor * by] * 15,
                    validation=None if validation is None else [validation + factor * by] * 15,
                )
                for by in self.SEEDS
            ]

        held_out = [self.has_split(change) for change in changes]
        histories = [
            stage(98.0, 98.8 if held_out[0] else None, factor=1.0),
            stage(98.9, 98.1 if held_out[1] else None, factor=1.5),
        ]
        return result_of(study_of(*changes), histories)

    @staticmethod
    def has_split(change: dict[str, Any]) -> bool:
        return "data.validation" in change or "train.optimizer.weight_decay" in change

    def test_it_is_compared_and_picked_by_validation(self) -> None:
        result = self.result(HELD_OUT, {"train.optimizer.weight_decay": 0.0005})
        analysis = analyzed(result)
        assert analysis.judged_on is Split.VALIDATION
        [first, second] = analysis.judged
        assert (first.measured.split, first.measured.images) == (Split.VALIDATION, 6000)
        assert second.effect is not None
        # 98.1 - 98.8, and 1.5 times the seeds' mean of 0.04 / 3 less once.
        assert second.effect.final.mean == pytest.approx(-0.7 + 0.5 * sum(self.SEEDS) / 3)
        assert analysis.sensitivity.sd == pytest.approx(second.effect.final.sd)
        effect = next(f for f in analysis.stages[1].findings if f.kind is Kind.EFFECT)
        assert effect.verdict is Verdict.WORSE
        assert effect.sentence.startswith("Against stage 1 in validation accuracy, paired by seed")
        [highest] = [text for text in analysis.conclusions if text.startswith("The highest")]
        assert highest == (
            "The highest mean final validation accuracy is stage 1's (1), 98.81%: picked by "
            "validation accuracy, so that the test accuracy of 98.01% is not optimistic."
        )
        same = "same 6,000 validation images and the same 10,000 test images"
        assert same in analysis.conclusions[-1]
        content = Content(result=result, analysis=analysis)
        assert content.best.analysis.number == 1
        assert content.picked_by_validation

    def test_stages_that_share_the_highest_have_their_own_test_accuracies(self) -> None:
        histories = [[rows(test=[98.0 + i] * 15, validation=[98.5] * 15)] for i in range(2)]
        study = study_of(HELD_OUT, {"train.optimizer.weight_decay": 0.0005})
        [highest] = [
            text
            for text in analyzed(result_of(study, histories)).conclusions
            if text.startswith("The highest")
        ]
        assert highest.endswith(
            "so that the test accuracies of 98.00% and 99.00% are not optimistic."
        )

    def test_every_table_has_it_first(self) -> None:
        result = self.result(HELD_OUT, {"train.optimizer.weight_decay": 0.0005})
        analysis = analyzed(result)
        table = tables.ladder(result, analysis)
        assert table.columns[3:5] == ("Final validation", "Final test")
        assert [row[3][:8] for row in table.rows] == ["98.81% [", "98.12% ["]
        assert [row[4] for row in table.rows] == ["98.01%", "98.92%"]
        assert table.rows[1][-1].startswith("-0.69 ")
        assert tables.VALIDATION_NOTE in tables.ladder_notes(analysis)
        seeds = tables.seeds(result.stages[0], analysis.stages[0])
        assert seeds.columns[:3] == ("Seed", "Final validation", "Final test")
        assert seeds.rows[1][1:3] == ("98.83%", "98.03%")
        lines = tables.result_lines(result.stages[0], analysis.stages[0], budget=None)
        labels = [line.label for line in lines]
        accuracies = ("Final validation accuracy", "Final test accuracy")
        assert labels.index(accuracies[0]) < labels.index(accuracies[1])
        for width, best in ((60, False), (80, False), (220, True)):
            out = io.StringIO()
            content = Content(result=result, analysis=analysis)
            Console(file=out, width=width).print(ladder_table(content, width=width, terminal=False))
            text = out.getvalue()
            assert text.index("98.81% [") < text.index("98.01%")
            assert (tables.BEST_NOTE in text) == best

    def test_the_page_has_it_first_and_its_best_stage_is_picked_by_it(self) -> None:
        result = self.result(HELD_OUT, {"train.optimizer.weight_decay": 0.0005})

        def no_images(name: str) -> Dataset:
            raise DataError(f"{name}: not here")

        content = Content(result=result, analysis=analyzed(result))
        text = Page(render_html(content, folder=result.path, load=no_images)).text()
        facts = text[: text.index("Parameters")]
        assert facts.index("Final validation accuracy") < facts.index("Final test accuracy")
        assert "98.81%" in facts
        assert "stage 1, 1: the highest" in facts
        assert "optimistic" not in facts
        assert "highest mean final validation accuracy. The test set did not choose it." in text
        assert tables.VALIDATION_NOTE in text

    def test_the_json_has_it_beside_the_test_accuracy(self) -> None:
        result = self.result(HELD_OUT, {"train.optimizer.weight_decay": 0.0005})
        data = plain(study_json(result, analyzed(result)))
        assert data["judged_on"] == "validation"
        for stage, mean in zip(data["stages"], (98.8 + 0.04 / 3, 98.1 + 0.06 / 3), strict=True):
            assert stage["validation"]["mean"] == pytest.approx(mean)
            low, high = stage["validation"]["ci95"]
            assert low < mean < high
            finals = [seed["final_validation_accuracy"] for seed in stage["seeds"]]
            assert sum(finals) / 3 == pytest.approx(mean)
        assert data["stages"][1]["validation"]["effect"]["final"]["verdict"] == "worse"
        assert data["stages"][1]["effect"]["final"]["verdict"] == "better"

    @pytest.mark.parametrize(
        "changes", [(PLAIN, HELD_OUT), (HELD_OUT, {**HELD_OUT, "data.validation_seed": 1})]
    )
    def test_where_not_all_stages_hold_out_the_same_it_is_the_test_set(
        self, changes: Sequence[dict[str, Any]]
    ) -> None:
        result = self.result(*changes)
        analysis = analyzed(result)
        assert analysis.judged_on is Split.TEST
        assert analysis.judged == analysis.stages
        [highest] = [text for text in analysis.conclusions if text.startswith("The highest")]
        assert highest.endswith(
            "picked by test accuracy, as the stages do not hold out the same images, so a little "
            "optimistic."
        )
        table = tables.ladder(result, analysis)
        assert table.columns[3] == "Final validation"
        assert (table.rows[0][3] == "") == (changes[0] is PLAIN)
        assert Content(result=result, analysis=analysis).best.analysis.number == 2
        data = plain(study_json(result, analysis))
        assert (data["stages"][0]["validation"] is None) == (changes[0] is PLAIN)
        assert data["stages"][1]["validation"]["mean"] == pytest.approx(98.12)

    def test_without_a_split_nothing_is_said_of_one(self) -> None:
        result = self.result(PLAIN, {"train.label_smoothing": 0.1})
        analysis = analyzed(result)
        data = plain(study_json(result, analysis))
        assert [stage["validation"] for stage in data["stages"]] == [None, None]
        assert "final_validation_accuracy" not in data["stages"][0]["seeds"][0]
        assert "Final validation" not in tables.ladder(result, analysis).columns
        assert "validation" not in " ".join(analysis.conclusions)
