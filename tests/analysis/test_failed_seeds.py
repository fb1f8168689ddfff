"""Seeds far behind the others: named, counted, and left out of the findings about curves."""

from __future__ import annotations

import pytest

from kilonet.analysis import Finding, Kind, StageAnalysis, Verdict, analyze
from ladders import FOUR_STAGES, TEST_IMAGES, made_result, made_rows

STUDY = FOUR_STAGES


def stage_of(*finals: float, images: int = TEST_IMAGES) -> StageAnalysis:
    rows = [made_rows([final] * 15, train=final) for final in finals]
    return analyze(made_result(STUDY, [rows]), test_images=images).stages[0]


def finding(stage: StageAnalysis, kind: Kind) -> Finding | None:
    return next((found for found in stage.findings if found.kind == kind), None)


# The middle seed's error is 1 %, its binomial error √(0.99 · 0.01 / 10,000) = 0.0995 points: ten of
# them are 0.995 points, more than the half of the error that the ratio asks for.
@pytest.mark.parametrize(("worst", "found"), [(98.01, False), (98.00, True)])
def test_ten_binomial_errors(worst: float, found: bool) -> None:
    assert (finding(stage_of(99.0, 99.1, worst), Kind.SEEDS) is not None) == found


# At 50 % the error is 50, and 1.5 times that leaves 25 %; ten binomial errors are 5 points.
@pytest.mark.parametrize(("worst", "found"), [(25.1, False), (24.9, True)])
def test_half_the_error_more(worst: float, found: bool) -> None:
    assert (finding(stage_of(50.0, 51.0, worst), Kind.SEEDS) is not None) == found


@pytest.mark.parametrize(("worst", "found"), [(99.91, False), (99.89, True)])
def test_without_an_error_one_image_is_the_measure(worst: float, found: bool) -> None:
    assert (finding(stage_of(100.0, 100.0, worst), Kind.SEEDS) is not None) == found


def test_the_figures() -> None:
    stage = stage_of(99.2, 9.8, 99.0, 11.35, 99.1)
    found = finding(stage, Kind.SEEDS)
    assert found is not None
    assert "seed 2 at 9.80%, seed 4 at 11.35%" in found.sentence
    assert found.verdict is Verdict.FAR_BEHIND
    assert found.figures == {"failed": 2, "of": 5, "middle": 99.0}


def test_the_mean_counts_it_and_the_curves_do_not() -> None:
    stage = stage_of(99.2, 99.1, 9.8)
    assert stage.final.mean == pytest.approx((99.2 + 99.1 + 9.8) / 3)
    assert stage.seeds == 3
    assert stage.measured.accuracy == pytest.approx(99.15)
    fit = finding(stage, Kind.FIT)
    assert fit is not None
    assert fit.verdict == "fits"


def test_of_two_the_worse_is_behind() -> None:
    found = finding(stage_of(9.8, 99.2), Kind.SEEDS)
    assert found is not None
    assert found.figures == {"failed": 1, "of": 2, "middle": 99.2}


@pytest.mark.parametrize("finals", [(9.8,), (9.8, 9.8, 9.8), (99.0, 99.1, 99.2)])
def test_all_alike_none_is_behind(finals: tuple[float, ...]) -> None:
    assert finding(stage_of(*finals), Kind.SEEDS) is None


def test_a_lower_rate_is_suggested_and_no_higher_one() -> None:
    titles = [suggestion.title for suggestion in stage_of(99.2, 99.1, 9.8).suggestions]
    assert titles[0] == "A lower learning rate"
    assert "One-cycle schedule" not in titles
    assert "One-cycle schedule" in [s.title for s in stage_of(99.2, 99.1, 99.0).suggestions]


def test_the_effect_counts_a_failed_seed_and_the_width_does_not() -> None:
    before = [made_rows([final] * 15, train=final) for final in (99.2, 99.1, 9.8)]
    after = [made_rows([final] * 15, train=final) for final in (99.2, 99.1, 99.0)]
    stages = analyze(made_result(STUDY, [before, after]), test_images=TEST_IMAGES).stages
    assert finding(stages[0], Kind.WIDTH) is not None  # of 99.15 %, not of a mean of 69 %
    effect = finding(stages[1], Kind.EFFECT)
    assert effect is not None
    assert effect.verdict == "no difference shown"
    assert "[-100.00, +100.00]" in effect.sentence
    assert "3 seeds are too few for +29.73" in effect.sentence
