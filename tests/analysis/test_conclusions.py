"""What a study concludes about its seeds: what they show, and how many would show more."""

from __future__ import annotations

import re

import pytest
from scipy import stats

from kilonet.analysis import StudyAnalysis, analyse
from kilonet.analysis.ladder import num_comparisons
from kilonet.analysis.power import detectable_difference, seeds_needed
from kilonet.spec import load_study
from ladders import TEST_IMAGES, made_result, made_rows, notebook_result

STUDY = load_study("mnist-8k")


def analysed(*finals: list[float], images: int = TEST_IMAGES) -> StudyAnalysis:
    histories = [[made_rows([final] * 5) for final in rung] for rung in finals]
    return analyse(made_result(STUDY, histories), test_images=images)


def conclusion(analysis: StudyAnalysis, start: str) -> str:
    [found] = [sentence for sentence in analysis.conclusions if sentence.startswith(start)]
    return found


@pytest.mark.parametrize(("rungs", "comparisons"), [(1, 1), (2, 1), (3, 3), (4, 5), (10, 17)])
def test_comparisons_of_a_ladder(rungs: int, comparisons: int) -> None:
    assert num_comparisons(rungs) == comparisons


def test_rungs_that_share_the_highest_mean_are_all_named() -> None:
    means = ([99.0, 99.2], [98.0, 98.1], [99.1, 99.1])
    assert conclusion(analysed(*means), "The highest") == (
        "The highest mean final accuracy is rung 1's (Batch normalisation) and rung 3's "
        "(Rotation), 99.10%: picked by test accuracy, so a little optimistic."
    )


def test_one_seed_says_how_many_would_do() -> None:
    analysis = analyse(notebook_result(), test_images=TEST_IMAGES)
    found = analysis.sensitivity
    # √(0.9932 · 0.0068 / 10,000) = 0.0822 points, times 1.2.
    assert found.assumed
    assert found.sd == pytest.approx(1.2 * 0.08218, rel=1e-3)
    assert (found.wanted, found.comparisons, found.detectable) == (0.05, 5, None)
    # And the noncentral t at 0.05 / 5 says 80 % from that many seeds on, not one fewer.
    n = found.seeds_for_wanted
    for seeds, enough in ((n, True), (n - 1, False)):
        limit = stats.t.isf(0.005, seeds - 1)
        reached = stats.nct.sf(limit, seeds - 1, 0.05 / found.sd * seeds**0.5)
        assert (reached >= 0.8) == enough
    text = conclusion(analysis, "Corrected for 5 comparisons")
    assert f"0.05 points takes about {n} seeds a rung to be shown in 80% of studies" in text
    assert "assumes paired differences with a standard deviation of 0.10 points" in text


def test_several_seeds_say_what_they_would_show() -> None:
    # Differences ±0.1 about 0.1 with sd 0.1, then ±0.2 with sd 0.2: pooled √(0.025) = 0.158.
    analysis = analysed([99.0] * 3, [99.0, 99.1, 99.2], [99.3, 99.2, 99.1])
    found = analysis.sensitivity
    assert not found.assumed
    assert found.steps == 2
    assert found.sd == pytest.approx(0.025**0.5)
    assert found.detectable is not None
    text = conclusion(analysis, "Paired differences")
    assert "standard deviation of 0.16 points, pooled over 2 steps" in text
    assert f"; 3 seeds show {found.detectable:.2f} points as often." in text


def test_the_range_of_seeds_is_that_of_the_spread() -> None:
    """By the chi-square distribution, with fewer degrees of freedom as two steps share a rung."""
    analysis = analysed([99.0] * 3, [99.0, 99.1, 99.2], [99.3, 99.2, 99.1])
    found = analysis.sensitivity
    # Two steps of three seeds: 4 degrees of freedom, times 2 / (2 + 1/2).
    freedom = 4 * 2 / 2.5
    ends = [found.sd * (freedom / stats.chi2.ppf(p, freedom)) ** 0.5 for p in (0.975, 0.025)]
    assert found.sd95 == pytest.approx(ends)
    assert found.sd95 is not None
    expected = tuple(seeds_needed(0.05, sd=end, level=0.01) for end in found.sd95)
    assert found.seeds_for_wanted95 == expected
    low, high = expected
    assert low < found.seeds_for_wanted < high
    text = conclusion(analysis, "Paired differences")
    assert text.endswith(f"it may take as few as {low:,} seeds or as many as {high:,}.")


def test_what_five_seeds_would_show() -> None:
    analysis = analyse(notebook_result(), test_images=TEST_IMAGES)
    found = analysis.sensitivity
    assert (found.sd95, found.seeds_for_wanted95) == (None, None)
    shown = detectable_difference(sd=found.sd, n=5, level=found.level)
    text = conclusion(analysis, "Corrected for 5 comparisons")
    assert f"; 5 seeds would show {shown:.2f} points as often; that assumes" in text
    # Equal differences leave the spread to be assumed, but these are more than one seed.
    assert "would show" not in conclusion(analysed([99.0] * 2, [99.0] * 2), "Corrected for 5")


def test_no_error_is_not_certainty() -> None:
    # The rule of three: 3 of 500 are 0.6 %, beyond which no error at all has a chance below 5 %.
    text = analysed([100.0, 100.0], images=500).conclusions[-1]
    assert "gets all of them right leaves room for an error of up to 0.60 points" in text
    assert pytest.approx(0.05, abs=0.001) == (1 - 0.006) ** 500
    assert "room for" not in analysed([99.8, 100.0], images=500).conclusions[-1]
    # Nor is it said where not one is right, though that leaves no binomial error either.
    assert "room for" not in analysed([0.0, 0.0], images=500).conclusions[-1]
    # Of few images: 0.05 = 0.55 ^ 5, about.
    assert "up to 45.07 points" in analysed([100.0], images=5).conclusions[-1]


def test_few_images_want_no_less_than_one() -> None:
    assert analysed([80.0], [81.0], images=500).sensitivity.wanted == pytest.approx(0.2)
    # Without an error there is no binomial one; an image is the least.
    assert analysed([100.0], [100.0]).sensitivity.sd == pytest.approx(1.2 * 0.01)


def test_seeds_beyond_counting() -> None:
    analysis = analysed([10.0, 50.0, 90.0], [90.0, 10.0, 50.0])
    assert "takes more than 10,000 seeds" in conclusion(analysis, "Paired differences")


def test_a_bootstrap_agrees_or_the_report_says_so() -> None:
    even = [99.20, 99.25, 99.22, 99.28, 99.24]
    agreed = analysed(even, even)
    assert "and a bootstrap agrees with them" in conclusion(agreed, "5 seeds a rung")
    assert not any("a bootstrap puts" in sentence for sentence in agreed.conclusions)
    uneven = [99.20, 99.21, 99.22, 99.19, 99.20, 99.21, 99.18, 99.22, 99.20, 98.60]
    apart = analysed(uneven)
    text = conclusion(apart, "Rung 1: a bootstrap puts")
    ends = re.findall(r"\d\d\.\d\d", text)
    final = apart.rungs[0].final
    assert final.bootstrap95 is not None
    assert final.ci95 is not None
    assert ends == [f"{end:.2f}" for end in (*final.bootstrap95, *final.ci95)]
    assert "Student's t is used, which" in text
    assert "agrees" not in conclusion(apart, "10 seeds a rung")


def test_a_rung_without_an_interval_does_not_silence_the_others() -> None:
    even = [99.20, 99.25, 99.22, 99.28, 99.24]
    text = conclusion(analysed(even, [99.3] * 5), "5 seeds a rung")
    assert "and a bootstrap agrees with them" in text


def test_two_seeds_have_no_bootstrap_to_agree() -> None:
    assert "bootstrap" not in " ".join(analysed([99.0, 99.1], [99.2, 99.1]).conclusions)
