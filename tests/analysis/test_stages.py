"""Whole studies: the notebook's own, and ones with several seeds."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from kilonet.analysis import Finding, Kind, StageAnalysis, Verdict, analyze
from kilonet.storage.record import EpochRow
from ladders import FOUR_STAGES, TEST_IMAGES, made_result, made_rows, notebook_result, seeded_result

NOTEBOOK = analyze(notebook_result(), test_images=TEST_IMAGES)


def finding(stage: StageAnalysis, kind: Kind) -> Finding:
    return next(found for found in stage.findings if found.kind is kind)


class TestTheNotebooksAuthor:
    """What its author wrote under each table, from the rows, and no more than they show."""

    def test_after_batch_normalization(self) -> None:
        """'Fitting very well', 'still not achieved', 'little over-fitting'."""
        stage = NOTEBOOK.stages[0]
        assert finding(stage, Kind.FIT).verdict is Verdict.FITS
        gap = finding(stage, Kind.GAP)
        assert gap.verdict is Verdict.OVERFITS_A_LITTLE
        assert gap.figures["gap"] == pytest.approx(0.17, abs=0.005)
        assert finding(stage, Kind.TARGET).verdict is Verdict.NOT_REACHED
        assert (stage.best_train.mean, stage.best.mean) == (99.51, 99.31)

    def test_after_dropout(self) -> None:
        """'More robustly', 'the accuracy did not improve much'."""
        stage = NOTEBOOK.stages[1]
        robust = finding(stage, Kind.ROBUSTNESS)
        assert robust.verdict is Verdict.MORE_ROBUST
        assert robust.figures["gap_before"] == pytest.approx(0.15, abs=0.005)
        assert robust.figures["gap_after"] == pytest.approx(0.10, abs=0.005)
        effect = finding(stage, Kind.EFFECT)
        assert effect.verdict is Verdict.ONE_SEED
        # The last five test accuracies of his logs: means 99.188 and 99.230.
        assert effect.figures["difference"] == pytest.approx(99.188 - 99.230)
        assert "-0.01 at the final epoch" in effect.sentence

    def test_after_rotation(self) -> None:
        """'Increased a little more', 'fluctuating'."""
        stage = NOTEBOOK.stages[2]
        effect = finding(stage, Kind.EFFECT)
        assert effect.figures["difference"] == pytest.approx(0.082)
        assert "+0.06 at the final epoch" in effect.sentence
        assert stage.best.mean == 99.35
        fluctuation = finding(stage, Kind.FLUCTUATION)
        assert fluctuation.verdict is Verdict.FLUCTUATES
        assert fluctuation.figures["range"] == pytest.approx(99.35 - 99.19)

    @pytest.mark.parametrize("number", [1, 2, 3])
    def test_what_the_author_did_next_comes_first(self, number: int) -> None:
        """Dropout, rotation, a step scheduler: where the ladder does not plan them yet."""
        bundled = FOUR_STAGES
        data = bundled.to_dict()
        data["stage"] = data["stage"][:number]
        whole = notebook_result()
        result = replace(whole, study=type(bundled).from_dict(data), stages=whole.stages[:number])
        first = analyze(result, test_images=TEST_IMAGES).stages[-1].suggestions[0]
        planned = bundled.stage[number].change
        if number == 2:  # the author filled the corners with 1
            planned = {"data.augment": [{"name": "rotation", "degrees": 7}]}
        assert first.change == planned
        # Where it does, that stage is named anyway, and the suggestion is another.
        if number != 2:
            assert NOTEBOOK.stages[number - 1].suggestions[0].change != planned

    def test_no_more_is_claimed_than_one_seed_shows(self) -> None:
        compared = (Kind.EFFECT, Kind.SINCE_FIRST)
        for stage in NOTEBOOK.stages[1:]:
            assert all(f.verdict is Verdict.ONE_SEED for f in stage.findings if f.kind in compared)
            assert "one seed: another may differ" in finding(stage, Kind.ROBUSTNESS).sentence

    def test_what_the_author_did_not_see(self) -> None:
        """The first two stages fluctuate more than the third."""
        movements = [stage.measured.movement for stage in NOTEBOOK.stages]
        assert None not in movements
        assert movements == sorted(movements, reverse=True)  # type: ignore[type-var]

    def test_last_five(self) -> None:
        means = [round(stage.last_five.mean, 2) for stage in NOTEBOOK.stages]
        assert means == [99.23, 99.19, 99.27]

    def test_conclusions(self) -> None:
        text = " ".join(NOTEBOOK.conclusions)
        assert "No stage reached the target of 99.40%." in text
        assert "stage 3's (Rotation), 99.32%" in text
        assert "One seed a stage: nothing can be concluded about the changes." in text
        assert "same 10,000 test images" in text


def test_seeds() -> None:
    result = seeded_result(seeds=3)
    analysis = analyze(result, test_images=TEST_IMAGES)
    finals = [record.rows[-1].test_accuracy for record in result.stages[3].records]
    stage = analysis.stages[3]
    assert stage.final.values == tuple(finals)
    assert (stage.seeds, stage.reached) == (3, 3)
    assert finding(stage, Kind.TARGET).verdict is Verdict.REACHED
    assert stage.suggestions == ()
    text = " ".join(analysis.conclusions)
    assert "reached by every seed of stage 4 (Step scheduler)" in text
    assert "effects are paired by seed, corrected for 5 comparisons (Holm)" in text


def test_seeds_at_the_target_epoch_by_epoch() -> None:
    study = FOUR_STAGES
    histories = [made_rows([99.4, *last]) for last in ((99.4, 99.3, 99.5), (99.4, 99.4, 99.4))]
    [stage] = analyze(made_result(study, [histories]), test_images=TEST_IMAGES).stages
    assert (stage.at_target, stage.reached) == ((2, 1, 2), 1)
    short = [made_rows([99.4, 99.3])]
    [stage] = analyze(made_result(study, [short]), test_images=TEST_IMAGES).stages
    assert (stage.at_target, stage.reached) == ((1, 0), 0)


def test_a_part_of_a_study_is_judged_in_the_whole_studys_family() -> None:
    """What a comparison's own seeds say is the same at a study's end; the pool may change."""
    whole = seeded_result(seeds=5)
    complete = analyze(whole, test_images=TEST_IMAGES)
    compared = 0
    for length in (2, 3, 4):
        part = type(whole)(study=whole.study, path=whole.path, stages=whole.stages[:length])
        for early, late in zip(
            analyze(part, test_images=TEST_IMAGES).stages, complete.stages, strict=False
        ):
            if early.effect is None:
                continue
            assert late.effect is not None
            then, now = early.effect.deciding, late.effect.deciding
            assert (then.p, then.sd, then.comparisons) == (now.p, now.sd, now.comparisons)
            assert then.pool is not None
            assert then.pool.stages == length
            compared += 1
    assert compared == 6


def test_a_target_that_some_seeds_reached() -> None:
    study = FOUR_STAGES
    low, high = made_rows([99.3] * 10), made_rows([99.6] * 10)
    names = [stage.name for stage in study.stage]
    one = analyze(made_result(study, [[low, low], [high, low]]), test_images=TEST_IMAGES)
    assert one.conclusions[0] == (
        f"No stage reached the target of 99.40% with every seed: stage 2 ({names[1]}) with 1 of 2."
    )
    two = analyze(made_result(study, [[low, high], [high, low]]), test_images=TEST_IMAGES)
    assert two.conclusions[0].endswith(
        f"stage 1 ({names[0]}) with 1 of 2, stage 2 ({names[1]}) with 1 of 2."
    )
    none = analyze(made_result(study, [[low, low]]), test_images=TEST_IMAGES)
    assert none.conclusions[0] == "No stage reached the target of 99.40%."


def test_runs_too_short_for_a_target() -> None:
    study = FOUR_STAGES
    analysis = analyze(made_result(study, [[made_rows([99.6] * 2)]]), test_images=TEST_IMAGES)
    assert "too short to say whether the target of 99.40%" in analysis.conclusions[0]
    assert not any("No stage" in sentence for sentence in analysis.conclusions)


def test_part_of_a_study() -> None:
    whole = notebook_result()
    part = type(whole)(study=whole.study, path=whole.path, stages=whole.stages[:1])
    analysis = analyze(part, test_images=TEST_IMAGES)
    assert len(analysis.stages) == 1
    assert analysis.stages[0] == NOTEBOOK.stages[0]
    assert not any("highest" in sentence for sentence in analysis.conclusions)


def test_short_runs_are_analyzed_too() -> None:
    study = FOUR_STAGES
    for epochs in (1, 2, 3, 4):
        rows = made_rows([99.0] * epochs)
        for stage in analyze(made_result(study, [[rows], [rows]]), test_images=10).stages:
            assert stage.sentences


@pytest.mark.parametrize("epochs", [1, 2, 3, 4, 5, 6, 10, 11])
@pytest.mark.parametrize("seeds", [1, 2])
def test_no_verdict_from_a_window_that_a_run_does_not_exceed(epochs: int, seeds: int) -> None:
    """Runs that learn quickly, 20 to 88.36 % in the last epoch: their mean says nothing."""
    study = FOUR_STAGES.replace({"budget.epochs": 30, "train.epochs": epochs})
    train = [20.0 + 68.36 * (i + 1) / epochs for i in range(epochs)]
    test = [value - 1.0 for value in train]

    def rows(shift: float) -> tuple[EpochRow, ...]:
        return made_rows([value + shift for value in test], train=train)

    histories = [[rows(0.1 * seed + stage) for seed in range(seeds)] for stage in (0.0, 0.5)]
    analysis = analyze(made_result(study, histories), test_images=TEST_IMAGES)
    stage = analysis.stages[1]
    reasons = [suggestion.reason for suggestion in stage.suggestions]
    text = " ".join([*stage.sentences, *analysis.conclusions, *reasons])
    windows = {int(n) for n in re.findall(r"last (\d+) epochs", text)}
    assert all(3 <= window < epochs for window in windows)
    verdicts = {found.kind: found.verdict for found in stage.findings}
    assert (verdicts[Kind.TREND] is Verdict.TOO_SHORT) == (epochs < 6)
    assert (verdicts[Kind.FLUCTUATION] is Verdict.TOO_SHORT) == (epochs < 6)
    assert (Kind.ROBUSTNESS in verdicts) == (epochs >= 6)
    if epochs < 6:
        assert not windows
        assert verdicts[Kind.FIT] is Verdict.TOO_SHORT
        assert "training accuracy 88.36%" in finding(stage, Kind.FIT).sentence
        assert stage.last_five == stage.final
        assert not {Verdict.UNDERFITS, Verdict.OUT_OF_REACH} & set(verdicts.values())
        assert stage.suggestions[0].change == {"train.epochs": 6}
        assert stage.effect is not None
        assert stage.effect.last_five.differences == stage.effect.final.differences


def test_a_run_without_a_target_is_not_judged_by_one() -> None:
    """No rule that needs one, whatever the accuracies; all others as with one."""
    needs_one = {Kind.TARGET, Kind.FIT, Kind.REGULARIZER, Kind.WIDTH}
    for rows in (made_rows([50.0] * 15, train=50.0), made_rows([99.9] * 15), made_rows([10.0])):
        result = made_result(FOUR_STAGES, [[rows]] * 2)
        whole = analyze(result, test_images=TEST_IMAGES)
        lone = analyze(result, test_images=TEST_IMAGES, has_target=False)
        assert lone.target is None
        for with_target, without in zip(whole.stages, lone.stages, strict=True):
            kept = [found for found in with_target.findings if found.kind not in needs_one]
            assert list(without.findings) == kept
            assert without.suggestions == ()
            assert (without.target, without.reached, without.at_target) == (None, 0, ())
        text = " ".join([*lone.conclusions, *lone.stages[1].sentences])
        assert "target" not in text


def test_nothing_to_analyze() -> None:
    whole = notebook_result()
    empty = type(whole)(study=whole.study, path=whole.path, stages=())
    with pytest.raises(ValueError, match="nothing to analyze"):
        analyze(empty, test_images=TEST_IMAGES)
    with pytest.raises(ValueError, match="nothing to analyze"):
        analyze(whole, test_images=0)


@pytest.mark.parametrize(
    "run",
    [[99.0] * 15, [90.0 + i / 2 for i in range(15)], [99.5, 98.0] * 7, [99.0], [50.0] * 4],
)
def test_every_sentence_has_figures_and_ends(run: list[float]) -> None:
    rows = made_rows(run)
    result = made_result(FOUR_STAGES, [[rows], [rows]])
    for found in analyze(result, test_images=TEST_IMAGES).stages[1].findings:
        assert found.sentence.endswith(".")
        assert any(character.isdigit() for character in found.sentence)
        assert "\n" not in found.sentence
        assert "nan" not in found.sentence
