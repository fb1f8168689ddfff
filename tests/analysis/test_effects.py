"""A stage against another: the verdict, its figures and caveats; and robustness."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scipy import stats

from kilonet.analysis import Finding, Kind, StageAnalysis, Verdict, analyze
from kilonet.analysis.comparisons import num_comparisons
from kilonet.storage.provenance import DataInfo, Provenance
from ladders import FOUR_STAGES, TEST_IMAGES, made_result, made_rows

STUDY = FOUR_STAGES


def finding(stage: StageAnalysis, kind: Kind) -> Finding:
    return next(found for found in stage.findings if found.kind == kind)


def stages(*finals: list[float], epochs: int = 10) -> tuple[StageAnalysis, ...]:
    """A ladder whose stages' seeds have these accuracies from the first epoch to the last."""
    histories = [[made_rows([final] * epochs) for final in stage] for stage in finals]
    return analyze(made_result(STUDY, histories), test_images=TEST_IMAGES).stages


def effect(*finals: list[float], epochs: int = 10) -> Finding:
    return finding(stages(*finals, epochs=epochs)[-1], Kind.EFFECT)


def test_one_seed_concludes_nothing() -> None:
    found = effect([99.0], [99.5])
    assert found.verdict is Verdict.ONE_SEED
    assert found.figures["difference"] == pytest.approx(0.5)


def test_paired_by_seed() -> None:
    found = effect([98.0, 98.5, 99.0], [98.2, 98.71, 99.19])
    assert found.verdict is Verdict.BETTER
    assert found.sentence.count("better") == 2
    # Mean 0.2, sd 0.01; of the planned ladder's five comparisons the first is compared with 0.01:
    # t(0.995, 2) = 9.925, times 0.01 / √3 is 0.057.
    assert "99% interval [+0.14, +0.26], corrected p = 0.004" in found.sentence
    assert "would show" not in found.sentence


def test_what_the_seeds_would_have_shown() -> None:
    # Differences 0.1, 0.0, -0.1: nothing; sd 0.1, and the first comparison of five is compared
    # against 0.01. The power of 3.33 standard deviations there is 0.8 by the noncentral t.
    found = effect([98.0, 98.5, 99.0], [98.1, 98.5, 98.9])
    assert found.verdict is Verdict.NO_DIFFERENCE
    detectable = found.figures["detectable"]
    assert isinstance(detectable, float)
    assert f"With this spread 3 seeds would show {detectable:.2f} points" in found.sentence
    assert "takes more than" not in found.sentence  # there is no difference to show
    small = effect([98.0, 98.5, 99.0], [98.1, 98.5, 98.93])
    assert small.figures["seeds_needed"] > 50  # type: ignore[operator]
    assert "; +0.01 takes more than 50 seeds." in small.sentence
    wider = effect([98.0, 98.5, 99.0], [98.2, 98.5, 98.8]).figures["detectable"]
    assert wider == pytest.approx(2 * detectable)


def test_alone_it_would_be_shown() -> None:
    # Mean 0.2, sd 0.06: t = 5.77, p = 0.0287 alone, 0.143 as the first of five.
    found = effect([98.0, 98.5, 99.0], [98.14, 98.7, 99.26])
    assert found.verdict is Verdict.NO_DIFFERENCE
    assert found.figures["p_adjusted"] == pytest.approx(0.1436, abs=1e-3)
    assert "Alone it would be shown in the mean of the last 5 epochs (95% interval [+0.05" in (
        found.sentence
    )
    assert "as one of 5 comparisons it can be luck" in found.sentence


def test_the_sign_flip_test_is_named_where_it_disagrees() -> None:
    before = [98.0] * 6
    wild = effect(before, [98.05, 98.06, 98.04, 98.05, 98.06, 98.9])
    assert wild.verdict is Verdict.NO_DIFFERENCE
    assert "sign-flip test, which needs no normal distribution, has p = 0.031" in wild.sentence
    alike = effect(before, [98.05, 98.06, 98.04, 98.05, 98.06, 98.05])
    assert alike.verdict is Verdict.BETTER
    assert "sign-flip" not in alike.sentence


def test_an_end_close_to_zero_shows_its_side() -> None:
    # The ends' third digit says that zero is left out.
    found = effect([98.0] * 6, [98.005, 98.015, 98.02, 98.03, 98.03, 98.02])
    assert found.verdict is Verdict.BETTER
    assert "[+0.004, +0.04]" in found.sentence


def test_since_the_first_stage() -> None:
    ladder = stages([98.0, 98.5, 99.0], [98.2, 98.71, 99.19], [98.4, 98.91, 99.39])
    assert [stage.effect_on_first is None for stage in ladder] == [True, True, False]
    found = finding(ladder[2], Kind.SINCE_FIRST)
    assert found.verdict is Verdict.BETTER
    assert found.sentence.startswith(
        "Since stage 1, paired by seed: better in the mean of the last 5"
    )
    assert found.figures["difference"] == pytest.approx(0.4)
    assert finding(ladder[2], Kind.EFFECT).figures["difference"] == pytest.approx(0.2)


def test_a_verdict_depends_on_its_family() -> None:
    """In a study of two stages an effect is shown that one of five comparisons would not be."""
    before, after = [98.0, 98.5, 99.0], [98.14, 98.7, 99.26]
    histories = [[made_rows([final] * 10) for final in stage] for stage in (before, after)]
    data = STUDY.to_dict()
    data["stage"] = data["stage"][:2]
    small = type(STUDY).from_dict(data)
    found = finding(
        analyze(made_result(small, histories), test_images=TEST_IMAGES).stages[1], "effect"
    )
    assert found.verdict is Verdict.BETTER
    assert "95% interval [+0.05, +0.35], p = 0.029" in found.sentence
    assert "corrected" not in found.sentence


def test_equal_differences_are_said_to_be_so() -> None:
    found = effect([98.0, 98.0], [98.2, 98.2])
    assert found.verdict is Verdict.NO_DIFFERENCE
    assert "in every seed, so that the spread is unknown" in found.sentence


def test_a_change_without_any_effect() -> None:
    same = "Every seed has the same accuracy as before, as if nothing had changed."
    found = effect([98.0, 98.5], [98.0, 98.5])
    assert found.verdict is Verdict.NO_DIFFERENCE
    assert found.sentence.endswith(same)
    assert same not in effect([98.0, 98.5], [98.0, 98.51]).sentence


def test_seeds_without_a_partner() -> None:
    rows = made_rows([99.0] * 10)
    histories = [[rows, rows, rows], [rows, rows]]
    result = made_result(STUDY, histories, seeds=[(1, 2, 3), (2, 4)])
    stage = analyze(result, test_images=TEST_IMAGES).stages[1]
    assert stage.effect is not None
    assert stage.effect.unpaired == 3
    assert "3 seeds without a partner left out" in finding(stage, Kind.EFFECT).sentence


def test_short_runs_name_the_epochs_they_have() -> None:
    """Half the run, five at most; where that is under three, the final epoch alone."""
    for epochs, window in ((6, 3), (7, 3), (8, 4), (10, 5), (11, 5)):
        sentence = effect([99.0], [99.5], epochs=epochs).sentence
        assert f"in the mean of the last {window} epochs" in sentence
    for epochs in (1, 2, 3, 4, 5):
        for finals in (([99.0], [99.5]), ([99.0, 99.1], [99.5, 99.7])):
            assert "in the mean" not in effect(*finals, epochs=epochs).sentence


def test_runs_of_different_length_are_compared_over_as_many_epochs() -> None:
    """Six epochs that end with 98, 98.5 and 99; ten with 99, 99.5 and 100: 1.00 over three."""
    short = [made_rows([90.0] * 3 + [98.0, 98.5, 99.0])] * 2
    long = [made_rows([90.0] * 7 + [99.0, 99.5, 100.0])] * 2
    [_, stage] = analyze(made_result(STUDY, [short, long]), test_images=TEST_IMAGES).stages
    assert stage.effect is not None
    assert stage.effect.epochs == 3
    assert stage.effect.last_five.differences == pytest.approx((1.0, 1.0))
    # The stage's own mean is of its own last five.
    assert stage.last_five.mean == pytest.approx((90 + 90 + 99 + 99.5 + 100) / 5)


def test_other_test_images_make_no_pair() -> None:
    rows = [made_rows([99.0] * 10), made_rows([99.1] * 10)]
    result = made_result(STUDY, [rows, rows, rows])
    other = Provenance(data=DataInfo(sha256="99" * 32, test_images=500))
    records = tuple(replace(record, provenance=other) for record in result.stages[1].records)
    changed = (result.stages[0], replace(result.stages[1], records=records), result.stages[2])
    analysis = analyze(replace(result, stages=changed), test_images=TEST_IMAGES)
    second, third = analysis.stages[1:]
    for stage in (second, third):
        assert finding(stage, Kind.EFFECT).verdict is Verdict.OTHER_IMAGES
        assert not any(other.kind is Kind.ROBUSTNESS for other in stage.findings)
    # The first and the third stage have the same images.
    assert finding(third, Kind.SINCE_FIRST).verdict is Verdict.NO_DIFFERENCE
    assert [stage.measured.images for stage in analysis.stages] == [TEST_IMAGES, 500, TEST_IMAGES]
    assert analysis.conclusions[-1].startswith("The stages are measured on different images")
    assert not any("The highest" in sentence for sentence in analysis.conclusions)


def test_intervals_end_where_differences_do() -> None:
    found = effect([50.0, 50.0], [60.0, 40.0])
    assert found.figures["seeds_needed"] is None
    assert "0.00 points, 99% interval [-100.00, +100.00]" in found.sentence
    assert "With this spread 2 seeds are too few to show any difference." in found.sentence


def test_no_seed_in_common() -> None:
    rows = made_rows([99.0] * 10)
    result = made_result(STUDY, [[rows], [rows]], seeds=[(1,), (2,)])
    found = finding(analyze(result, test_images=TEST_IMAGES).stages[1], Kind.EFFECT)
    assert found.verdict is Verdict.NO_COMMON_SEED
    assert found.figures["pairs"] == 0


@pytest.mark.parametrize(("stages", "comparisons"), [(1, 1), (2, 1), (3, 3), (4, 5), (10, 17)])
def test_comparisons_of_a_ladder(stages: int, comparisons: int) -> None:
    assert num_comparisons(stages) == comparisons


def robustness(
    before: list[list[float]],
    after: list[list[float]],
    *,
    train_before: list[float] | float = 99.0,
    train_after: list[float] | float = 99.0,
) -> Finding:
    histories = [
        [made_rows(run, train=train_before) for run in before],
        [made_rows(run, train=train_after) for run in after],
    ]
    result = made_result(STUDY, histories)
    return finding(analyze(result, test_images=TEST_IMAGES).stages[1], Kind.ROBUSTNESS)


class TestRobustness:
    STILL = [99.0] * 10
    SWING = (*[0.1, -0.1] * 4, 0.1, 0.0)

    # Material at 99 % of 10,000 images is half of 0.0995 points. A gap below zero is none.
    @pytest.mark.parametrize(
        ("before", "after", "verdict"),
        [
            (99.2, 99.14, "more robust"),
            (99.2, 99.16, "alike"),
            (99.14, 99.2, "less robust"),
            (99.0, 97.0, "alike"),
            (97.0, 99.0, "alike"),
        ],
    )
    def test_gap(self, before: float, after: float, verdict: str) -> None:
        found = robustness([self.STILL], [self.STILL], train_before=before, train_after=after)
        assert found.verdict == verdict

    # An F test: the movements of two seeds over ten epochs but the first have 2 · 7 degrees of
    # freedom each.
    @pytest.mark.parametrize(("seeds", "freedom"), [(1, 7), (2, 14)])
    @pytest.mark.parametrize(("p", "shown"), [(0.049, True), (0.051, False)])
    def test_movement(self, seeds: int, freedom: int, p: float, shown: bool) -> None:
        ratio = stats.f.ppf(p / 2, freedom, freedom) ** 0.5
        before = [99.0 + s for s in self.SWING]
        after = [99.0 + ratio * s for s in self.SWING]
        for one, other, verdict in (
            (before, after, Verdict.MORE_ROBUST),
            (after, before, Verdict.LESS_ROBUST),
        ):
            # Training accuracy moves along, so that the gap is zero throughout.
            found = robustness([one] * seeds, [other] * seeds, train_before=one, train_after=other)
            assert found.figures["chance"] == pytest.approx(p)
            assert found.verdict is (verdict if shown else Verdict.ALIKE)

    # ±s about a line moves by about s; material is 0.05 points.
    @pytest.mark.parametrize(("size", "verdict"), [(0.6, "more robust"), (0.4, "alike")])
    def test_movement_that_is_not_material_is_none(self, size: float, verdict: str) -> None:
        moving = [99.0 + size * s for s in self.SWING]
        found = robustness([moving], [self.STILL], train_before=moving, train_after=self.STILL)
        assert found.verdict == verdict

    def test_no_movement_at_all(self) -> None:
        moving = [99.0 + s for s in self.SWING]
        found = robustness([moving], [self.STILL], train_before=moving, train_after=self.STILL)
        assert (found.verdict, found.figures["chance"]) == (Verdict.MORE_ROBUST, 0.0)
        found = robustness([self.STILL], [self.STILL])
        assert (found.verdict, found.figures["chance"]) == (Verdict.ALIKE, 1.0)

    def test_one_way_and_the_other(self) -> None:
        still, moving = [99.2] * 10, [99.1, 99.3] * 5
        found = robustness([still], [moving], train_before=99.5, train_after=moving)
        assert found.verdict is Verdict.MIXED

    def test_the_fall_of_the_rate_is_no_movement(self) -> None:
        """Where it fell, only the last window is measured: there the accuracy has settled."""
        swing = [0.1, -0.1, 0.1, -0.1, 0.1]
        noisy = [99.0 + s for s in swing]
        before = made_rows(noisy * 2, train=99.0)
        settled = made_rows([*noisy, *[99.3 + s / 10 for s in swing]], train=99.0)
        lowered = tuple(replace(row, lr=0.001) if row.epoch >= 5 else row for row in settled)
        result = made_result(STUDY, [[before], [lowered]])
        found = finding(analyze(result, test_images=TEST_IMAGES).stages[1], Kind.ROBUSTNESS)
        assert found.verdict is Verdict.MORE_ROBUST
        # ±0.1 about a line over five epochs, the mean 0.02 off.
        assert found.figures["movement_before"] == pytest.approx(0.1265, abs=1e-4)
        assert found.figures["movement_after"] == pytest.approx(0.01265, abs=1e-5)
        assert found.figures["gap_after"] == pytest.approx(-0.302)

    def test_what_was_added_lowers_training_accuracy(self) -> None:
        added = "dropout lowers training accuracy"
        still = [self.STILL] * 2
        found = robustness(still, still, train_before=99.4, train_after=99.1)
        assert added in found.sentence
        # The fourth stage has dropout and rotation from before: its change adds neither.
        histories = [[made_rows(self.STILL, train=train)] * 2 for train in (99.4, 99.4, 99.4, 99.1)]
        last = analyze(made_result(STUDY, histories), test_images=TEST_IMAGES).stages[3]
        assert finding(last, Kind.ROBUSTNESS).verdict is Verdict.MORE_ROBUST
        assert "training accuracy" not in finding(last, Kind.ROBUSTNESS).sentence

    def test_more_accurate_or_not(self) -> None:
        """The final epoch alone is not shown to be better; the mean of the last five is."""
        before = [[99.0 + seed / 100 + s for s in self.SWING] for seed in range(3)]
        rise = [0.0] * 5 + [0.1] * 4
        after = [
            [a + b + seed / 500 for a, b in zip(run, [*rise, last], strict=True)]
            for seed, (run, last) in enumerate(zip(before, [0.02, 0.04, 0.0], strict=True))
        ]
        found = robustness(before, after, train_before=99.6, train_after=99.1)
        assert found.verdict is Verdict.MORE_ROBUST
        assert "not shown to be more accurate" not in found.sentence
        found = robustness(before, before, train_before=99.6, train_after=99.1)
        assert "not shown to be more accurate" in found.sentence

    @pytest.mark.parametrize(
        ("after", "verdict"),
        [
            ([[90.0] * 10] * 3, "less accurate"),
            # By 0.1 points, not shown to be worse.
            ([[98.9] * 10, [99.1] * 10, [99.0] * 10], "less accurate"),
            ([[98.99] * 10, [99.09] * 10, [99.2] * 10], "more robust"),
        ],
    )
    def test_a_change_that_cost_accuracy_is_not_more_robust(
        self, after: list[list[float]], verdict: str
    ) -> None:
        before = [[99.0] * 10, [99.1] * 10, [99.2] * 10]
        train = after[0][0] - 0.3
        found = robustness(before, after, train_before=99.6, train_after=train)
        assert found.verdict == verdict

    def test_runs_of_different_length_name_both(self) -> None:
        found = robustness([[99.0] * 6], [[99.0] * 10])
        assert "over the last 5 and 9 epochs the gap" in found.sentence
