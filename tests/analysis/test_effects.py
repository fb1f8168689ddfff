"""What is said of a step: the word, its figures, and what else must be said."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kilonet.analysis import Finding, RungAnalysis, analyse
from kilonet.spec import load_study
from ladders import TEST_IMAGES, made_result, made_rows

STUDY = load_study("mnist-8k")


def finding(rung: RungAnalysis, kind: str) -> Finding:
    return next(found for found in rung.findings if found.kind == kind)


def rungs(*finals: list[float], epochs: int = 10) -> tuple[RungAnalysis, ...]:
    """A ladder whose rungs' seeds stand at these accuracies from the first epoch to the last."""
    histories = [[made_rows([final] * epochs) for final in rung] for rung in finals]
    return analyse(made_result(STUDY, histories), test_images=TEST_IMAGES).rungs


def effect(*finals: list[float], epochs: int = 10) -> Finding:
    return finding(rungs(*finals, epochs=epochs)[-1], "effect")


def test_one_seed_concludes_nothing() -> None:
    found = effect([99.0], [99.5])
    assert found.verdict == "one seed: nothing can be concluded"
    assert "+0.50 points" in found.sentence
    assert "One seed: nothing can be concluded about the step." in found.sentence


def test_paired_by_seed() -> None:
    found = effect([98.0, 98.5, 99.0], [98.2, 98.71, 99.19])
    assert found.verdict == "better"
    assert found.sentence.count("better") == 2
    # Mean 0.2, sd 0.01; of the planned ladder's five comparisons the first is held against 0.01:
    # t(0.995, 2) = 9.925, times 0.01 / √3 is 0.057.
    assert "99% interval [+0.14, +0.26], corrected p = 0.004" in found.sentence
    assert "would show" not in found.sentence


def test_what_the_seeds_would_have_shown() -> None:
    # Differences 0.1, 0.0, -0.1: nothing; sd 0.1, and the first comparison of five is held
    # against 0.01. The power of 3.33 standard deviations there is 0.8 by the noncentral t.
    found = effect([98.0, 98.5, 99.0], [98.1, 98.5, 98.9])
    assert found.verdict == "no difference shown"
    detectable = found.figures["detectable"]
    assert isinstance(detectable, float)
    assert f"With this spread 3 seeds would show {detectable:.2f} points" in found.sentence
    wider = effect([98.0, 98.5, 99.0], [98.2, 98.5, 98.8]).figures["detectable"]
    assert wider == pytest.approx(2 * detectable)


def test_alone_it_would_be_shown() -> None:
    # Mean 0.2, sd 0.06: t = 5.77, p = 0.0287 alone, 0.143 as the first of five.
    found = effect([98.0, 98.5, 99.0], [98.14, 98.7, 99.26])
    assert found.verdict == "no difference shown"
    assert "corrected p = 0.144" in found.sentence
    assert "Alone it would be shown at the final epoch (95% interval [+0.05, +0.35]" in (
        found.sentence
    )
    assert "as one of 5 comparisons it can be luck" in found.sentence


def test_the_sign_flip_test_is_heard_where_it_disagrees() -> None:
    before = [98.0] * 6
    wild = effect(before, [98.05, 98.06, 98.04, 98.05, 98.06, 98.9])
    assert wild.verdict == "no difference shown"
    assert "sign-flip test, which needs no normal distribution, has p = 0.031" in wild.sentence
    alike = effect(before, [98.05, 98.06, 98.04, 98.05, 98.06, 98.05])
    assert alike.verdict == "better"
    assert "sign-flip" not in alike.sentence


def test_an_end_close_to_zero_shows_its_side() -> None:
    # The ends' third digit says that zero is left out.
    found = effect([98.0] * 6, [98.005, 98.015, 98.02, 98.03, 98.03, 98.02])
    assert found.verdict == "better"
    assert "[+0.004, +0.04]" in found.sentence


def test_since_the_first_rung() -> None:
    ladder = rungs([98.0, 98.5, 99.0], [98.2, 98.71, 99.19], [98.4, 98.91, 99.39])
    assert [rung.effect_on_first is None for rung in ladder] == [True, True, False]
    climb = finding(ladder[2], "climb")
    assert climb.verdict == "better"
    assert climb.sentence.startswith("Since rung 1, paired by seed: better at the final epoch")
    assert climb.figures["difference"] == pytest.approx(0.4)
    assert climb.figures["comparisons"] == 5
    assert finding(ladder[2], "effect").figures["difference"] == pytest.approx(0.2)


def test_a_verdict_depends_on_its_family() -> None:
    """Alone in a study of two rungs a step is shown that one of five comparisons would not be."""
    before, after = [98.0, 98.5, 99.0], [98.14, 98.7, 99.26]
    histories = [[made_rows([final] * 10) for final in rung] for rung in (before, after)]
    data = STUDY.to_dict()
    data["step"] = data["step"][:2]
    small = type(STUDY).from_dict(data)
    found = finding(
        analyse(made_result(small, histories), test_images=TEST_IMAGES).rungs[1], "effect"
    )
    assert found.verdict == "better"
    assert "95% interval [+0.05, +0.35], p = 0.029" in found.sentence
    assert "corrected" not in found.sentence


def test_equal_differences_are_said_to_be_so() -> None:
    found = effect([98.0, 98.0], [98.2, 98.2])
    assert found.verdict == "no difference shown"
    assert "in every seed, so that the spread is unknown" in found.sentence


def test_a_step_that_changed_no_result_is_said_to_be_one() -> None:
    same = "Every seed came to the same accuracy, as if nothing had been changed."
    found = effect([98.0, 98.5], [98.0, 98.5])
    assert found.verdict == "no difference shown"
    assert found.sentence.endswith(same)
    assert same not in effect([98.0, 98.5], [98.0, 98.51]).sentence


def test_seeds_without_a_partner() -> None:
    rows = made_rows([99.0] * 10)
    histories = [[rows, rows, rows], [rows, rows]]
    result = made_result(STUDY, histories, seeds=[(1, 2, 3), (2, 4)])
    rung = analyse(result, test_images=TEST_IMAGES).rungs[1]
    assert rung.effect is not None
    assert rung.effect.unpaired == 3
    assert "3 seeds without a partner left out" in finding(rung, "effect").sentence


def test_short_runs_name_the_epochs_they_have() -> None:
    assert "in the mean of the last 3 epochs" in effect([99.0], [99.5], epochs=3).sentence
    assert "in the mean of the last epoch." in effect([99.0], [99.5], epochs=1).sentence


def test_runs_of_different_length_are_compared_over_as_many_epochs() -> None:
    """Three epochs of 98, 98.5 and 99; seven that end with 99, 99.5 and 100: 1.00 over three."""
    short = [made_rows([98.0, 98.5, 99.0])] * 2
    long = [made_rows([90.0] * 4 + [99.0, 99.5, 100.0])] * 2
    [_, rung] = analyse(made_result(STUDY, [short, long]), test_images=TEST_IMAGES).rungs
    assert rung.effect is not None
    assert rung.effect.epochs == 3
    assert rung.effect.last_five.differences == pytest.approx((1.0, 1.0))
    # The rung's own mean is of its own last five.
    assert rung.last_five.mean == pytest.approx((90 + 90 + 99 + 99.5 + 100) / 5)


def test_other_test_images_make_no_pair() -> None:
    rows = [made_rows([99.0] * 10), made_rows([99.1] * 10)]
    result = made_result(STUDY, [rows, rows, rows])
    other = {"data": {"sha256": "99" * 32, "test_images": 500}}
    records = tuple(replace(record, environment=other) for record in result.rungs[1].records)
    changed = (result.rungs[0], replace(result.rungs[1], records=records), result.rungs[2])
    analysis = analyse(replace(result, rungs=changed), test_images=TEST_IMAGES)
    second, third = analysis.rungs[1:]
    for rung in (second, third):
        found = finding(rung, "effect")
        assert found.verdict == "other test images: nothing can be concluded"
        before = rung.number - 1
        assert found.sentence == f"Against rung {before}: {found.verdict}."
        assert not any(other.kind == "robustness" for other in rung.findings)
    # The first and the third rung have the same images.
    assert finding(third, "climb").verdict == "no difference shown"
    assert [rung.measured.images for rung in analysis.rungs] == [TEST_IMAGES, 500, TEST_IMAGES]
    assert analysis.conclusions[-1].startswith("The rungs are tested on different images")
    assert not any("The highest" in sentence for sentence in analysis.conclusions)


def test_intervals_end_where_differences_do() -> None:
    found = effect([50.0, 50.0], [60.0, 40.0])
    assert "0.00 points, 99% interval [-100.00, +100.00]" in found.sentence
    assert "With this spread 2 seeds are too few to show any difference." in found.sentence


def test_no_seed_in_common() -> None:
    rows = made_rows([99.0] * 10)
    result = made_result(STUDY, [[rows], [rows]], seeds=[(1,), (2,)])
    found = finding(analyse(result, test_images=TEST_IMAGES).rungs[1], "effect")
    assert found.sentence == "Against rung 1: no seed in common: nothing can be concluded."
