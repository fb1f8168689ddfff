"""Regularizers out of place, and targets out of reach, on both sides of what decides."""

from __future__ import annotations

from typing import Any

import pytest

from kilonet.analysis import Finding, Kind, StageAnalysis, Verdict, analyze
from kilonet.analysis.capacity import regularizers
from kilonet.spec import Study
from kilonet.storage.record import EpochRow
from ladders import FOUR_STAGES, TEST_IMAGES, made_result, made_rows

STUDY = FOUR_STAGES
BASE = STUDY.stages[0].run

# The target of 99.4 % allows an error of 0.6 %; underfitting is more than twice that.
UNDERFITS = made_rows([98.6] * 10, train=98.7)
FITS = made_rows([98.9] * 10, train=98.9)
OVERFITS = made_rows([98.0] * 10, train=98.7)


def study_of(*changes: dict[str, Any]) -> Study:
    data = STUDY.to_dict()
    data["stage"] = [
        {"name": f"Stage {i}", "change": change} for i, change in enumerate(changes, start=1)
    ]
    return Study.from_dict(data)


def finding(stage: StageAnalysis, kind: Kind) -> Finding | None:
    return next((found for found in stage.findings if found.kind == kind), None)


def last_stage(study: Study, *stages: tuple[EpochRow, ...]) -> StageAnalysis:
    return analyze(made_result(study, [[rows] for rows in stages]), test_images=TEST_IMAGES).stages[
        -1
    ]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({}, []),
        ({"net.block": ["conv", "relu", "dropout 0.02"]}, ["dropout"]),
        ({"data.augment": [{"name": "rotation", "degrees": 7}]}, ["augmentation"]),
        ({"train.optimizer.weight_decay": 0.001}, ["weight decay"]),
        ({"train.label_smoothing": 0.1}, ["label smoothing"]),
        # AdamW's own default was not chosen.
        ({"train.optimizer": {"name": "adamw"}}, []),
        ({"train.optimizer": {"name": "adamw", "weight_decay": 0.05}}, ["weight decay"]),
    ],
)
def test_regularizers(change: dict[str, Any], found: list[str]) -> None:
    assert regularizers(BASE.replace(change)) == found


class TestOn:
    STUDY = study_of(
        {"net.block": ["conv", "relu", "dropout 0.1"], "train.optimizer.weight_decay": 0.1}
    )

    @pytest.mark.parametrize(
        ("rows", "expected"), [(UNDERFITS, True), (FITS, False), (OVERFITS, False)]
    )
    def test_while_it_underfits(self, rows: tuple[EpochRow, ...], expected: bool) -> None:
        stage = last_stage(self.STUDY, rows)
        found = finding(stage, Kind.REGULARIZER)
        assert (found is not None) == expected
        if found is not None:
            assert found.verdict is Verdict.ON_WHAT_UNDERFITS
            assert "dropout and weight decay make learning harder" in found.sentence
            assert found.figures["train"] == pytest.approx(98.7)
            titles = [suggestion.title for suggestion in stage.suggestions]
            assert titles[:3] == [
                "Batch normalization in every block",
                "Without dropout",
                "Without weight decay",
            ]


class TestWidth:
    STILL = made_rows([99.0] * 10, train=99.0)
    ROOMY = STUDY.replace({"budget.parameters": 40_000})

    def test_out_of_reach(self) -> None:
        stage = last_stage(self.ROOMY, self.STILL)
        found = finding(stage, Kind.WIDTH)
        assert found is not None
        assert found.verdict is Verdict.OUT_OF_REACH
        assert found.figures["short"] == pytest.approx(0.4)
        assert found.figures["parameters"] == 7864
        # By this a run that belongs to no study, and so has no target, is spared the sentence.
        assert found.figures["target"] == 99.4
        assert "2 times as wide" in [suggestion.title for suggestion in stage.suggestions]
        # The budget of 8,000 has no room for it.
        tight = last_stage(STUDY, self.STILL)
        assert not any("as wide" in suggestion.title for suggestion in tight.suggestions)

    # Material is half of √(0.9936 · 0.0064 / 10,000), 0.04 points.
    @pytest.mark.parametrize(("level", "expected"), [(99.35, True), (99.37, False)])
    def test_short_by_something_material(self, level: float, expected: bool) -> None:
        stage = last_stage(self.ROOMY, made_rows([level] * 10, train=level))
        assert (finding(stage, Kind.WIDTH) is not None) == expected

    @pytest.mark.parametrize(
        "rows",
        [
            made_rows([98.8] * 5 + [99.0] * 5, train=99.0),  # still improving
            made_rows([98.9, 99.1] * 5, train=99.0),  # not settled: a lower rate may help
            made_rows([99.0] * 10, train=99.2),  # over-fits: a regularizer may help
            made_rows([99.0] * 7 + [99.5] * 3, train=99.0),  # reached
            made_rows([99.0] * 2, train=99.0),  # too short
        ],
    )
    def test_something_else_is_left_to_try(self, rows: tuple[EpochRow, ...]) -> None:
        assert finding(last_stage(self.ROOMY, rows), Kind.WIDTH) is None

    def test_regularizers_may_be_what_holds_it_back(self) -> None:
        data = self.ROOMY.to_dict()
        data["stage"] = data["stage"][1:3]
        found = finding(last_stage(Study.from_dict(data), self.STILL, self.STILL), Kind.WIDTH)
        assert found is not None
        assert "less dropout or less augmentation" in found.sentence
