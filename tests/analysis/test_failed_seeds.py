"""Seeds far behind the others: named, counted, and left out of what the curves are said to show."""

from __future__ import annotations

import pytest

from kilonet.analysis import Finding, RungAnalysis, analyse
from kilonet.spec import load_study
from ladders import TEST_IMAGES, made_result, made_rows

STUDY = load_study("mnist-8k")


def rung_of(*finals: float, images: int = TEST_IMAGES) -> RungAnalysis:
    rows = [made_rows([final] * 15, train=final) for final in finals]
    return analyse(made_result(STUDY, [rows]), test_images=images).rungs[0]


def finding(rung: RungAnalysis, kind: str) -> Finding | None:
    return next((found for found in rung.findings if found.kind == kind), None)


# The middle seed's error is 1 %, its binomial error √(0.99 · 0.01 / 10,000) = 0.0995 points: ten of
# them are 0.995 points, more than the half of the error that the ratio asks for.
@pytest.mark.parametrize(("worst", "told"), [(98.01, False), (98.00, True)])
def test_ten_binomial_errors(worst: float, told: bool) -> None:
    assert (finding(rung_of(99.0, 99.1, worst), "seeds") is not None) == told


# At 50 % the error is 50, and 1.5 times that leaves 25 %; ten binomial errors are 5 points.
@pytest.mark.parametrize(("worst", "told"), [(25.1, False), (24.9, True)])
def test_half_the_error_more(worst: float, told: bool) -> None:
    assert (finding(rung_of(50.0, 51.0, worst), "seeds") is not None) == told


@pytest.mark.parametrize(("worst", "told"), [(99.91, False), (99.89, True)])
def test_without_an_error_one_image_is_the_measure(worst: float, told: bool) -> None:
    assert (finding(rung_of(100.0, 100.0, worst), "seeds") is not None) == told


def test_what_is_said() -> None:
    rung = rung_of(99.2, 9.8, 99.0, 11.35, 99.1)
    found = finding(rung, "seeds")
    assert found is not None
    assert found.sentence == (
        "2 of 5 seeds fell far behind: seed 2 at 9.80%, seed 4 at 11.35%, the middle seed at "
        "99.00%. The mean and its interval count them; what is said of the curves and of single "
        "images leaves them out."
    )
    assert (found.verdict, found.figures["failed"], found.figures["of"]) == ("far behind", 2, 5)


def test_the_mean_counts_it_and_the_curves_do_not() -> None:
    rung = rung_of(99.2, 99.1, 9.8)
    assert rung.final.mean == pytest.approx((99.2 + 99.1 + 9.8) / 3)
    assert rung.seeds == 3
    assert rung.measured.test == pytest.approx(99.15)
    fit = finding(rung, "fit")
    assert fit is not None
    assert fit.verdict == "fits"


def test_of_two_the_worse_is_behind() -> None:
    found = finding(rung_of(9.8, 99.2), "seeds")
    assert found is not None
    assert "1 of 2 seeds fell far behind: seed 1 at 9.80%, the middle seed at 99.20%" in (
        found.sentence
    )


@pytest.mark.parametrize("finals", [(9.8,), (9.8, 9.8, 9.8), (99.0, 99.1, 99.2)])
def test_all_alike_none_is_behind(finals: tuple[float, ...]) -> None:
    assert finding(rung_of(*finals), "seeds") is None


def test_a_lower_rate_is_suggested_and_no_higher_one() -> None:
    titles = [suggestion.title for suggestion in rung_of(99.2, 99.1, 9.8).next_steps]
    assert titles[0] == "A lower learning rate"
    assert "One-cycle schedule" not in titles
    assert "One-cycle schedule" in [s.title for s in rung_of(99.2, 99.1, 99.0).next_steps]


def test_a_regulariser_is_not_blamed_for_a_failed_seed() -> None:
    """The rung before did not underfit: one of its seeds failed."""
    before = [made_rows([final] * 15, train=final) for final in (99.2, 99.1, 9.8)]
    after = [made_rows([final] * 15, train=final) for final in (99.2, 99.1, 99.0)]
    rungs = analyse(made_result(STUDY, [before, after]), test_images=TEST_IMAGES).rungs
    assert finding(rungs[1], "regulariser") is None
    assert finding(rungs[0], "width") is not None  # of 99.15 %, not of a mean of 69 %
    step = finding(rungs[1], "effect")
    assert step is not None
    assert step.verdict == "no difference shown"
    assert "[-100.00, +100.00]" in step.sentence
    assert "With this spread 3 seeds are too few to show any difference." in step.sentence
