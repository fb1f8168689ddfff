"""A rate too high or too low, on both sides of each threshold, and in trainings that were run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest

from kilonet.analysis import Finding, RungAnalysis, analyse
from kilonet.record import EpochRow
from kilonet.spec import Study, load_study
from ladders import TEST_IMAGES, made_result, made_rows, notebook_result

STUDY = load_study("mnist-8k")

# At 99 % on 10,000 images the binomial error is 0.0995 points.
ERROR = 0.0995


def rung_of(*runs: tuple[EpochRow, ...], study: Study = STUDY) -> RungAnalysis:
    return analyse(made_result(study, [runs]), test_images=TEST_IMAGES).rungs[0]


def learning_rate(rung: RungAnalysis) -> Finding | None:
    return next((found for found in rung.findings if found.kind == "learning rate"), None)


def with_losses(rows: tuple[EpochRow, ...], losses: Sequence[float]) -> tuple[EpochRow, ...]:
    return tuple(replace(row, train_loss=loss) for row, loss in zip(rows, losses, strict=True))


def falling(train: Sequence[float], *, share: float, lr: float = 0.001) -> tuple[EpochRow, ...]:
    """Losses that fall by ``share`` over the last five epochs; test accuracy as training's."""
    rows = made_rows(train, train=train, lr=lr)
    end = [1 - share * i / 4 for i in range(5)]
    return with_losses(rows, [2 - i / 10 for i in range(len(rows) - 5)] + end)


class TestTooHigh:
    STILL = made_rows([99.0] * 10, train=99.0)

    @pytest.mark.parametrize(("rise", "told"), [(1.21, True), (1.19, False)])
    def test_diverging(self, rise: float, told: bool) -> None:
        # made_rows has losses in step with the training error: both rise.
        train = [90.0, 92.5, 95.0, 100 - 5 * rise] + [95.0] * 6
        found = learning_rate(rung_of(made_rows([99.0] * 10, train=train)))
        assert (found is not None) == told
        if found is not None:
            assert found.verdict == "too high"
            assert found.sentence == (
                "The learning rate of 0.01 looks too high: the training loss rose, to 1.2 times "
                "its lowest before, in epoch 3, and the training error with it."
            )

    # At 99 % of as many images as test the binomial error is 0.0995 points, and 4 are 0.398.
    @pytest.mark.parametrize(("rise", "told"), [(1.405, True), (1.39, False)])
    def test_a_few_images_more_do_not_diverge(self, rise: float, told: bool) -> None:
        train = [98.0, 98.5, 99.0, 100 - rise] + [99.0] * 6
        assert (learning_rate(rung_of(made_rows([99.0] * 10, train=train))) is not None) == told

    def test_a_loss_that_rises_alone_is_none(self) -> None:
        losses = [0.1, 0.05, 0.1, 0.04, 0.03, 0.09, 0.02, 0.02, 0.02, 0.02]
        assert learning_rate(rung_of(with_losses(self.STILL, losses))) is None
        train = [99.0, 98.0] * 5
        rows = with_losses(made_rows([99.0] * 10, train=train), [0.1] * 10)
        assert learning_rate(rung_of(rows)) is None

    @pytest.mark.parametrize(("factor", "told"), [(1.11, True), (1.09, False)])
    def test_worse_than_guessing(self, factor: float, told: bool) -> None:
        losses = [factor * math.log(10), *[0.1] * 9]
        found = learning_rate(rung_of(with_losses(self.STILL, losses)))
        assert (found is not None) == told
        if found is not None:
            assert "training loss was 2.56, more than the 2.30 of guessing" in found.sentence

    @pytest.mark.parametrize(("error", "told"), [(2.01, True), (1.99, False)])
    def test_jumping(self, error: float, told: bool) -> None:
        test = [99.0, 99.0, 100 - error, *[99.0] * 7]
        found = learning_rate(rung_of(made_rows(test, train=99.0)))
        assert (found is not None) == told
        if found is not None:
            assert "test accuracy jumped, from 99.00% to 97.99% in epoch 2" in found.sentence
            assert "an error 2.0 times as large" in found.sentence

    # At 99.9 % the binomial error is 0.0316 points: a jump must be 4 of them, 0.126 points.
    @pytest.mark.parametrize(("error", "told"), [(0.23, True), (0.22, False)])
    def test_a_few_images_are_no_jump(self, error: float, told: bool) -> None:
        test = [99.9, 100 - error, *[99.9] * 8]
        assert (learning_rate(rung_of(made_rows(test, train=99.9))) is not None) == told

    # ±s alternating over five epochs moves 1.1547 · s about its line; 2 errors are 0.199 points and
    # a fifth of the test error of 1 % as much.
    @pytest.mark.parametrize(("swing", "told"), [(0.175, True), (0.171, False)])
    def test_moving_throughout(self, swing: float, told: bool) -> None:
        last = [99.0 + swing, 99.0 - swing, 99.0, 99.0 - swing, 99.0 + swing]
        found = learning_rate(rung_of(made_rows([99.0] * 5 + last, train=99.0)))
        assert (found is not None) == told
        if found is not None:
            assert "moves by 0.20 points about its trend, 2.0 times the test set's own error" in (
                found.sentence
            )
            assert "20% of the test error" in found.sentence

    # At 95 % a fifth of the test error is 1 point, far more than 2 binomial errors of 0.44.
    @pytest.mark.parametrize(("swing", "told"), [(0.88, True), (0.85, False)])
    def test_a_large_error_moves_more(self, swing: float, told: bool) -> None:
        last = [95.0 + swing, 95.0 - swing, 95.0, 95.0 - swing, 95.0 + swing]
        rows = made_rows([95.0] * 5 + last, train=95.0)
        assert (learning_rate(rung_of(rows)) is not None) == told

    @pytest.mark.parametrize(("share", "told"), [(0.09, True), (0.11, False)])
    def test_what_still_learns_steeply_is_not_held_up(self, share: float, told: bool) -> None:
        """Whatever test accuracy does meanwhile, at one epoch or throughout."""
        for test in ([99.0, 97.0, *[99.0] * 8], [99.0] * 5 + [99.2, 98.8, 99.0, 98.8, 99.2]):
            rows = made_rows(test, train=99.0)
            losses = [2 - i / 10 for i in range(5)] + [1 - share * i / 4 for i in range(5)]
            assert (learning_rate(rung_of(with_losses(rows, losses))) is not None) == told

    def test_a_loss_that_rose_is_told_though_it_falls_again(self) -> None:
        train = [98.0, 99.0, 90.0, 94.0, 95.0, 96.0, 97.0, 97.5, 98.0, 98.5]
        found = learning_rate(rung_of(made_rows([99.0] * 10, train=train)))
        assert found is not None
        assert "the training loss rose, to 10.0 times its lowest before" in found.sentence

    def test_a_steep_climb_is_no_movement(self) -> None:
        test = [20.0, 30.0, 40.0, 50.0, 55.0, 60.0, 90.0, 94.0, 95.0, 95.5]
        rows = with_losses(made_rows(test, train=test), [2.3 - i / 10 for i in range(10)])
        found = learning_rate(rung_of(rows))
        assert found is not None
        assert found.verdict == "too low"

    def test_most_seeds_have_to_show_it(self) -> None:
        jumps = made_rows([99.0, 97.0, *[99.0] * 8], train=99.0)
        assert learning_rate(rung_of(jumps, self.STILL)) is None
        found = learning_rate(rung_of(jumps, jumps, self.STILL))
        assert found is not None
        assert "jumped in 2 of 3 seeds" in found.sentence

    def test_the_answer_is_a_lower_rate(self) -> None:
        jumps = made_rows([99.0, 97.0, *[99.0] * 8], train=99.0)
        first = rung_of(jumps).next_steps[0]
        assert first.line == 'change = { "train.optimizer.lr" = 0.003 }'
        cycle = STUDY.to_dict()
        cycle["step"] = [
            {
                "name": "One cycle",
                "change": {"train.schedule": {"name": "onecycle", "max_lr": 0.3, "pct_start": 0.2}},
            }
        ]
        first = rung_of(jumps, study=Study.from_dict(cycle)).next_steps[0]
        assert first.change == {
            "train.schedule": {"name": "onecycle", "max_lr": 0.1, "pct_start": 0.2}
        }


class TestTooLow:
    CLIMB = tuple(90.0 + i / 2 for i in range(10))

    @pytest.mark.parametrize(("share", "told"), [(0.11, True), (0.09, False)])
    def test_steep(self, share: float, told: bool) -> None:
        found = learning_rate(rung_of(falling(self.CLIMB, share=share)))
        assert (found is not None) == told
        if found is not None:
            assert found.verdict == "too low"
            assert found.sentence == (
                "The learning rate of 0.001 looks too low for 10 epochs: training accuracy is only "
                "93.50%, while the training loss still fell in each of the last 5, by 11% from "
                "1.000 to 0.890."
            )

    def test_what_has_learned_is_not_told(self) -> None:
        # 98.8 % is twice the error that the target allows: no more than that fits.
        fits = [97.0] * 5 + [98.81] * 5
        assert learning_rate(rung_of(falling(fits, share=0.3))) is None
        assert learning_rate(rung_of(falling([97.0] * 5 + [98.79] * 5, share=0.3))) is not None

    def test_a_plateau_is_not_told(self) -> None:
        assert learning_rate(rung_of(falling([95.0] * 10, share=0.3))) is None

    def test_every_epoch_has_to_fall(self) -> None:
        rows = falling(self.CLIMB, share=0.3)
        bumpy = [*rows[:7], replace(rows[7], train_loss=rows[6].train_loss), *rows[8:]]
        assert learning_rate(rung_of(tuple(bumpy))) is None

    # At 98 % the binomial error is 0.14 points.
    @pytest.mark.parametrize(("fall", "told"), [(0.13, True), (0.15, False)])
    def test_noise_is_no_smooth_climb(self, fall: float, told: bool) -> None:
        climb = [95.0] * 5 + [97.9, 98.1, 98.1 - fall, 98.0, 98.1]
        assert (learning_rate(rung_of(falling(climb, share=0.3))) is not None) == told

    # At 90 % the binomial error is 0.3 points; a twentieth of the test error of 10.02 % is 0.501.
    @pytest.mark.parametrize(("fall", "told"), [(0.49, True), (0.52, False)])
    def test_large_errors_move_more(self, fall: float, told: bool) -> None:
        climb = [80.0] * 5 + [89.8, 90.3, 90.3 - fall, 90.0, 90.3]
        assert (learning_rate(rung_of(falling(climb, share=0.3))) is not None) == told

    # From ln 10 = 2.3026 to 1.9 it is 0.4026, and a fifth of that is 0.0805, 4 % of the loss.
    @pytest.mark.parametrize(("fall", "told"), [(0.082, True), (0.079, False)])
    def test_what_has_hardly_begun_is_not_steep_yet(self, fall: float, told: bool) -> None:
        losses = [2.3, 2.2, 2.1, 2.05, 2.0] + [1.9 + fall * (4 - i) / 4 for i in range(5)]
        rows = with_losses(made_rows(self.CLIMB, train=self.CLIMB, lr=0.001), losses)
        found = learning_rate(rung_of(rows))
        assert (found is not None) == told
        if found is not None:
            assert found.verdict == "too low"
            assert "by 4% from 1.982 to 1.900" in found.sentence

    @pytest.mark.parametrize(("last", "told"), [(0.0005, True), (0.0004, False)])
    def test_a_rate_that_was_lowered_is_not_told(self, last: float, told: bool) -> None:
        rows = falling(self.CLIMB, share=0.3)
        lowered = (*rows[:-1], replace(rows[-1], lr=last))
        assert (learning_rate(rung_of(lowered)) is not None) == told

    def test_too_short_to_say(self) -> None:
        assert learning_rate(rung_of(falling([90.0] * 5, share=0.5))) is None

    def test_the_answer_is_a_higher_rate(self) -> None:
        first = rung_of(falling(self.CLIMB, share=0.3)).next_steps[0]
        assert (first.title, first.change) == (
            "A higher learning rate",
            {"train.optimizer.lr": 0.03},
        )
        assert "at 0.001 the training loss still fell by 30%" in first.reason

    def test_nor_is_a_lower_one_at_the_end(self) -> None:
        """A climb that bends fluctuates about a straight line; no scheduler is to settle it."""
        climb = [60.0, 70.0, 80.0, 84.0, 87.0, 89.0, 90.5, 90.3, 91.9, 92.0]
        rung = rung_of(falling(climb, share=0.3))
        assert any(found.verdict == "fluctuates" for found in rung.findings)
        assert not any("chedul" in step.title for step in rung.next_steps[:-1])


class TestStuck:
    # Ten classes guessed with equal probabilities: ln 10 = 2.3026, and 0.98 of it is 2.2565.
    @pytest.mark.parametrize(("lowest", "told"), [(2.26, True), (2.25, False)])
    def test_threshold(self, lowest: float, told: bool) -> None:
        rows = with_losses(made_rows([10.3] * 10, train=10.4), [2.3] * 8 + [lowest, 2.3])
        rung = rung_of(rows)
        found = learning_rate(rung)
        assert (found is not None) == told
        if found is not None:
            assert found.verdict == "stuck"
            assert "came down to 2.26, where equal probabilities have 2.30" in found.sentence
            titles = [step.title for step in rung.next_steps]
            assert titles[:2] == ["A higher learning rate", "A lower learning rate"]
            # What never started to learn says nothing of its width, and is not to learn faster.
            assert "One-cycle schedule" not in titles
            assert not any(other.kind == "width" for other in rung.findings)


def test_the_notebooks_rate_is_in_order() -> None:
    """0.01, with the last batch's losses, which jump."""
    for rung in analyse(notebook_result(), test_images=TEST_IMAGES).rungs:
        assert learning_rate(rung) is None
