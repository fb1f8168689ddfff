"""A rate at which training diverges or is stuck, on both sides of each threshold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from kilonet.analysis import Finding, Kind, StageAnalysis, Verdict, analyze, measure_errors
from kilonet.spec import Study
from kilonet.storage.record import EpochRow
from ladders import FOUR_STAGES, TEST_IMAGES, made_result, made_rows, notebook_result

STUDY = FOUR_STAGES
STILL = made_rows([99.0] * 10, train=99.0)
RISES = made_rows([99.0] * 10, train=[90.0, 92.5, 95.0, 90.0, *[95.0] * 6])


def stage_of(*runs: tuple[EpochRow, ...], study: Study = STUDY) -> StageAnalysis:
    return analyze(made_result(study, [runs]), test_images=TEST_IMAGES).stages[0]


def learning_rate(stage: StageAnalysis) -> Finding | None:
    return next((found for found in stage.findings if found.kind is Kind.LEARNING_RATE), None)


def with_losses(rows: tuple[EpochRow, ...], losses: Sequence[float]) -> tuple[EpochRow, ...]:
    return tuple(replace(row, train_loss=loss) for row, loss in zip(rows, losses, strict=True))


class TestDiverging:
    @pytest.mark.parametrize(("rise", "found"), [(1.21, True), (1.19, False)])
    def test_threshold(self, rise: float, found: bool) -> None:
        # made_rows has losses in step with the training error: both rise.
        train = [90.0, 92.5, 95.0, 100 - 5 * rise] + [95.0] * 6
        rate = learning_rate(stage_of(made_rows([99.0] * 10, train=train)))
        assert (rate is not None) == found
        if rate is not None:
            assert rate.verdict is Verdict.DIVERGING
            assert rate.figures["rises"] == 1
            assert "to 1.2 times its lowest before, in epoch 3" in rate.sentence

    # At 99 % of as many images as test the binomial error is 0.0995 points, and 4 are 0.398.
    @pytest.mark.parametrize(("rise", "found"), [(1.405, True), (1.39, False)])
    def test_a_few_images_more_do_not_diverge(self, rise: float, found: bool) -> None:
        train = [98.0, 98.5, 99.0, 100 - rise] + [99.0] * 6
        rate = learning_rate(stage_of(made_rows([99.0] * 10, train=train)))
        assert (rate is not None) == found

    def test_loss_or_error_alone_is_not_enough(self) -> None:
        losses = [0.1, 0.05, 0.1, 0.04, 0.03, 0.09, 0.02, 0.02, 0.02, 0.02]
        assert learning_rate(stage_of(with_losses(STILL, losses))) is None
        rows = made_rows([99.0] * 10, train=[99.0, 98.0] * 5)
        assert learning_rate(stage_of(with_losses(rows, [0.1] * 10))) is None

    @pytest.mark.parametrize(("factor", "found"), [(1.11, True), (1.09, False)])
    def test_worse_than_guessing(self, factor: float, found: bool) -> None:
        losses = [factor * math.log(10), *[0.1] * 9]
        rate = learning_rate(stage_of(with_losses(STILL, losses)))
        assert (rate is not None) == found
        if rate is not None:
            assert rate.verdict is Verdict.DIVERGING
            assert rate.figures["first_loss"] == pytest.approx(losses[0])

    def test_test_accuracy_alone_shows_nothing(self) -> None:
        """However it jumps: with batch norm's running statistics, say."""
        assert learning_rate(stage_of(made_rows([99.0, 90.0] * 5, train=99.0))) is None

    def test_most_seeds_have_to_diverge(self) -> None:
        assert learning_rate(stage_of(RISES, STILL)) is None
        rate = learning_rate(stage_of(RISES, RISES, STILL))
        assert rate is not None
        assert "in 2 of 3 seeds" in rate.sentence

    def test_the_answer_is_a_lower_rate(self) -> None:
        first = stage_of(RISES).suggestions[0]
        assert first.line == 'change = { "train.optimizer.lr" = 0.003 }'
        assert "--find-lr" in first.reason
        cycle = STUDY.to_dict()
        schedule = {"name": "onecycle", "max_lr": 0.3, "pct_start": 0.2}
        cycle["stage"] = [{"name": "One cycle", "change": {"train.schedule": schedule}}]
        first = stage_of(RISES, study=Study.from_dict(cycle)).suggestions[0]
        assert first.change == {"train.schedule": {**schedule, "max_lr": 0.1}}


class TestStuck:
    # Ten classes guessed with equal probabilities: ln 10 = 2.3026, and 0.98 of it is 2.2565.
    @pytest.mark.parametrize(("lowest", "found"), [(2.26, True), (2.25, False)])
    def test_threshold(self, lowest: float, found: bool) -> None:
        rows = with_losses(made_rows([10.3] * 10, train=10.4), [2.3] * 8 + [lowest, 2.3])
        stage = stage_of(rows)
        rate = learning_rate(stage)
        assert (rate is not None) == found
        if rate is not None:
            assert rate.verdict is Verdict.STUCK
            assert rate.figures["lowest_loss"] == pytest.approx(2.26)
            titles = [suggestion.title for suggestion in stage.suggestions]
            assert titles[:2] == ["A higher learning rate", "A lower learning rate"]
            # What never started to learn shows nothing of its width, and is not to learn faster.
            assert "One-cycle schedule" not in titles
            assert not any(other.kind is Kind.WIDTH for other in stage.findings)

    @pytest.mark.parametrize("epochs", [1, 2, 5, 6])
    def test_a_run_without_a_window_has_barely_begun(self, epochs: int) -> None:
        rows = with_losses(made_rows([10.3] * epochs, train=10.4), [2.3] * epochs)
        study = STUDY.replace({"train.epochs": epochs})
        stage = stage_of(rows, study=study)
        rate = learning_rate(stage)
        assert rate is not None
        assert rate.verdict is (Verdict.STUCK if epochs == 6 else Verdict.TOO_SHORT)
        assert ("far off" in rate.sentence) == (epochs == 6)
        first = stage.suggestions[0].change
        assert ("train.epochs" if epochs < 6 else "train.optimizer.lr") in first

    @pytest.mark.parametrize("stuck", [True, False])
    def test_what_has_learned_something_is_not_stuck(self, stuck: bool) -> None:
        """Whatever the loss; always predicting the largest class is not to have learned."""
        labels = np.repeat(np.arange(10), [1135, *[985] * 9])
        predicted = labels * (not stuck)
        errors = measure_errors([np.eye(10)[predicted]], labels)
        rows = with_losses(made_rows([11.35 if stuck else 100.0] * 10, train=10.4), [2.3] * 10)
        study = Study.from_dict({**STUDY.to_dict(), "stage": STUDY.to_dict()["stage"][:1]})
        result = made_result(study, [[rows]])
        stage = analyze(result, test_images=TEST_IMAGES, errors=[errors]).stages[0]
        rate = learning_rate(stage)
        assert (rate is not None and rate.verdict is Verdict.STUCK) == stuck


def test_the_notebooks_rate_is_in_order() -> None:
    """0.01, with the last batch's losses, which jump."""
    for stage in analyze(notebook_result(), test_images=TEST_IMAGES).stages:
        assert learning_rate(stage) is None
