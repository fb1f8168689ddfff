"""Suggestions do not go round in circles: what the ladder has tried, and what came of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kilonet.analysis import Difference, Effect, RungAnalysis, analyse
from kilonet.analysis.comparison import Verdict
from kilonet.analysis.history import Tried, differences, remark
from kilonet.record import EpochRow
from kilonet.spec import Study, load_study
from ladders import TEST_IMAGES, made_result, made_rows, notebook_result

STUDY = load_study("mnist-8k")
PLAIN = {"net.block": ["conv", "relu", "batchnorm"]}
DROPOUT = {"net.block": ["conv", "relu", "batchnorm", "dropout 0.01"]}
ROTATION = {"data.augment": [{"name": "rotation", "degrees": 7}]}
STEP = {"train.schedule": {"name": "step", "step_size": 10, "gamma": 0.1}}
ONE_CYCLE = {"train.schedule": {"name": "onecycle", "max_lr": 0.1}}


def study_of(*changes: dict[str, Any]) -> Study:
    data = STUDY.to_dict()
    data["step"] = [
        {"name": f"Step {i}", "change": change} for i, change in enumerate(changes, start=1)
    ]
    return Study.from_dict(data)


def effect(final: Verdict, last_five: Verdict = "no difference shown") -> Effect:
    return Effect(
        against=1,
        final=Difference(differences=(), verdict=final),
        last_five=Difference(differences=(), verdict=last_five),
        unpaired=0,
        epochs=5,
    )


def ladder(study: Study, **effects: Effect) -> list[Tried]:
    """All of the study's rungs; ``rung_2=`` what came of that one."""
    return [
        Tried(number=rung.number, run=rung.run, effect=effects.get(f"rung_{rung.number}"))
        for rung in study.rungs
    ]


class TestRemark:
    @staticmethod
    def said(study: Study, change: dict[str, Any], *, at: int, **effects: Effect) -> str | None:
        changed = study.rungs[at - 1].run.replace(change)
        return remark(changed, at=at, ladder=ladder(study, **effects))

    def test_something_new_needs_no_words(self) -> None:
        study = study_of(PLAIN, DROPOUT)
        assert self.said(study, ROTATION, at=2, rung_2=effect("better")) == ""

    def test_what_comes_next_is_said_to(self) -> None:
        study = study_of(PLAIN, DROPOUT, ROTATION)
        assert self.said(study, DROPOUT, at=1) == "; rung 2 tries it"
        # A rotation is one by any angle.
        other = {"data.augment": [{"name": "rotation", "degrees": 3, "fill": 1}]}
        assert self.said(study, other, at=1) == "; rung 3 tries it"
        # Whatever came of it: what is said of a rung does not change as the study goes on.
        assert self.said(study, DROPOUT, at=1, rung_2=effect("worse")) == "; rung 2 tries it"

    @pytest.mark.parametrize(
        ("verdict", "words"),
        [
            ("no difference shown", "; rung 2 did the opposite (no difference shown)"),
            ("worse", "; rung 2 did the opposite (worse)"),
            (
                "one seed: nothing can be concluded",
                "; rung 2 did the opposite (one seed, nothing can be concluded)",
            ),
            ("better", None),
        ],
    )
    def test_taking_a_step_back_later(self, verdict: Verdict, words: str | None) -> None:
        study = study_of(PLAIN, DROPOUT, ROTATION)
        assert self.said(study, PLAIN, at=3, rung_2=effect(verdict)) == words

    def test_better_in_the_mean_of_the_last_epochs_is_help_too(self) -> None:
        study = study_of(PLAIN, DROPOUT, ROTATION)
        helped = effect("no difference shown", "better")
        assert self.said(study, PLAIN, at=3, rung_2=helped) is None
        # But not where the final epoch, which decides, is shown to be worse.
        hurt = effect("worse", "better")
        assert self.said(study, PLAIN, at=3, rung_2=hurt) is not None

    def test_a_part_of_what_helped_is_not_taken_back(self) -> None:
        study = study_of(PLAIN, {**DROPOUT, **ROTATION}, STEP)
        assert self.said(study, {"data.augment": []}, at=3, rung_2=effect("better")) is None
        assert self.said(study, {"data.augment": []}, at=3, rung_2=effect("worse")) == ""

    def test_a_rung_that_has_been_measured(self) -> None:
        study = study_of(PLAIN, DROPOUT)
        assert self.said(study, PLAIN, at=2, rung_2=effect("no difference shown")) is None

    @pytest.mark.parametrize(
        ("verdict", "again"),
        [
            ("no difference shown", False),
            ("worse", False),
            ("one seed: nothing can be concluded", False),
            ("better", True),
        ],
    )
    def test_what_was_tried_and_given_up(self, verdict: Verdict, again: bool) -> None:
        study = study_of(PLAIN, DROPOUT, PLAIN, ROTATION)
        said = self.said(study, DROPOUT, at=4, rung_2=effect(verdict), rung_3=effect("worse"))
        assert (said is not None) == again

    def test_another_schedule_in_the_place_of_one_that_helped(self) -> None:
        study = study_of(PLAIN, STEP, ROTATION)
        words = "; it takes the place of the schedule that rung 2 gained by"
        assert self.said(study, ONE_CYCLE, at=3, rung_2=effect("better")) == words
        assert self.said(study, ONE_CYCLE, at=3, rung_2=effect("no difference shown")) == ""


def test_differences_are_told_by_path() -> None:
    first, second = (rung.run for rung in study_of(PLAIN, {"train.optimizer.lr": 0.03}).rungs)
    assert differences(first, second) == {"train.optimizer.lr": ("0.01", "0.03")}
    assert differences(first, first.replace({"train.seed": 7})) == {}


def last_rung(study: Study, *histories: list[tuple[EpochRow, ...]]) -> RungAnalysis:
    return analyse(made_result(study, histories), test_images=TEST_IMAGES).rungs[-1]


def seeds(level: float, *, train: float, step: float = 0.01) -> list[tuple[EpochRow, ...]]:
    return [made_rows([level + step * seed] * 15, train=train) for seed in range(3)]


def titles(rung: RungAnalysis) -> list[str]:
    return [suggestion.title for suggestion in rung.next_steps]


def test_what_helped_is_not_undone() -> None:
    """Nothing over-fits and training accuracy is short, yet dropout was shown to help."""
    study = study_of(PLAIN, DROPOUT, ROTATION)
    low, high = seeds(99.0, train=99.1), seeds(99.2, train=99.1, step=0.02)
    helped = last_rung(study, low, high, high)
    assert helped.number == 3
    assert "Without dropout" not in titles(helped)
    nothing = last_rung(study, high, high, high)
    assert "Without dropout" in titles(nothing)


def test_what_stands_against_another_rung_is_no_steps_effect() -> None:
    """Of an unfinished study, rung 3 is held against rung 1: dropout gets no credit for both."""
    study = study_of(PLAIN, ROTATION, DROPOUT, STEP)
    low, high = seeds(99.0, train=99.1), seeds(99.2, train=99.1, step=0.02)
    whole = made_result(study, [low, low, high, high])
    part = replace(whole, rungs=(whole.rungs[0], *whole.rungs[2:]))
    for result, against in ((whole, 2), (part, 1)):
        *_, third, fourth = analyse(result, test_images=TEST_IMAGES).rungs
        assert third.effect is not None
        assert (third.effect.against, third.effect.final.verdict) == (against, "better")
        assert ("Without dropout" in titles(fourth)) == (against == 1)


def test_what_hurt_is_not_suggested_again() -> None:
    """Dropout was worse, was taken back, and the network still over-fits a little."""
    study = study_of(PLAIN, DROPOUT, PLAIN)
    good, bad = seeds(99.0, train=99.3), seeds(98.8, train=99.0, step=0.02)
    again = last_rung(study, good, bad, good)
    assert not any("dropout" in title for title in titles(again))
    # Anything else is.
    assert titles(again)[0].startswith("Rotate")
    assert titles(last_rung(study_of(PLAIN), good))[0] == "A little dropout in every block"


def test_no_rate_goes_back_and_forth() -> None:
    """Too low at 0.01, too high at 0.03: three times lower is what has been measured."""
    study = study_of(PLAIN, {"train.optimizer.lr": 0.03})
    calm = [made_rows([98.0] * 15, train=98.0)]
    wild = [made_rows([98.0, 98.9, 97.7] * 5, train=98.0, lr=0.03)]
    rung = last_rung(study, calm, wild)
    assert any(found.verdict == "too high" for found in rung.findings)
    assert "A lower learning rate" not in titles(rung)
    alone = last_rung(study_of({**PLAIN, "train.optimizer.lr": 0.03}), wild)
    assert titles(alone)[0] == "A lower learning rate"


def test_the_notebooks_suggestions_name_the_rungs_that_follow() -> None:
    rungs = analyse(notebook_result(), test_images=TEST_IMAGES).rungs
    following = [
        {s.title: s.reason.partition("; ")[2] for s in rung.next_steps if "; " in s.reason}
        for rung in rungs
    ]
    dropout, rotation = (
        "A little dropout in every block",
        ("Rotate the training images by up to 7 degrees"),
    )
    scheduler = "Step scheduler for the last third"
    assert following == [
        {dropout: "rung 2 tries it", rotation: "rung 3 tries it", scheduler: "rung 4 tries it"},
        {rotation: "rung 3 tries it", scheduler: "rung 4 tries it"},
        {
            scheduler: "rung 4 tries it",
            "Without dropout": "rung 2 did the opposite (one seed, nothing can be concluded)",
        },
    ]
