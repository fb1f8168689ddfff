"""What a study concludes about its seeds: what they show, and how many would show more."""

from __future__ import annotations

import re

import pytest
from scipy import stats

from kilonet.analysis import StudyAnalysis, analyze
from kilonet.analysis.power import detectable_difference
from kilonet.spec import load_study
from ladders import TEST_IMAGES, made_result, made_rows, notebook_result

STUDY = load_study("mnist-8k")


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
    text = conclusion(analysis, "A difference of")
    assert f"takes about {n} seeds a stage to be shown in 80% of studies" in text
    assert "a standard deviation of 0.10 points, 1.2 binomial errors: assumed" in text


def test_several_seeds_say_what_they_would_show() -> None:
    # Differences ±0.1 about 0.1 with sd 0.1, then ±0.2 with sd 0.2: pooled √(0.025) = 0.158.
    analysis = analyzed([99.0] * 3, [99.0, 99.1, 99.2], [99.3, 99.2, 99.1])
    found = analysis.sensitivity
    assert not found.assumed
    assert found.sd == pytest.approx(0.025**0.5)
    assert found.detectable is not None
    text = conclusion(analysis, "A difference of")
    assert "standard deviation of 0.16 points, pooled over the stages" in text
    assert f"; 3 seeds show {found.detectable:.2f} points as often." in text


def test_what_five_seeds_would_show() -> None:
    analysis = analyze(notebook_result(), test_images=TEST_IMAGES)
    found = analysis.sensitivity
    shown = detectable_difference(sd=found.sd, n=5, level=found.level)
    text = conclusion(analysis, "A difference of")
    assert f"; 5 seeds show {shown:.2f} points as often." in text
    # Equal differences leave the spread to be assumed, but these are more than one seed.
    assert "; 2 seeds show" in conclusion(analyzed([99.0] * 2, [99.0] * 2), "A difference of")


def test_no_error_is_not_certainty() -> None:
    # The rule of three: 3 of 500 are 0.6 %, beyond which no error at all has a chance below 5 %.
    text = analyzed([100.0, 100.0], images=500).conclusions[-1]
    assert "leaves room for an error of up to 0.60 points" in text
    assert pytest.approx(0.05, abs=0.001) == (1 - 0.006) ** 500
    assert "room for" not in analyzed([99.8, 100.0], images=500).conclusions[-1]
    # Nor where not one is right, though that leaves no binomial error either.
    assert "room for" not in analyzed([0.0, 0.0], images=500).conclusions[-1]
    # Of few images: 0.05 = 0.55 ^ 5, about.
    assert "up to 45.07 points" in analyzed([100.0], images=5).conclusions[-1]


def test_few_images_want_no_less_than_one() -> None:
    assert analyzed([80.0], [81.0], images=500).sensitivity.wanted == pytest.approx(0.2)
    # Without an error there is no binomial one; an image is the least.
    assert analyzed([100.0], [100.0]).sensitivity.sd == pytest.approx(1.2 * 0.01)


def test_seeds_beyond_counting() -> None:
    analysis = analyzed([10.0, 50.0, 90.0], [90.0, 10.0, 50.0])
    assert "takes more than 10,000 seeds" in conclusion(analysis, "A difference of")


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
