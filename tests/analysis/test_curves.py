"""Target, fit, gap, trend and fluctuation, on both sides of their thresholds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kilonet.analysis import Finding, Kind, StageAnalysis, Verdict, analyze
from kilonet.spec import Study
from kilonet.storage.record import EpochRow
from ladders import FOUR_STAGES, TEST_IMAGES, made_result, made_rows

STUDY = FOUR_STAGES

# At 99 % on 10,000 images the binomial error is √(0.99 · 0.01 / 10,000) = 0.0995 points.
ERROR = 0.0995


def stage_of(*runs: tuple[EpochRow, ...], study: Study = STUDY) -> StageAnalysis:
    return analyze(made_result(study, [runs]), test_images=TEST_IMAGES).stages[0]


def finding(stage: StageAnalysis, kind: Kind) -> Finding:
    return next(found for found in stage.findings if found.kind == kind)


class TestTarget:
    def test_reached_means_the_last_three_epochs(self) -> None:
        held = finding(stage_of(made_rows([99.0] * 7 + [99.4] * 3)), Kind.TARGET)
        assert held.verdict is Verdict.REACHED
        touched = finding(stage_of(made_rows([99.0] * 8 + [99.5, 99.3])), Kind.TARGET)
        assert touched.verdict is Verdict.NOT_REACHED
        assert touched.figures == {
            "reached": 0, "seeds": 1, "target": 99.4, "short": pytest.approx(0.1)
        }  # fmt: skip
        assert "10 images of 10,000" in touched.sentence
        assert "the best epoch had 99.50%" in touched.sentence

    def test_the_last_epoch_alone_is_not_enough(self) -> None:
        found = finding(stage_of(made_rows([99.0] * 9 + [99.45])), Kind.TARGET)
        assert found.verdict is Verdict.NOT_REACHED
        assert found.figures["short"] == pytest.approx(-0.05)

    @pytest.mark.parametrize("levels", [(99.5, 99.3, 99.3), (99.6, 99.3), (99.9, 99.3, 99.3)])
    def test_by_some_seeds(self, levels: tuple[float, ...]) -> None:
        """Whether the mean is above the target or below it."""
        found = finding(stage_of(*[made_rows([level] * 10) for level in levels]), Kind.TARGET)
        assert found.verdict is Verdict.REACHED_BY_SOME
        assert (found.figures["reached"], found.figures["seeds"]) == (1, len(levels))

    @pytest.mark.parametrize("epochs", [1, 2])
    @pytest.mark.parametrize("seeds", [1, 2])
    def test_too_short_to_say(self, epochs: int, seeds: int) -> None:
        found = finding(stage_of(*[made_rows([99.5] * epochs)] * seeds), Kind.TARGET)
        assert found.verdict is Verdict.TOO_SHORT
        assert finding(stage_of(made_rows([99.5] * 3)), Kind.TARGET).verdict is Verdict.REACHED

    @pytest.mark.parametrize(("final", "within"), [(99.35, True), (99.30, False)])
    def test_short_by_less_than_the_binomial_error(self, final: float, within: bool) -> None:
        sentence = finding(stage_of(made_rows([final] * 10)), Kind.TARGET).sentence
        assert ("less than the binomial error" in sentence) == within


class TestFit:
    # The target of 99.4 % allows an error of 0.6 %; underfitting is more than twice that.
    @pytest.mark.parametrize(("train", "verdict"), [(98.81, "fits"), (98.79, "underfits")])
    def test_threshold(self, train: float, verdict: str) -> None:
        found = finding(stage_of(made_rows([98.0] * 10, train=train)), Kind.FIT)
        assert found.verdict == verdict
        assert found.figures["train_accuracy"] == pytest.approx(train)

    # One epoch's mean lags far behind the network at its end; test accuracy does not.
    @pytest.mark.parametrize(("test", "verdict"), [(98.81, "fits"), (98.79, "underfits")])
    def test_a_network_learns_what_it_can_test(self, test: float, verdict: str) -> None:
        found = finding(stage_of(made_rows([test] * 10, train=90.0)), Kind.FIT)
        assert found.verdict == verdict
        assert (found.figures["train_accuracy"], found.figures["test_accuracy"]) == (90.0, test)

    # A target of 60 % allows 40 %, and twice that would excuse anything: 5 points more is enough.
    @pytest.mark.parametrize(("train", "verdict"), [(55.1, "fits"), (54.9, "underfits")])
    def test_a_low_target(self, train: float, verdict: str) -> None:
        study = STUDY.replace({"target": 60.0})
        stage = stage_of(made_rows([50.0] * 10, train=train), study=study)
        assert finding(stage, Kind.FIT).verdict == verdict

    def test_a_target_of_all_is_not_underfitted_by_one_image(self) -> None:
        study = STUDY.replace({"target": 100.0})
        rows = made_rows([99.99] * 10, train=99.99)
        assert finding(stage_of(rows, study=study), Kind.FIT).verdict == "fits"

    def test_says_what_makes_training_harder(self) -> None:
        result = made_result(STUDY, [[made_rows([99.0] * 10)] for _ in range(3)])
        stages = analyze(result, test_images=TEST_IMAGES).stages
        sentences = [finding(stage, Kind.FIT).sentence for stage in stages]
        assert "(with" not in sentences[0]
        assert "(with dropout on)" in sentences[1]
        assert "(with dropout and augmentation on)" in sentences[2]


class TestGap:
    @pytest.mark.parametrize(
        ("gap", "verdict"),
        [
            (ERROR + 0.001, "overfits a little"),
            (ERROR - 0.001, "closed"),
            (0.001 - ERROR, "closed"),
            (-0.001 - ERROR, "reversed"),
            (0.49, "overfits a little"),  # 49 % of the test error of 1 %
            (0.51, "overfits"),
        ],
    )
    def test_thresholds(self, gap: float, verdict: str) -> None:
        found = finding(stage_of(made_rows([99.0] * 10, train=99.0 + gap)), Kind.GAP)
        assert found.verdict == verdict
        assert found.figures["gap"] == pytest.approx(gap)

    @pytest.mark.parametrize(("gap", "verdict"), [(4.9, "overfits a little"), (5.1, "overfits")])
    def test_many_points_are_never_a_little(self, gap: float, verdict: str) -> None:
        assert (
            finding(stage_of(made_rows([50.0] * 10, train=50.0 + gap)), Kind.GAP).verdict == verdict
        )

    @pytest.mark.parametrize(
        ("step", "word"),
        # Material is half of the binomial error, 0.05 points.
        [(0.06, "widening"), (0.04, "steady"), (-0.06, "narrowing")],
    )
    def test_trend(self, step: float, word: str) -> None:
        train = [99.3] * 5 + [99.3 + step] * 5
        found = finding(stage_of(made_rows([99.0] * 10, train=train)), Kind.GAP)
        assert f"it is {word}" in found.sentence
        assert found.figures["gap_change"] == pytest.approx(step)

    def test_trend_needs_more_than_its_own_noise(self) -> None:
        # A rise of 0.1 is material, but not against a swing of 0.4: 2 standard errors are 0.28.
        swing = [0.2, -0.2, 0.2, -0.2, 0.0]
        train = [99.3 + s for s in swing] + [99.4 + s for s in swing]
        found = finding(stage_of(made_rows([99.0] * 10, train=train)), Kind.GAP)
        assert "it is not shown to change (+0.30" in found.sentence

    # It passes from below zero to zero, about, and to more than one binomial error.
    @pytest.mark.parametrize(
        ("before", "last", "word"),
        [
            (98.0, 98.5, "closing from below"),
            (98.5, 99.05, "closing from below"),
            (98.5, 99.15, "widening"),
        ],
    )
    def test_catching_up_is_not_called_widening(
        self, before: float, last: float, word: str
    ) -> None:
        found = finding(stage_of(made_rows([99.0] * 10, train=[before] * 5 + [last] * 5)), Kind.GAP)
        assert f"it is {word}" in found.sentence

    def test_no_over_fitting_is_said_with_what_hides_it(self) -> None:
        """Dropout and augmentation lower the training accuracy that the gap is measured with."""
        result = made_result(STUDY, [[made_rows([99.0] * 10, train=98.5)] for _ in range(3)])
        sentences = [
            finding(stage, Kind.GAP).sentence
            for stage in analyze(result, test_images=10_000).stages
        ]
        assert "lower" not in sentences[0]
        assert sentences[1].endswith("dropout lowers training accuracy.")
        assert sentences[2].endswith("dropout and augmentation lower training accuracy.")
        # Where it over-fits all the same, there is nothing to explain.
        result = made_result(STUDY, [[made_rows([99.0] * 10, train=99.5)] for _ in range(2)])
        stage = analyze(result, test_images=10_000).stages[1]
        assert "lowers" not in finding(stage, Kind.GAP).sentence


class TestTrend:
    @pytest.mark.parametrize(
        ("step", "verdict"), [(0.06, "improving"), (0.04, "level"), (-0.06, "falling")]
    )
    def test_thresholds(self, step: float, verdict: str) -> None:
        found = finding(stage_of(made_rows([99.0] * 5 + [99.0 + step] * 5)), Kind.TREND)
        assert found.verdict == verdict
        assert found.figures["change"] == pytest.approx(step)

    # Four of five epochs 0.2 off: variance 0.04 a window, standard error √(2 · 0.04 / 5) = 0.1265.
    @pytest.mark.parametrize(("step", "verdict"), [(0.26, "improving"), (0.25, "level")])
    def test_against_its_own_noise(self, step: float, verdict: str) -> None:
        swing = [0.2, -0.2, 0.2, -0.2, 0.0]
        last = [s + step for s in (0.2, -0.2, 0.0, 0.2, -0.2)]
        test = [99.0 + s for s in swing + last]
        found = finding(stage_of(made_rows(test)), Kind.TREND)
        assert found.figures["error"] == pytest.approx(0.016**0.5)
        assert found.verdict == verdict

    # Alternating, with 0.06 points, which are material here, between the windows.
    @pytest.mark.parametrize(("step", "plateau"), [(0.04, True), (0.06, False)])
    def test_noise_is_no_plateau(self, step: float, plateau: bool) -> None:
        swing = [0.2, -0.2, 0.2, -0.2, 0.0]
        test = [99.0 + s for s in swing] + [99.0 + step + s for s in swing]
        found = finding(stage_of(made_rows(test)), Kind.TREND)
        assert found.verdict is Verdict.LEVEL
        assert found.sentence.startswith("On a plateau") == plateau

    def test_without_a_change_there_is_no_direction(self) -> None:
        found = finding(stage_of(made_rows([99.0] * 10)), Kind.TREND)
        assert ", 99.00%, is as high as in the 5 before (standard error" in found.sentence

    def test_says_when_the_budget_is_spent(self) -> None:
        rows = made_rows([98.5] * 10 + [99.0] * 5)
        sentence = finding(stage_of(rows), Kind.TREND).sentence
        assert "the budget has no epochs left" in sentence
        free = STUDY.replace({"budget.epochs": 20})
        assert "budget" not in finding(stage_of(rows, study=free), Kind.TREND).sentence

    # The rate fell with the last window: what it gained is not what more epochs would gain. Rising
    # in a straight line the window has no error of its own; material is 0.05 points.
    @pytest.mark.parametrize(
        ("rise", "verdict"), [(0.0, "level"), (0.04, "level"), (0.06, "improving")]
    )
    def test_after_the_rate_fell(self, rise: float, verdict: str) -> None:
        last = [99.2 + rise * i / 4 for i in range(5)]
        before = made_rows([99.0] * 5)
        after = (replace(row, epoch=row.epoch + 5, lr=0.001) for row in made_rows(last))
        found = finding(stage_of((*before, *after)), Kind.TREND)
        assert found.verdict == verdict
        assert found.figures["change"] == pytest.approx(rise)
        # At a constant rate the same rows still improve.
        assert finding(stage_of(made_rows([99.0] * 5 + last)), Kind.TREND).verdict == "improving"

    def test_too_short(self) -> None:
        found = finding(stage_of(made_rows([99.0] * 5)), Kind.TREND)
        assert found.verdict == "too short to say"


class TestFluctuation:
    # ±s alternating over five epochs about a flat line: the residual variance is 4·s² / 3, so the
    # movement is 1.1547·s; material is 0.04975 points.
    @pytest.mark.parametrize(("swing", "verdict"), [(0.044, "fluctuates"), (0.042, "settled")])
    def test_threshold(self, swing: float, verdict: str) -> None:
        last = [99.0 + swing, 99.0 - swing, 99.0, 99.0 - swing, 99.0 + swing]
        found = finding(stage_of(made_rows([99.0] * 5 + last)), Kind.FLUCTUATION)
        assert found.figures["movement"] == pytest.approx(1.1547 * swing, rel=1e-4)
        assert found.verdict == verdict
        assert found.figures["binomial_error"] == pytest.approx(ERROR, rel=1e-2)

    def test_a_climb_is_not_a_fluctuation(self) -> None:
        found = finding(stage_of(made_rows([98.0 + 0.1 * i for i in range(10)])), Kind.FLUCTUATION)
        assert found.verdict == "settled"
        assert found.sentence.startswith("Does not fluctuate: ")
        level = finding(stage_of(made_rows([98.0] * 10)), Kind.FLUCTUATION)
        assert level.sentence.startswith("Settled: ")

    # The first window bends: about a straight line it moves, but it never falls by the 0.06 points
    # that are material here (half of √(0.985 · 0.015 / 10,000) = 0.12).
    @pytest.mark.parametrize(("fall", "verdict"), [(0.0, "climbs"), (0.05, "climbs")])
    def test_a_climb_that_bends_is_none_either(self, fall: float, verdict: str) -> None:
        rows = made_rows([90.0] * 4 + [97.0, 98.3, 98.8, 98.8 - fall])
        found = finding(stage_of(rows), Kind.FLUCTUATION)
        assert found.verdict == verdict
        assert found.figures["movement"] > 0.2  # type: ignore[operator]
        stage = stage_of(rows)
        assert not any("scheduler" in suggestion.title for suggestion in stage.suggestions)

    def test_a_fall_that_is_material_is_one(self) -> None:
        found = finding(
            stage_of(made_rows([90.0] * 4 + [97.0, 98.3, 98.8, 98.7])), Kind.FLUCTUATION
        )
        assert found.verdict == "fluctuates"

    def test_says_whether_the_learning_rate_is_still_high(self) -> None:
        swinging = [99.0, 99.3] * 5
        assert "still at its peak of 0.01" in (
            finding(stage_of(made_rows(swinging)), Kind.FLUCTUATION).sentence
        )
        rows = made_rows(swinging[:8]) + tuple(
            EpochRow(**{**vars(row), "epoch": row.epoch + 8, "lr": 0.001})
            for row in made_rows(swinging[8:])
        )
        assert "peak" not in finding(stage_of(rows), Kind.FLUCTUATION).sentence

    def test_too_short(self) -> None:
        found = finding(stage_of(made_rows([99.0, 99.1])), Kind.FLUCTUATION)
        assert found.verdict == "too short to say"
