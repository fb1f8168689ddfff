"""The tables that all formats share: the ladder, a stage's Result, its seeds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from kilonet.analysis import StageAnalysis, analyze
from kilonet.formatting import EQUAL
from kilonet.report import tables
from kilonet.report.tables import ResultLine
from kilonet.study import StageResult
from ladders import FOUR_STAGES, TEST_IMAGES, made_result, made_rows, notebook_result, seeded_result


def lines_of(ran: StageResult, stage: StageAnalysis) -> dict[str, ResultLine]:
    lines = tables.result_lines(ran, stage, budget=None)
    return {line.label: line for line in lines}


def test_the_notebooks_ladder() -> None:
    result = notebook_result()
    table = tables.ladder(result, analyze(result, test_images=TEST_IMAGES))
    assert table.columns[1:6] == ("Stage", "Params", "Final test accuracy", "Best*", "Reached")
    assert table.rows == (
        ("1", "Batch normalization", "7,864", "99.27%", "99.31%", "0 of 1", "", ""),
        ("2", "Dropout", "7,864", "99.26%", "99.26%", "0 of 1", "-0.04 (one seed, 5 epochs)", ""),
        (
            "3",
            "Rotation",
            "7,864",
            "99.32%",
            "99.35%",
            "0 of 1",
            "+0.08 (one seed, 5 epochs)",
            "+0.04 (one seed, 5 epochs)",
        ),
    )
    assert table.columns[6:] == ("Against the stage before", "Since the first stage")


def test_a_ladder_of_seeds_has_intervals_and_words() -> None:
    result = seeded_result(seeds=3)
    analysis = analyze(result, test_images=TEST_IMAGES)
    *_, third, row = tables.ladder(result, analysis).rows
    low, high = analysis.stages[3].final.ci95 or (0.0, 0.0)
    assert row[3] == f"{analysis.stages[3].final.mean:.2f}% [{low:.2f}, {high:.2f}]"
    assert row[5] == "3 of 3"
    # The interval beside a word is the one that decides it.
    for column, effect in ((6, analysis.stages[3].effect), (7, analysis.stages[3].effect_on_first)):
        assert effect is not None
        assert effect.deciding.interval is not None
        assert effect.deciding.interval != effect.deciding.ci95
        ends = "[{:+.2f}, {:+.2f}]".format(*effect.deciding.interval)
        assert row[column].endswith(f"{ends} {effect.deciding.verdict}")
    assert row[7].endswith("] better")
    # Its learning rate is a tenth of the others', so that its end is what counts.
    assert third[6].endswith("(5 epochs)")
    assert any("last 5 epochs" in note for note in tables.ladder_notes(analysis))


def test_a_ladder_of_two_has_one_comparison() -> None:
    whole = seeded_result(seeds=3)
    part = type(whole)(study=whole.study, path=whole.path, stages=whole.stages[:2])
    table = tables.ladder(part, analyze(part, test_images=TEST_IMAGES))
    assert table.columns[-1] == "Against the stage before"
    assert {len(row) for row in table.rows} == {7}


def test_a_lone_stage_has_no_comparison() -> None:
    whole = seeded_result(seeds=3)
    part = type(whole)(study=whole.study, path=whole.path, stages=whole.stages[:1])
    table = tables.ladder(part, analyze(part, test_images=TEST_IMAGES))
    assert table.columns[-1] == "Reached"
    assert {len(row) for row in table.rows} == {6}


def test_an_effect_past_a_stage_that_is_left_out_names_its_stage() -> None:
    whole = seeded_result(seeds=3)
    stages = (whole.stages[0], *whole.stages[2:])
    part = type(whole)(study=whole.study, path=whole.path, stages=stages)
    first, third, fourth = tables.ladder(part, analyze(part, test_images=TEST_IMAGES)).rows
    assert first[6] == ""
    assert third[6].endswith(" (against stage 1)")
    assert "(against" not in fourth[6]


def test_seeds_that_agree_have_no_range() -> None:
    study = FOUR_STAGES
    result = made_result(study, [[made_rows([99.0, 99.1, 99.2])] * 3])
    stage = analyze(result, test_images=TEST_IMAGES).stages[0]
    lines = lines_of(result.stages[0], stage)
    for label in ("Best train accuracy", "Best test accuracy", "Final test accuracy"):
        assert EQUAL in lines[label].note
        assert "[" not in lines[label].note


def test_the_accuracy_to_choose_by_is_shown_where_there_is_one() -> None:
    whole = seeded_result(seeds=2)
    assert tables.validation_lines(analyze(whole, test_images=TEST_IMAGES).stages[0]) == []
    held_out = [
        replace(
            record,
            run=record.run.replace({"data.validation": 6000}),
            rows=tuple(replace(row, validation_accuracy=value) for row in record.rows),
        )
        for record, value in zip(whole.stages[0].records, (98.0, 99.0), strict=True)
    ]
    result = replace(whole, stages=(replace(whole.stages[0], records=tuple(held_out)),))
    [stage] = analyze(result, test_images=TEST_IMAGES).stages
    line = lines_of(result.stages[0], stage)["Final validation accuracy"]
    assert line.value == "98.50%"
    assert "95% interval [92.15, 100.00]" in line.note  # 98.5 ± 12.71 · 0.7071 / √2, cut at 100


def test_a_stages_result() -> None:
    result = notebook_result()
    stage = analyze(result, test_images=TEST_IMAGES).stages[2]
    lines = tables.result_lines(result.stages[2], stage, budget=8000)
    # SciPy's binomtest(9932, 10_000).proportion_ci(method="wilson").
    assert [line.value for line in lines] == [
        "7,864", "99.24%", "99.35%", "99.32%", "no", "[99.14, 99.46]",
    ]  # fmt: skip
    assert lines[0].note == "at most 8,000"
    assert "epoch 11" in lines[2].note
    assert tables.OPTIMISTIC in lines[2].note
    assert lines[4].note == "99.19% no, 99.28% no, 99.32% no"
    # √(0.9932 · 0.0068 / 10,000) = 0.00082.
    assert lines[5].note == "95% by Wilson, of 10,000 images; standard error 0.08 points"
    # Outside a study nothing is compared with a target.
    lone = analyze(result, test_images=TEST_IMAGES, has_target=False).stages[2]
    alone = [line.value for line in tables.result_lines(result.stages[2], lone, budget=None)]
    assert alone == ["7,864", "99.24%", "99.35%", "99.32%", "[99.14, 99.46]"]


def test_a_stages_result_over_seeds() -> None:
    result = seeded_result(seeds=3)
    stage = analyze(result, test_images=TEST_IMAGES).stages[3]
    lines = lines_of(result.stages[3], stage)
    assert lines["Parameters"].note == ""
    reached = lines["99.40% in each of the last three epochs"]
    assert reached.value == "3 of 3 seeds"
    assert reached.note.count("3 of 3") == 3
    note = lines["Final test accuracy"].note
    for ends in (stage.final.ci95, stage.final.bootstrap95):
        assert ends is not None
        assert f"[{ends[0]:.2f}, {ends[1]:.2f}]" in note
    assert "99.43% to 99.45%" in note


def test_seeds_name_their_runs() -> None:
    result = seeded_result(seeds=2, folder=Path("some where/ladder"))
    stage = analyze(result, test_images=TEST_IMAGES).stages[3]
    table = tables.seeds(result.stages[3], stage)
    name = result.stages[3].records[1].path.name
    assert [row[0] for row in table.rows] == ["1", "2"]
    assert table.rows[1][4:] == ("yes", name)
    assert table.rows[1][3].count("yes") == 3


def test_relative_paths(tmp_path: Path) -> None:
    assert tables.relative(tmp_path / "a" / "runs" / "x", tmp_path / "a") == "runs/x"
    assert tables.relative(Path("a/study.toml"), Path("a/b")) == "../study.toml"
