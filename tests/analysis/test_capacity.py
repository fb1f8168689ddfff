"""Regularisers out of place, and targets out of reach, on both sides of what decides."""

from __future__ import annotations

from typing import Any

import pytest

from kilonet.analysis import Finding, RungAnalysis, analyse
from kilonet.analysis.capacity import regularisers
from kilonet.record import EpochRow
from kilonet.spec import Study, load_study
from ladders import TEST_IMAGES, made_result, made_rows

STUDY = load_study("mnist-8k")
BASE = STUDY.rungs[0].run

# The target of 99.4 % allows an error of 0.6 %; underfitting is more than twice that.
UNDERFITS = made_rows([98.6] * 10, train=98.7)
FITS = made_rows([98.9] * 10, train=98.9)
OVERFITS = made_rows([98.0] * 10, train=98.7)


def study_of(*changes: dict[str, Any]) -> Study:
    data = STUDY.to_dict()
    data["step"] = [
        {"name": f"Step {i}", "change": change} for i, change in enumerate(changes, start=1)
    ]
    return Study.from_dict(data)


def finding(rung: RungAnalysis, kind: str) -> Finding | None:
    return next((found for found in rung.findings if found.kind == kind), None)


def last_rung(study: Study, *rungs: tuple[EpochRow, ...]) -> RungAnalysis:
    return analyse(made_result(study, [[rows] for rows in rungs]), test_images=TEST_IMAGES).rungs[
        -1
    ]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({}, {}),
        ({"net.block": ["conv", "relu", "dropout 0.02"]}, {"dropout": 0.02}),
        ({"data.augment": [{"name": "rotation", "degrees": 7}]}, {"augmentation": 1.0}),
        ({"train.optimizer.weight_decay": 0.001}, {"weight decay": 0.001}),
        ({"train.label_smoothing": 0.1}, {"label smoothing": 0.1}),
        # AdamW's own default was not chosen.
        ({"train.optimizer": {"name": "adamw"}}, {}),
        (
            {"train.optimizer": {"name": "adamw", "weight_decay": 0.05}},
            {"weight decay": pytest.approx(0.04)},
        ),
    ],
)
def test_regularisers(change: dict[str, Any], found: dict[str, float]) -> None:
    assert regularisers(BASE.replace(change)) == found


DROPOUT = {"net.block": ["conv", "relu", "batchnorm", "dropout 0.1"]}


class TestAdded:
    @pytest.mark.parametrize(
        ("change", "what"),
        [
            (DROPOUT, "dropout was"),
            ({"data.augment": [{"name": "rotation", "degrees": 7}]}, "augmentation was"),
            ({"train.optimizer.weight_decay": 0.001}, "weight decay was"),
            ({"train.label_smoothing": 0.1}, "label smoothing was"),
            ({**DROPOUT, "train.label_smoothing": 0.1}, "dropout and label smoothing were"),
        ],
    )
    def test_to_what_underfits(self, change: dict[str, Any], what: str) -> None:
        study = study_of({"train.epochs": 10}, change)
        found = finding(last_rung(study, UNDERFITS, FITS), "regulariser")
        assert found is not None
        assert found.verdict == "added to what underfits"
        assert f"{what} added to a network that underfitted" in found.sentence
        assert "98.70%; since then it is 98.90% (+0.20 points)" in found.sentence

    def test_to_what_fits_is_in_its_place(self) -> None:
        study = study_of({"train.epochs": 10}, DROPOUT)
        assert finding(last_rung(study, FITS, FITS), "regulariser") is None

    def test_weaker_than_before_is_not_added(self) -> None:
        less = {"net.block": ["conv", "relu", "batchnorm", "dropout 0.05"]}
        found = finding(last_rung(study_of(DROPOUT, less), UNDERFITS, FITS), "regulariser")
        assert found is None
        found = finding(last_rung(study_of(less, DROPOUT), UNDERFITS, FITS), "regulariser")
        assert found is not None

    def test_any_other_step_adds_none(self) -> None:
        study = study_of({"train.epochs": 10}, {"train.optimizer.lr": 0.02})
        assert finding(last_rung(study, UNDERFITS, UNDERFITS), "regulariser") is None


class TestOn:
    STUDY = study_of(
        {"net.block": ["conv", "relu", "dropout 0.1"], "train.optimizer.weight_decay": 0.1}
    )

    @pytest.mark.parametrize(
        ("rows", "told"), [(UNDERFITS, True), (FITS, False), (OVERFITS, False)]
    )
    def test_while_it_underfits(self, rows: tuple[EpochRow, ...], told: bool) -> None:
        rung = last_rung(self.STUDY, rows)
        found = finding(rung, "regulariser")
        assert (found is not None) == told
        if found is not None:
            assert found.verdict == "on what underfits"
            assert "dropout and weight decay make learning harder" in found.sentence
            assert "98.70%" in found.sentence
            titles = [suggestion.title for suggestion in rung.next_steps]
            assert titles[:3] == [
                "Batch normalisation in every block",
                "Without dropout",
                "Without weight decay",
            ]


class TestWidth:
    STILL = made_rows([99.0] * 10, train=99.0)
    ROOMY = STUDY.replace({"budget.parameters": 40_000})

    def test_out_of_reach(self) -> None:
        rung = last_rung(self.ROOMY, self.STILL)
        found = finding(rung, "width")
        assert found is not None
        assert found.sentence == (
            "Out of reach at this width, as far as the rows tell: the mean of the last 5 epochs, "
            "99.00%, is 0.40 points short of the target, on a plateau, settled and without "
            "over-fitting (gap 0.00), so it takes more than these 7,864 parameters, or better used."
        )
        # By this a run that belongs to no study, and so has no target, is spared the sentence.
        assert found.figures["target"] == 99.4
        wide = next(s for s in rung.next_steps if s.title == "2 times as wide")
        assert "0.40 points short on a plateau" in wide.reason
        # The budget of 8,000 has no room for it.
        tight = last_rung(STUDY, self.STILL)
        assert not any("as wide" in suggestion.title for suggestion in tight.next_steps)

    # Material is half of √(0.9936 · 0.0064 / 10,000), 0.04 points.
    @pytest.mark.parametrize(("level", "told"), [(99.35, True), (99.37, False)])
    def test_short_by_something_material(self, level: float, told: bool) -> None:
        rung = last_rung(self.ROOMY, made_rows([level] * 10, train=level))
        assert (finding(rung, "width") is not None) == told

    @pytest.mark.parametrize(
        "rows",
        [
            made_rows([98.8] * 5 + [99.0] * 5, train=99.0),  # still improving
            made_rows([98.9, 99.1] * 5, train=99.0),  # not settled: a lower rate may help
            made_rows([99.0] * 10, train=99.2),  # over-fits: a regulariser may help
            made_rows([99.0] * 7 + [99.5] * 3, train=99.0),  # reached
            made_rows([99.0] * 2, train=99.0),  # too short
        ],
    )
    def test_something_else_is_left_to_try(self, rows: tuple[EpochRow, ...]) -> None:
        assert finding(last_rung(self.ROOMY, rows), "width") is None

    def test_regularisers_may_be_what_holds_it_back(self) -> None:
        data = self.ROOMY.to_dict()
        data["step"] = data["step"][1:3]
        found = finding(last_rung(Study.from_dict(data), self.STILL, self.STILL), "width")
        assert found is not None
        assert found.sentence.endswith("or better used (or less dropout or augmentation).")
