"""Whole studies: the notebook's own, and ones with several seeds."""

from __future__ import annotations

import pytest

from kilonet.analysis import Finding, RungAnalysis, analyse
from kilonet.spec import load_study
from ladders import TEST_IMAGES, made_result, made_rows, notebook_result, seeded_result

NOTEBOOK = analyse(notebook_result(), test_images=TEST_IMAGES)


def finding(rung: RungAnalysis, kind: str) -> Finding:
    return next(found for found in rung.findings if found.kind == kind)


class TestTheNotebooksAuthor:
    """What its author wrote under each table, said from the rows, and no more than they bear."""

    def test_after_batch_normalisation(self) -> None:
        """'Fitting very well', 'still not achieved', 'little over-fitting': a little dropout."""
        rung = NOTEBOOK.rungs[0]
        assert finding(rung, "fit").sentence == (
            "Fits the training images well: training accuracy 99.40% over the last 5 epochs."
        )
        assert finding(rung, "gap").sentence.startswith(
            "Over-fits a little: training accuracy is 0.17"
        )
        assert finding(rung, "target").verdict == "not reached"
        assert rung.best_train.mean == 99.51
        assert rung.best_test.mean == 99.31
        assert rung.next_steps[0].title == "A little dropout in every block"
        # And it is the change that the author made.
        study = load_study("mnist-8k")
        assert rung.next_steps[0].change == study.step[1].change

    def test_after_dropout(self) -> None:
        """'More robustly', 'the accuracy did not improve much': augmentation."""
        rung = NOTEBOOK.rungs[1]
        assert finding(rung, "robustness").sentence.startswith(
            "Trains more robustly (over-fits less and is steadier), but no better: over the last "
            "10 epochs the gap went from +0.15 to +0.10 points"
        )
        assert finding(rung, "effect").sentence == (
            "Against rung 1: -0.01 points at the final epoch, -0.04 in the mean of the last 5 "
            "epochs. One seed: nothing can be concluded about the step."
        )
        assert "Rotate" in rung.next_steps[0].title

    def test_after_rotation(self) -> None:
        """'Increased a little more', 'fluctuating': a step scheduler."""
        rung = NOTEBOOK.rungs[2]
        effect = finding(rung, "effect")
        assert (
            "+0.06 points at the final epoch, +0.08 in the mean of the last 5 epochs"
            in effect.sentence
        )
        assert "nothing can be concluded" in effect.sentence
        assert rung.best_test.mean == 99.35
        fluctuation = finding(rung, "fluctuation")
        assert fluctuation.verdict == "fluctuates"
        assert "between 99.19% and 99.35%" in fluctuation.sentence
        assert finding(rung, "robustness").sentence.startswith(
            "Over-fits less, but is less steady: over the last 10 epochs the gap went from +0.10 "
            "to -0.15 points, the movement between epochs from 0.08 to 0.10"
        )
        assert rung.next_steps[0].change == load_study("mnist-8k").step[3].change

    def test_no_more_is_claimed_than_one_seed_bears(self) -> None:
        robust = [finding(rung, "robustness").sentence for rung in NOTEBOOK.rungs[1:]]
        dropout, rotation = robust
        assert dropout == (
            "Trains more robustly (over-fits less and is steadier), but no better: over the last "
            "10 epochs the gap went from +0.15 to +0.10 points, the movement between epochs from "
            "0.11 to 0.08 (one seed: another may say otherwise; chance alone changes the movement "
            "as much in 36% of cases; measured with dropout on, training accuracy is lower by "
            "itself)."
        )
        assert rotation == (
            "Over-fits less, but is less steady: over the last 10 epochs the gap went from +0.10 "
            "to -0.15 points, the movement between epochs from 0.08 to 0.10 (one seed: another may "
            "say otherwise; chance alone changes the movement as much in 46% of cases; measured "
            "with augmentation on, training accuracy is lower by itself)."
        )
        for rung in NOTEBOOK.rungs:
            said = " ".join(rung.sentences)
            assert "shown" not in said
            assert " better" not in said.replace("but no better", "")
            compared = [found for found in rung.findings if found.kind in ("effect", "climb")]
            assert all("One seed: nothing can be concluded" in f.sentence for f in compared)

    def test_what_the_author_did_not_see(self) -> None:
        """The first two rungs fluctuate more than the third."""
        movements = [rung.measured.movement for rung in NOTEBOOK.rungs]
        assert None not in movements
        assert movements == sorted(movements, reverse=True)  # type: ignore[type-var]

    def test_last_five(self) -> None:
        means = [round(rung.last_five.mean, 2) for rung in NOTEBOOK.rungs]
        assert means == [99.23, 99.19, 99.27]

    def test_conclusions(self) -> None:
        text = " ".join(NOTEBOOK.conclusions)
        assert "No rung reached the target of 99.40%." in text
        assert "rung 3's (Rotation), 99.32%" in text
        assert "One seed a rung: nothing can be concluded about the steps." in text
        assert "same 10,000 test images" in text


def test_seeds() -> None:
    result = seeded_result(seeds=3)
    analysis = analyse(result, test_images=TEST_IMAGES)
    finals = [record.rows[-1].test_accuracy for record in result.rungs[3].records]
    rung = analysis.rungs[3]
    assert rung.final.values == tuple(finals)
    assert (rung.seeds, rung.reached) == (3, 3)
    assert finding(rung, "target").verdict == "reached"
    assert rung.next_steps == ()
    text = " ".join(analysis.conclusions)
    assert "reached by every seed of rung 4 (Step scheduler)" in text
    assert "their intervals and p values corrected for 5 comparisons (Holm)" in text


def test_seeds_at_the_target_epoch_by_epoch() -> None:
    study = load_study("mnist-8k")
    histories = [made_rows([99.4, *last]) for last in ((99.4, 99.3, 99.5), (99.4, 99.4, 99.4))]
    [rung] = analyse(made_result(study, [histories]), test_images=TEST_IMAGES).rungs
    assert (rung.at_target, rung.reached) == ((2, 1, 2), 1)
    short = [made_rows([99.4, 99.3])]
    [rung] = analyse(made_result(study, [short]), test_images=TEST_IMAGES).rungs
    assert (rung.at_target, rung.reached) == ((1, 0), 0)


def test_what_is_shown_in_part_of_a_study_stays_shown() -> None:
    """The family is the planned ladder's, so that no word is taken back at a study's end."""
    whole = seeded_result(seeds=5)
    complete = analyse(whole, test_images=TEST_IMAGES)
    shown = 0
    for length in (2, 3, 4):
        part = type(whole)(study=whole.study, path=whole.path, rungs=whole.rungs[:length])
        for early, late in zip(
            analyse(part, test_images=TEST_IMAGES).rungs, complete.rungs, strict=False
        ):
            if early.effect is not None and early.effect.final.shown:
                assert late.effect is not None
                assert late.effect.final.verdict == early.effect.final.verdict
                shown += 1
    assert shown


def test_a_target_that_some_seeds_reached() -> None:
    study = load_study("mnist-8k")
    low, high = made_rows([99.3] * 10), made_rows([99.6] * 10)
    names = [step.name for step in study.step]
    one = analyse(made_result(study, [[low, low], [high, low]]), test_images=TEST_IMAGES)
    assert one.conclusions[0] == (
        f"No rung reached the target of 99.40% with every seed; rung 2 ({names[1]}) did with 1 of "
        "2."
    )
    two = analyse(made_result(study, [[low, high], [high, low]]), test_images=TEST_IMAGES)
    assert two.conclusions[0].endswith(
        f"rung 1 ({names[0]}) did with 1 of 2, rung 2 ({names[1]}) with 1 of 2."
    )
    none = analyse(made_result(study, [[low, low]]), test_images=TEST_IMAGES)
    assert none.conclusions[0] == "No rung reached the target of 99.40%."


def test_runs_too_short_for_a_target() -> None:
    study = load_study("mnist-8k")
    analysis = analyse(made_result(study, [[made_rows([99.6] * 2)]]), test_images=TEST_IMAGES)
    assert "too short to tell whether the target of 99.40%" in analysis.conclusions[0]
    assert not any("No rung" in sentence for sentence in analysis.conclusions)


def test_part_of_a_study() -> None:
    whole = notebook_result()
    part = type(whole)(study=whole.study, path=whole.path, rungs=whole.rungs[:1])
    analysis = analyse(part, test_images=TEST_IMAGES)
    assert len(analysis.rungs) == 1
    assert analysis.rungs[0] == NOTEBOOK.rungs[0]
    assert not any("highest" in sentence for sentence in analysis.conclusions)


def test_short_runs_are_analysed_too() -> None:
    study = load_study("mnist-8k")
    for epochs in (1, 2, 3, 4):
        rows = made_rows([99.0] * epochs)
        for rung in analyse(made_result(study, [[rows], [rows]]), test_images=10).rungs:
            assert rung.sentences


def test_nothing_to_analyse() -> None:
    whole = notebook_result()
    empty = type(whole)(study=whole.study, path=whole.path, rungs=())
    with pytest.raises(ValueError, match="nothing to analyse"):
        analyse(empty, test_images=TEST_IMAGES)
    with pytest.raises(ValueError, match="nothing to analyse"):
        analyse(whole, test_images=0)
