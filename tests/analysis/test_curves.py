"""Fit, gap, trend and fluctuation on both sides of their thresholds, on histories made for it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kilonet.analysis import Finding, RungAnalysis, analyse
from kilonet.record import EpochRow
from kilonet.spec import Study, load_study
from ladders import TEST_IMAGES, made_result, made_rows

STUDY = load_study("mnist-8k")

# At 99 % on 10,000 images the binomial error is √(0.99 · 0.01 / 10,000) = 0.0995 points.
ERROR = 0.0995


def rung_of(*runs: tuple[EpochRow, ...], study: Study = STUDY) -> RungAnalysis:
    return analyse(made_result(study, [runs]), test_images=TEST_IMAGES).rungs[0]


def finding(rung: RungAnalysis, kind: str) -> Finding:
    return next(found for found in rung.findings if found.kind == kind)


class TestFit:
    # The target of 99.4 % allows an error of 0.6 %; underfitting is more than twice that.
    @pytest.mark.parametrize(("train", "verdict"), [(98.81, "fits"), (98.79, "underfits")])
    def test_threshold(self, train: float, verdict: str) -> None:
        found = finding(rung_of(made_rows([98.0] * 10, train=train)), "fit")
        assert found.verdict == verdict
        assert f"{train:.2f}%" in found.sentence

    # One epoch's mean lags far behind the network at its end; test accuracy does not.
    @pytest.mark.parametrize(
        ("test", "verdict", "sentence"),
        [
            (
                98.81,
                "fits",
                (
                    "Fits the training images well: training accuracy 90.00% over the last 5 "
                    "epochs (test accuracy is higher, 98.81%)."
                ),
            ),
            (
                98.79,
                "underfits",
                (
                    "Underfits: training accuracy 90.00% over the last 5 epochs (test accuracy is "
                    "higher, 98.79%), at best an error 2.0 times what the target allows."
                ),
            ),
        ],
    )
    def test_a_network_learns_what_it_can_test(
        self, test: float, verdict: str, sentence: str
    ) -> None:
        found = finding(rung_of(made_rows([test] * 10, train=90.0)), "fit")
        assert (found.verdict, found.sentence) == (verdict, sentence)

    # A target of 60 % allows 40 %, and twice that would excuse anything: 5 points more is enough.
    @pytest.mark.parametrize(("train", "verdict"), [(55.1, "fits"), (54.9, "underfits")])
    def test_a_low_target(self, train: float, verdict: str) -> None:
        study = STUDY.replace({"target": 60.0})
        rung = rung_of(made_rows([50.0] * 10, train=train), study=study)
        assert finding(rung, "fit").verdict == verdict

    def test_a_target_of_all_is_not_underfitted_by_one_image(self) -> None:
        study = STUDY.replace({"target": 100.0})
        rows = made_rows([99.99] * 10, train=99.99)
        assert finding(rung_of(rows, study=study), "fit").verdict == "fits"

    def test_says_what_makes_training_harder(self) -> None:
        result = made_result(STUDY, [[made_rows([99.0] * 10)] for _ in range(3)])
        rungs = analyse(result, test_images=TEST_IMAGES).rungs
        sentences = [finding(rung, "fit").sentence for rung in rungs]
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
        found = finding(rung_of(made_rows([99.0] * 10, train=99.0 + gap)), "gap")
        assert found.verdict == verdict
        assert found.figures["gap"] == pytest.approx(gap)
        assert f"{abs(gap):.2f}" in found.sentence

    @pytest.mark.parametrize(("gap", "verdict"), [(4.9, "overfits a little"), (5.1, "overfits")])
    def test_many_points_are_never_a_little(self, gap: float, verdict: str) -> None:
        assert finding(rung_of(made_rows([50.0] * 10, train=50.0 + gap)), "gap").verdict == verdict

    @pytest.mark.parametrize(
        ("step", "word"),
        # Material is half of the binomial error, 0.05 points.
        [(0.06, "widening"), (0.04, "steady"), (-0.06, "narrowing")],
    )
    def test_trend(self, step: float, word: str) -> None:
        train = [99.3] * 5 + [99.3 + step] * 5
        found = finding(rung_of(made_rows([99.0] * 10, train=train)), "gap")
        assert word in found.sentence
        assert found.figures["widening"] == (word == "widening")

    def test_trend_needs_more_than_its_own_noise(self) -> None:
        # A rise of 0.1 is material, but not against a swing of 0.4: 2 standard errors are 0.28.
        swing = [0.2, -0.2, 0.2, -0.2, 0.0]
        train = [99.3 + s for s in swing] + [99.4 + s for s in swing]
        found = finding(rung_of(made_rows([99.0] * 10, train=train)), "gap")
        assert "steady" in found.sentence

    def test_catching_up_is_not_called_widening(self) -> None:
        train = [98.0] * 5 + [98.5] * 5
        sentence = finding(rung_of(made_rows([99.0] * 10, train=train)), "gap").sentence
        assert "still closing from below" in sentence
        # Nor where it has just passed zero, within what the test set can tell.
        found = finding(rung_of(made_rows([99.0] * 10, train=[98.5] * 5 + [99.05] * 5)), "gap")
        assert "it has closed from below (-0.50 in the 5 before)" in found.sentence
        assert found.figures["widening"] == 0
        # Beyond that it is over-fitting that grows.
        found = finding(rung_of(made_rows([99.0] * 10, train=[98.5] * 5 + [99.15] * 5)), "gap")
        assert "it is widening" in found.sentence

    def test_no_over_fitting_is_said_with_what_hides_it(self) -> None:
        """Dropout and augmentation lower the training accuracy that the gap is measured with."""
        result = made_result(STUDY, [[made_rows([99.0] * 10, train=98.5)] for _ in range(3)])
        sentences = [
            finding(rung, "gap").sentence for rung in analyse(result, test_images=10_000).rungs
        ]
        assert "measured with" not in sentences[0]
        assert sentences[1].endswith("is measured with dropout on, which lowers it.")
        assert sentences[2].endswith("measured with dropout and augmentation on, which lowers it.")
        # Where it over-fits all the same, there is nothing to hedge.
        result = made_result(STUDY, [[made_rows([99.0] * 10, train=99.5)] for _ in range(2)])
        rung = analyse(result, test_images=10_000).rungs[1]
        assert "which lowers it" not in finding(rung, "gap").sentence


class TestTrend:
    @pytest.mark.parametrize(
        ("step", "verdict"), [(0.06, "improving"), (0.04, "level"), (-0.06, "falling")]
    )
    def test_thresholds(self, step: float, verdict: str) -> None:
        found = finding(rung_of(made_rows([99.0] * 5 + [99.0 + step] * 5)), "trend")
        assert found.verdict == verdict
        assert f"{abs(step):.2f}" in found.sentence

    # Four of five epochs 0.2 off: variance 0.04 a window, standard error √(2 · 0.04 / 5) = 0.1265.
    @pytest.mark.parametrize(("step", "verdict"), [(0.26, "improving"), (0.25, "level")])
    def test_against_its_own_noise(self, step: float, verdict: str) -> None:
        swing = [0.2, -0.2, 0.2, -0.2, 0.0]
        last = [s + step for s in (0.2, -0.2, 0.0, 0.2, -0.2)]
        test = [99.0 + s for s in swing + last]
        found = finding(rung_of(made_rows(test)), "trend")
        assert found.figures["error"] == pytest.approx(0.016**0.5)
        assert found.verdict == verdict

    def test_says_when_the_budget_is_spent(self) -> None:
        rows = made_rows([98.5] * 10 + [99.0] * 5)
        sentence = finding(rung_of(rows), "trend").sentence
        assert "epochs are spent, so it would have to learn more in these." in sentence
        free = STUDY.replace({"budget.epochs": 20})
        assert "spent" not in finding(rung_of(rows, study=free), "trend").sentence

    # The rate fell with the last window: what it gained is not what more epochs would gain. Rising
    # in a straight line the window has no error of its own; material is 0.05 points.
    @pytest.mark.parametrize(
        ("rise", "verdict"), [(0.0, "level"), (0.04, "level"), (0.06, "improving")]
    )
    def test_after_the_rate_fell(self, rise: float, verdict: str) -> None:
        last = [99.2 + rise * i / 4 for i in range(5)]
        before = made_rows([99.0] * 5)
        after = (replace(row, epoch=row.epoch + 5, lr=0.001) for row in made_rows(last))
        found = finding(rung_of((*before, *after)), "trend")
        assert found.verdict == verdict
        if verdict == "level":
            assert found.sentence.startswith("On a plateau at the lowered learning rate: the mean")
            moved = "0.00" if not rise else "+0.04"
            assert f"over these last 5 it moved by {moved} points" in found.sentence
        else:
            assert "; the learning rate fell meanwhile" in found.sentence
        # At a constant rate the same rows still improve.
        assert finding(rung_of(made_rows([99.0] * 5 + last)), "trend").verdict == "improving"

    def test_too_short(self) -> None:
        found = finding(rung_of(made_rows([99.0] * 5)), "trend")
        assert found.verdict == "too short to say"


class TestFluctuation:
    # ±s alternating over five epochs about a flat line: the residual variance is 4·s² / 3, so the
    # movement is 1.1547·s; material is 0.04975 points.
    @pytest.mark.parametrize(("swing", "verdict"), [(0.044, "fluctuates"), (0.042, "settled")])
    def test_threshold(self, swing: float, verdict: str) -> None:
        last = [99.0 + swing, 99.0 - swing, 99.0, 99.0 - swing, 99.0 + swing]
        found = finding(rung_of(made_rows([99.0] * 5 + last)), "fluctuation")
        assert found.figures["movement"] == pytest.approx(1.1547 * swing, rel=1e-4)
        assert found.verdict == verdict
        assert "0.10 by themselves" in found.sentence

    def test_a_climb_is_not_a_fluctuation(self) -> None:
        found = finding(rung_of(made_rows([98.0 + 0.1 * i for i in range(10)])), "fluctuation")
        assert found.verdict == "settled"

    # The first window bends: about a straight line it moves, but it never falls by the 0.06 points
    # that are material here (half of √(0.985 · 0.015 / 10,000) = 0.12).
    @pytest.mark.parametrize(("fall", "verdict"), [(0.0, "climbs"), (0.05, "climbs")])
    def test_a_climb_that_bends_is_none_either(self, fall: float, verdict: str) -> None:
        rows = made_rows([97.0, 98.3, 98.8, 98.8 - fall])
        found = finding(rung_of(rows), "fluctuation")
        assert found.verdict == verdict
        assert f"without a fall of more than {fall:.2f}" in found.sentence
        assert found.figures["movement"] > 0.2  # type: ignore[operator]
        rung = rung_of(rows)
        assert not any("scheduler" in suggestion.title for suggestion in rung.next_steps)

    def test_a_fall_that_is_material_is_one(self) -> None:
        found = finding(rung_of(made_rows([97.0, 98.3, 98.8, 98.7])), "fluctuation")
        assert found.verdict == "fluctuates"

    def test_says_whether_the_learning_rate_is_still_high(self) -> None:
        swinging = [99.0, 99.3] * 5
        assert "still at its peak of 0.01" in (
            finding(rung_of(made_rows(swinging)), "fluctuation").sentence
        )
        rows = made_rows(swinging[:8]) + tuple(
            EpochRow(**{**vars(row), "epoch": row.epoch + 8, "lr": 0.001})
            for row in made_rows(swinging[8:])
        )
        assert "peak" not in finding(rung_of(rows), "fluctuation").sentence

    def test_too_short(self) -> None:
        found = finding(rung_of(made_rows([99.0, 99.1])), "fluctuation")
        assert found.verdict == "too short to say"
