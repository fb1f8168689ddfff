"""Every rule on both sides of its threshold, on histories made for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from scipy import stats

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


def second_rung(before: list[list[float]], after: list[list[float]], **trains: Any) -> RungAnalysis:
    histories = [
        [made_rows(run, train=trains.get("train_before", 99.0)) for run in before],
        [made_rows(run, train=trains.get("train_after", 99.0)) for run in after],
    ]
    return analyse(made_result(STUDY, histories), test_images=TEST_IMAGES).rungs[1]


class TestTarget:
    def test_reached_means_the_last_three_epochs(self) -> None:
        held = finding(rung_of(made_rows([99.0] * 7 + [99.4] * 3)), "target")
        assert held.verdict == "reached"
        touched = finding(rung_of(made_rows([99.0] * 8 + [99.5, 99.3])), "target")
        assert touched.verdict == "not reached"
        assert "0.10 points short of 99.40%, 10 images of 10,000" in touched.sentence
        assert "touched 99.50%, but it was not held" in touched.sentence

    def test_the_last_epoch_alone_is_not_enough(self) -> None:
        found = finding(rung_of(made_rows([99.0] * 9 + [99.45])), "target")
        assert found.verdict == "not reached"
        assert "final accuracy 99.45%, but below 99.40% before the end" in found.sentence

    def test_by_some_seeds(self) -> None:
        runs = [made_rows([level] * 10) for level in (99.5, 99.3, 99.3)]
        found = finding(rung_of(*runs), "target")
        assert found.verdict == "reached by some"
        assert "by 1 of 3 seeds" in found.sentence

    @pytest.mark.parametrize("epochs", [1, 2])
    @pytest.mark.parametrize("seeds", [1, 2])
    def test_too_short_to_tell(self, epochs: int, seeds: int) -> None:
        found = finding(rung_of(*[made_rows([99.5] * epochs)] * seeds), "target")
        assert found.verdict == "too short to say"
        assert "too short to tell" in found.sentence
        assert "final accuracy 99.50%, target 99.40%" in found.sentence
        assert "below" not in found.sentence
        assert finding(rung_of(made_rows([99.5] * 3)), "target").verdict == "reached"

    def test_a_mean_above_the_target_hides_no_seed(self) -> None:
        runs = [made_rows([level] * 10) for level in (99.6, 99.3)]
        found = finding(rung_of(*runs), "target")
        assert found.verdict == "reached by some"
        assert found.sentence == (
            "Target reached by 1 of 2 seeds in each of the last three epochs: mean final accuracy "
            "99.45%, but 1 seed was below 99.40% in at least one of its last three epochs."
        )
        runs = [made_rows([level] * 10) for level in (99.9, 99.3, 99.3)]
        sentence = finding(rung_of(*runs), "target").sentence
        assert "2 seeds were below 99.40% in at least one of their last three epochs" in sentence

    def test_both_seeds_or_all(self) -> None:
        held = made_rows([99.5] * 10)
        assert "by both seeds:" in finding(rung_of(held, held), "target").sentence
        assert "by all 3 seeds:" in finding(rung_of(held, held, held), "target").sentence

    def test_before_the_end_is_said_of_seeds_that_end_above(self) -> None:
        held, late = made_rows([99.5] * 10), made_rows([99.0] * 9 + [99.4])
        sentence = finding(rung_of(held, late), "target").sentence
        assert "mean final accuracy 99.45%, but below 99.40% before the end in 1 seed" in sentence
        found = finding(rung_of(late, late, late), "target")
        assert found.verdict == "not reached"
        assert "99.40%, but below 99.40% before the end in 3 seeds" in found.sentence

    @pytest.mark.parametrize(("final", "within"), [(99.35, True), (99.30, False)])
    def test_short_by_less_than_the_test_set_can_tell(self, final: float, within: bool) -> None:
        sentence = finding(rung_of(made_rows([final] * 10)), "target").sentence
        assert ("less than the test set's own error" in sentence) == within


class TestRobustness:
    STILL = [99.0] * 10

    @pytest.mark.parametrize(("train", "verdict"), [(99.14, "more robust"), (99.16, "alike")])
    def test_gap(self, train: float, verdict: str) -> None:
        rung = second_rung([self.STILL], [self.STILL], train_before=99.2, train_after=train)
        assert finding(rung, "robustness").verdict == verdict

    @pytest.mark.parametrize(
        ("ratio", "verdict"),
        [(0.79, "more robust"), (0.81, "alike"), (1.24, "alike"), (1.26, "less robust")],
    )
    def test_movement(self, ratio: float, verdict: str) -> None:
        swing = [0.1, -0.1] * 5
        before = [99.0 + s for s in swing]
        after = [99.0 + ratio * s for s in swing]
        rung = second_rung([before], [after], train_before=before, train_after=after)
        assert finding(rung, "robustness").verdict == verdict

    def test_the_fall_of_the_rate_is_no_movement(self) -> None:
        """Where it fell, the last window alone is looked at: there the accuracy has settled."""
        swing = [0.1, -0.1, 0.1, -0.1, 0.1]
        noisy = [99.0 + s for s in swing]
        before = made_rows(noisy * 2, train=99.0)
        settled = made_rows([*noisy, *[99.3 + s / 10 for s in swing]], train=99.0)
        lowered = tuple(replace(row, lr=0.001) if row.epoch >= 5 else row for row in settled)
        result = made_result(STUDY, [[before], [lowered]])
        found = finding(analyse(result, test_images=TEST_IMAGES).rungs[1], "robustness")
        assert found.sentence == (
            "Trains more robustly (is steadier): over the last 5 epochs the gap went from -0.02 to "
            "-0.30 points, the movement between epochs from 0.13 to 0.01 (one seed: "
            "another may say otherwise)."
        )

    def test_chance_is_told_where_it_does_as_much(self) -> None:
        """An F test: the movements of two seeds over ten epochs have 2 · 8 degrees of freedom."""
        swing = [0.1, -0.1] * 5

        def sentence(ratio: float, *, seeds: int) -> str:
            before = [[99.0 + s for s in swing]] * seeds
            after = [[99.0 + ratio * s for s in swing]] * seeds
            rung = second_rung(before, after)
            return finding(rung, "robustness").sentence

        # F(16, 16): 2 · P(F < 0.7²) = 0.165; for 0.5² it is 0.0085.
        expected = 2 * stats.f.cdf(0.7**2, 16, 16)
        assert f"chance alone changes the movement as much in {expected:.0%} of cases" in (
            sentence(0.7, seeds=2)
        )
        assert "chance" not in sentence(0.5, seeds=2)
        # With eight seeds the same ratio is no chance.
        assert "chance" not in sentence(0.7, seeds=8)
        assert "one seed: another may say otherwise; chance" in sentence(0.7, seeds=1)

    @pytest.mark.parametrize(("p", "told"), [(0.051, True), (0.049, False)])
    def test_how_much_chance_is_told(self, p: float, told: bool) -> None:
        ratio = stats.f.ppf(p / 2, 16, 16) ** 0.5
        swing = [0.1, -0.1] * 5
        before, after = ([[99.0 + r * s for s in swing]] * 2 for r in (1.0, ratio))
        found = finding(second_rung(before, after), "robustness")
        assert found.figures["chance"] == pytest.approx(p)
        assert ("chance alone" in found.sentence) == told

    def test_a_gap_that_narrows_by_how_it_is_measured(self) -> None:
        rung = second_rung([self.STILL] * 2, [self.STILL] * 2, train_before=99.4, train_after=99.1)
        assert finding(rung, "robustness").sentence.endswith(
            "(measured with dropout on, training accuracy is lower by itself)."
        )
        # The fourth rung has dropout and rotation from before: its step adds neither.
        histories = [[made_rows(self.STILL, train=train)] * 2 for train in (99.4, 99.4, 99.4, 99.1)]
        last = analyse(made_result(STUDY, histories), test_images=TEST_IMAGES).rungs[3]
        assert "over-fits less" in finding(last, "robustness").sentence
        assert "by itself" not in finding(last, "robustness").sentence

    def test_no_better_is_not_said_where_the_last_epochs_are_shown_to_be(self) -> None:
        """The final epoch alone is no better; the mean of the last five is."""
        before = [[99.0] * 10, [99.01] * 10, [99.02] * 10]
        after = [
            [99.0] * 5 + [99.1 + s / 100] * 4 + [99.02 + d] for s, d in enumerate([0, 0.03, 0])
        ]
        rung = second_rung(before, after, train_before=99.6, train_after=99.1)
        assert rung.effect is not None
        assert (rung.effect.final.verdict, rung.effect.last_five.verdict) == (
            "no difference shown",
            "better",
        )
        assert "no better" not in finding(rung, "robustness").sentence

    def test_less_accurate_does_not_contradict_the_effect(self) -> None:
        before = [[99.0] * 10, [99.1] * 10, [99.2] * 10]
        after = [[98.9] * 10, [99.1] * 10, [99.0] * 10]
        rung = second_rung(before, after, train_before=99.6, train_after=99.1)
        assert finding(rung, "effect").verdict == "no difference shown"
        assert finding(rung, "robustness").sentence.startswith(
            "Less accurate by 0.10 points (not shown), so nothing is gained in robustness:"
        )

    def test_runs_of_different_length_name_both(self) -> None:
        rung = second_rung([[99.0] * 6], [[99.0] * 10])
        assert "over the last 6 and 10 epochs the gap" in finding(rung, "robustness").sentence

    def test_says_in_which_way(self) -> None:
        def said(**trains: float) -> str:
            return finding(second_rung([self.STILL], [self.STILL], **trains), "robustness").sentence

        assert said(train_before=99.4, train_after=99.2).startswith(
            "Trains more robustly (over-fits less), but no better:"
        )
        assert said(train_before=99.2, train_after=99.4).startswith(
            "Trains less robustly (over-fits more):"
        )
        still, moving = [99.2] * 10, [99.1, 99.3] * 5
        rung = second_rung([still], [moving], train_before=still, train_after=moving)
        assert "less robustly (is less steady):" in finding(rung, "robustness").sentence
        rung = second_rung([still], [moving], train_before=99.5, train_after=moving)
        assert finding(rung, "robustness").sentence.startswith("Over-fits less, but is less steady")
        rung = second_rung([moving], [[99.3] * 10], train_before=moving, train_after=99.6)
        assert finding(rung, "robustness").sentence.startswith("Steadier, but over-fits more")

    def test_no_better_is_said_too(self) -> None:
        rung = second_rung([self.STILL], [self.STILL], train_before=99.4, train_after=99.1)
        assert "(over-fits less), but no better" in finding(rung, "robustness").sentence
        rung = second_rung([self.STILL], [[99.2] * 10], train_before=99.4, train_after=99.3)
        assert "no better" not in finding(rung, "robustness").sentence

    def test_a_wrecked_network_is_not_praised(self) -> None:
        rung = second_rung([self.STILL], [[90.0] * 10], train_before=99.3, train_after=80.0)
        found = finding(rung, "robustness")
        assert found.verdict == "less accurate"
        assert found.sentence.startswith("Less accurate by 9.00 points, so nothing is gained")
        assert "from +0.30 to -10.00 points" in found.sentence

    # Material is 0.05 points.
    @pytest.mark.parametrize(
        ("final", "verdict"), [(98.96, "more robust"), (98.94, "less accurate")]
    )
    def test_what_a_smaller_gap_may_cost(self, final: float, verdict: str) -> None:
        rung = second_rung([self.STILL], [[final] * 10], train_before=99.4, train_after=99.0)
        assert finding(rung, "robustness").verdict == verdict

    def test_worse_in_every_seed_is_not_praised_either(self) -> None:
        before = [[99.0] * 10, [99.1] * 10, [99.2] * 10]
        after = [[99.0] * 9 + [98.96], [99.1] * 9 + [99.061], [99.2] * 9 + [99.159]]
        rung = second_rung(before, after, train_before=99.6, train_after=99.1)
        assert finding(rung, "effect").verdict == "worse"
        assert finding(rung, "robustness").verdict == "less accurate"

    def test_a_gap_below_zero_is_no_gap(self) -> None:
        rung = second_rung([self.STILL], [self.STILL], train_before=99.0, train_after=97.0)
        assert finding(rung, "robustness").verdict == "alike"
        rung = second_rung([self.STILL], [self.STILL], train_before=97.0, train_after=99.0)
        assert finding(rung, "robustness").verdict == "alike"


def test_every_sentence_has_figures_and_ends() -> None:
    for run in (
        [99.0] * 15,
        [90.0 + i / 2 for i in range(15)],
        [99.5, 98.0] * 7,
        [99.0],
        [50.0] * 4,
    ):
        for found in second_rung([run], [run]).findings:
            assert found.sentence.endswith(".")
            assert any(character.isdigit() for character in found.sentence)
            assert "\n" not in found.sentence
            assert "nan" not in found.sentence
