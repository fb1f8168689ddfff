"""What a study concludes about its seeds: what they show, and how many would show more."""

from __future__ import annotations

import re

import numpy as np
import pytest
from scipy import stats

from kilonet.analysis import StudyAnalysis, analyze
from kilonet.analysis.power import detectable_difference
from ladders import FOUR_STAGES, TEST_IMAGES, made_result, made_rows, notebook_result

STUDY = FOUR_STAGES


def analyzed(*finals: list[float], images: int = TEST_IMAGES) -> StudyAnalysis:
    histories = [[made_rows([final] * 5) for final in stage] for stage in finals]
    return analyze(made_result(STUDY, histories, test_images=images), test_images=images)


def conclusion(analysis: StudyAnalysis, start: str) -> str:
    [found] = [sentence for sentence in analysis.conclusions if sentence.startswith(start)]
    return found


def test_stages_that_share_the_highest_mean_are_all_named() -> None:
    means = ([99.0, 99.2], [98.0, 98.1], [99.1, 99.1])
    assert conclusion(analyzed(*means), "The highest") == (
        "The highest mean final accuracy is stage 1's (Batch normalization) and stage 3's "
        "(Rotation), 99.10%: picked by test accuracy, so a little optimistic."
    )


def test_one_seed_says_how_many_would_do() -> None:
    analysis = analyze(notebook_result(), test_images=TEST_IMAGES)
    found = analysis.sensitivity
    # √(0.9932 · 0.0068 / 10,000) = 0.0822 points, Wilson's a little more; times 1.2.
    assert found.assumed
    assert found.sd == pytest.approx(1.2 * 0.08218, rel=3e-3)
    assert (found.wanted, found.comparisons, found.detectable) == (0.05, 5, None)
    # And the noncentral t at 0.05 / 5 says 80 % from that many seeds on, not one fewer.
    n = found.seeds_for_wanted
    for seeds, enough in ((n, True), (n - 1, False)):
        limit = stats.t.isf(0.005, seeds - 1)
        reached = stats.nct.sf(limit, seeds - 1, 0.05 / found.sd * seeds**0.5)
        assert (reached >= 0.8) == enough
    text = conclusion(analysis, "5 seeds show a difference of")
    assert text.startswith("5 seeds show a difference of 0.26 points in 80% of studies")
    # Up to 50 seeds are named.
    assert (f"; one of 0.05 points takes about {n} seeds." in text) == (n <= 50)
    assert "a standard deviation of 0.10 points, 1.2 binomial errors: assumed" in text
    assert "add --seeds 5; finished runs are kept" in conclusion(analysis, "One seed a stage")


def test_several_seeds_say_what_they_would_show() -> None:
    # Stages × seeds: without their means the rows are (0, 0, 0), (−1, 0, 1) and (1, 0, −1) tenths,
    # and seeds have no mean left. Four squares of 0.01 over four degrees of freedom, twice: 0.02.
    analysis = analyzed([99.0] * 3, [99.0, 99.1, 99.2], [99.3, 99.2, 99.1])
    found = analysis.sensitivity
    assert not found.assumed
    assert found.sd == pytest.approx(0.02**0.5)
    assert found.detectable is not None
    text = conclusion(analysis, "3 seeds show")
    assert "standard deviation of 0.14 points, pooled over the stages" in text
    # A difference of 0.05 points takes more seeds than anybody would train.
    assert found.seeds_for_wanted > 50
    shown = f"{found.detectable:.2f} points in 80% of studies, corrected for 5 comparisons."
    assert text.startswith(f"3 seeds show a difference of {shown}")


def test_what_five_seeds_would_show() -> None:
    analysis = analyze(notebook_result(), test_images=TEST_IMAGES)
    found = analysis.sensitivity
    shown = detectable_difference(sd=found.sd, n=5, level=found.level)
    conclusion(analysis, f"5 seeds show a difference of {shown:.2f} points")
    # Equal differences leave the spread to be assumed, but these are more than one seed.
    conclusion(analyzed([99.0] * 2, [99.0] * 2), "2 seeds show a difference of")


@pytest.mark.parametrize(
    ("right", "images"), [(500, 500), (499, 500), (0, 500), (5, 5), (0, 5), (120, 120), (7, 9)]
)
def test_no_error_is_not_certainty(right: int, images: int) -> None:
    """SciPy's Wilson interval, at 0 and at 100 % too."""
    accuracy = 100 * right / images
    text = analyzed([accuracy, accuracy], images=images).conclusions[-1]
    ends = stats.binomtest(right, images).proportion_ci(method="wilson")
    assert f"in [{100 * ends.low:.2f}, {100 * ends.high:.2f}] (95%, Wilson)" in text


class TestSeedsForThisDifference:
    """Not for some other one: two seeds, +6.40 and +4.70."""

    FOUND = analyzed([80.0, 80.0], [86.4, 84.7])

    def test_the_conclusion(self) -> None:
        assert conclusion(self.FOUND, "2 seeds are too few") == (
            "2 seeds are too few for stage 2's +5.55: --seeds 4 would show it in 80% of studies; "
            "finished runs are kept."
        )
        assert not any("0.05 points" in sentence for sentence in self.FOUND.conclusions)

    def test_simulated_studies(self) -> None:
        """Normal differences of this mean and spread, t-tested at 0.05 / 5."""
        shown = {}
        for n in (3, 4):
            drawn = np.random.default_rng(n).normal(5.55, 1.70 / 2**0.5, (20_000, n))
            shown[n] = (stats.ttest_1samp(drawn, 0.0, axis=1).pvalue < 0.01).mean()
        assert shown[3] < 0.8 <= shown[4]

    def test_several_at_once(self) -> None:
        """With the spread of all three stages, by hand and by SciPy's noncentral t."""
        text = conclusion(analyzed([80.0, 80.0], [86.4, 84.7], [85.0, 84.0]), "2 seeds are too few")
        # Stages × seeds leave ±0.45, ±0.40 and ±0.05: twice 0.73 over two degrees of freedom. It
        # counts for four, the own differences' variances 1.445 and 0.245 for one.
        for mean, own, needed in ((5.55, 1.445, 3), (-1.05, 0.245, 10)):
            sd = ((own + 4 * 0.73) / 5) ** 0.5
            for n in (needed - 1, needed):
                freedom = min(n - 1 + 4, 2 * (n - 1))
                limit, shift = stats.t.isf(0.01 / 2, freedom), abs(mean) / sd * n**0.5
                assert (stats.nct.sf(limit, freedom, shift) >= 0.8) == (n == needed)
        more = "too few for some changes: --seeds 3 would show stage 2's +5.55 in 80% of studies, "
        assert more + "--seeds 10 stage 3's -1.05; finished runs are kept." in text

    def test_not_for_what_is_shown_or_too_small(self) -> None:
        shown = analyzed([98.0, 98.5, 99.0], [98.2, 98.71, 99.19])
        tiny = analyzed([98.0, 98.5, 99.0], [98.2, 98.3, 99.01])
        for analysis in (shown, tiny, analyzed([99.0], [99.5]), analyzed([99.0] * 2, [99.1] * 2)):
            assert not any("too few for" in sentence for sentence in analysis.conclusions)


def test_few_images_want_no_less_than_one() -> None:
    assert analyzed([80.0], [81.0], images=500).sensitivity.wanted == pytest.approx(0.2)
    # Without an error Wilson's is half an image; a whole one is the least.
    assert analyzed([100.0], [100.0]).sensitivity.sd == pytest.approx(1.2 * 0.01)


def test_seeds_beyond_counting() -> None:
    analysis = analyzed([10.0, 50.0, 90.0], [90.0, 10.0, 50.0])
    assert analysis.sensitivity.seeds_for_wanted == 10_000
    conclusion(analysis, "3 seeds are too few to show any difference")


def test_a_bootstrap_agrees_or_the_report_says_so() -> None:
    even = [99.20, 99.25, 99.22, 99.28, 99.24]
    agreed = analyzed(even, even)
    assert "and a bootstrap agrees with them" in conclusion(agreed, "5 seeds a stage")
    assert not any("a bootstrap puts" in sentence for sentence in agreed.conclusions)
    uneven = [99.20, 99.21, 99.22, 99.19, 99.20, 99.21, 99.18, 99.22, 99.20, 98.60]
    apart = analyzed(uneven)
    text = conclusion(apart, "Stage 1: a bootstrap puts")
    ends = re.findall(r"\d\d\.\d\d", text)
    final = apart.stages[0].final
    assert final.bootstrap95 is not None
    assert final.ci95 is not None
    assert ends == [f"{end:.2f}" for end in (*final.bootstrap95, *final.ci95)]
    assert "agrees" not in conclusion(apart, "10 seeds a stage")


def test_a_stage_without_an_interval_does_not_silence_the_others() -> None:
    even = [99.20, 99.25, 99.22, 99.28, 99.24]
    text = conclusion(analyzed(even, [99.3] * 5), "5 seeds a stage")
    assert "and a bootstrap agrees with them" in text


def test_two_seeds_have_no_bootstrap_to_agree() -> None:
    assert "bootstrap" not in " ".join(analyzed([99.0, 99.1], [99.2, 99.1]).conclusions)
