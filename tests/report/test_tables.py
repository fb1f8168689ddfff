"""What is said about a ladder, a rung and its seeds, whatever it is shown on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from kilonet.analysis import analyse
from kilonet.report import tables
from kilonet.spec import load_study
from ladders import TEST_IMAGES, made_result, made_rows, notebook_result, seeded_result


def test_the_notebooks_ladder() -> None:
    result = notebook_result()
    table = tables.ladder(result, analyse(result, test_images=TEST_IMAGES))
    assert table.columns[1:6] == ("Rung", "Params", "Final test accuracy", "Best*", "Reached")
    assert table.rows == (
        ("1", "Batch normalisation", "7,864", "99.27%", "99.31%", "0 of 1", "", ""),
        ("2", "Dropout", "7,864", "99.26%", "99.26%", "0 of 1", "-0.01 (one seed)", ""),
        (
            "3",
            "Rotation",
            "7,864",
            "99.32%",
            "99.35%",
            "0 of 1",
            "+0.06 (one seed)",
            "+0.05 (one seed)",
        ),
    )
    assert table.columns[6:] == ("Against the rung before", "Since the first rung")
    assert "chosen on the test set, so optimistic" in tables.LADDER_NOTE


def test_a_ladder_of_seeds_has_intervals_and_words() -> None:
    result = seeded_result(seeds=3)
    analysis = analyse(result, test_images=TEST_IMAGES)
    row = tables.ladder(result, analysis).rows[3]
    low, high = analysis.rungs[3].final.ci95 or (0.0, 0.0)
    assert row[3] == f"{analysis.rungs[3].final.mean:.2f}% [{low:.2f}, {high:.2f}]"
    assert row[5] == "3 of 3"
    # The interval beside a word is the one that decides it.
    for column, effect in ((6, analysis.rungs[3].effect), (7, analysis.rungs[3].effect_on_first)):
        assert effect is not None
        assert effect.final.interval is not None
        assert effect.final.interval != effect.final.ci95
        ends = "[{:+.2f}, {:+.2f}]".format(*effect.final.interval)
        assert row[column].endswith(f"{ends} {effect.final.verdict}")
    assert row[7].endswith("] better")


def test_a_ladder_of_two_has_one_comparison() -> None:
    whole = seeded_result(seeds=3)
    part = type(whole)(study=whole.study, path=whole.path, rungs=whole.rungs[:2])
    table = tables.ladder(part, analyse(part, test_images=TEST_IMAGES))
    assert table.columns[-1] == "Against the rung before"
    assert {len(row) for row in table.rows} == {7}


def test_a_lone_rung_has_no_comparison() -> None:
    whole = seeded_result(seeds=3)
    part = type(whole)(study=whole.study, path=whole.path, rungs=whole.rungs[:1])
    table = tables.ladder(part, analyse(part, test_images=TEST_IMAGES))
    assert table.columns[-1] == "Reached"
    assert {len(row) for row in table.rows} == {6}


def test_an_effect_past_a_rung_that_is_left_out_names_its_rung() -> None:
    whole = seeded_result(seeds=3)
    rungs = (whole.rungs[0], *whole.rungs[2:])
    part = type(whole)(study=whole.study, path=whole.path, rungs=rungs)
    first, third, fourth = tables.ladder(part, analyse(part, test_images=TEST_IMAGES)).rows
    assert first[6] == ""
    assert third[6].endswith(" (against rung 1)")
    assert "(against" not in fourth[6]


def test_seeds_that_agree_have_no_range() -> None:
    study = load_study("mnist-8k")
    result = made_result(study, [[made_rows([99.0, 99.1, 99.2])] * 3])
    rung = analyse(result, test_images=TEST_IMAGES).rungs[0]
    lines = {line.label: line for line in tables.result_lines(result.rungs[0], rung)}
    assert lines["Best train accuracy"].note == "mean; equal in every seed"
    assert lines["Best test accuracy"].note.startswith("mean; equal in every seed; chosen on")


def test_the_accuracy_to_choose_by_is_shown_where_there_is_one() -> None:
    whole = seeded_result(seeds=2)
    ran = whole.rungs[0]
    assert all(
        "validation" not in line.label
        for line in tables.result_lines(ran, analyse(whole, test_images=TEST_IMAGES).rungs[0])
    )
    held_out = [
        replace(record, rows=tuple(replace(row, validation_accuracy=value) for row in record.rows))
        for record, value in zip(ran.records, (98.0, 99.0), strict=True)
    ]
    ran = replace(ran, records=tuple(held_out))
    lines = tables.result_lines(ran, analyse(whole, test_images=TEST_IMAGES).rungs[0])
    [line] = [line for line in lines if line.label == "Final validation accuracy"]
    assert line.value == "98.50%"
    assert "mean of 2 seeds" in line.note
    assert "to choose by" in line.note


def test_the_mean_log_of_seeds() -> None:
    study = load_study("mnist-8k")
    runs = [made_rows([90.0, 98.0, 99.0]), made_rows([92.0, 98.5, 99.5])]
    result = made_result(study, [runs])
    table = tables.mean_log(result.rungs[0].records)
    assert [row[0] for row in table.rows] == ["0", "1", "2"]
    assert [row[2] for row in table.rows] == ["91.00%", "98.25%", "99.25%"]
    alone = result.rungs[0].records[:1]
    assert tables.mean_log(alone) == alone[0].log_table


def test_a_rungs_result() -> None:
    result = notebook_result()
    rung = analyse(result, test_images=TEST_IMAGES).rungs[2]
    lines = tables.result_lines(result.rungs[2], rung, budget=8000)
    assert [(line.label, line.value, line.note) for line in lines] == [
        ("Parameters", "7,864", "at most 8,000"),
        ("Best train accuracy", "99.24%", ""),
        ("Best test accuracy", "99.35%", "epoch 11; chosen on the test set, so optimistic"),
        ("Final test accuracy", "99.32%", "one seed, so no interval"),
        (
            "99.40% in each of the last three epochs",
            "no",
            "99.19% no, 99.28% no, 99.32% no",
        ),
        # √(0.9932 · 0.0068 / 10,000) = 0.00082.
        (
            "The test set's own error",
            "0.08 points",
            "binomial standard error of 10,000 images",
        ),
    ]


def test_a_rungs_result_over_seeds() -> None:
    result = seeded_result(seeds=3)
    rung = analyse(result, test_images=TEST_IMAGES).rungs[3]
    lines = {line.label: line for line in tables.result_lines(result.rungs[3], rung)}
    assert lines["Parameters"].note == ""
    assert lines["99.40% in each of the last three epochs"].value == "3 of 3 seeds"
    assert lines["99.40% in each of the last three epochs"].note == (
        "epoch by epoch 3 of 3, 3 of 3, 3 of 3"
    )
    low, high = rung.final.bootstrap95 or (0.0, 0.0)
    final = lines["Final test accuracy"].note
    assert f"over 3 seeds, by bootstrap [{low:.2f}, {high:.2f}]; standard deviation 0.01" in final
    assert final.endswith("from 99.43% to 99.45%")
    assert lines["Best test accuracy"].note.startswith("mean; 95% interval [")
    assert lines["Best test accuracy"].note.endswith("chosen on the test set, so optimistic")


def test_equal_seeds_leave_the_spread_unknown() -> None:
    rows = made_rows([99.0] * 5)
    result = made_result(load_study("mnist-8k"), [[rows, rows]])
    analysis = analyse(result, test_images=TEST_IMAGES)
    lines = {r.label: r for r in tables.result_lines(result.rungs[0], analysis.rungs[0])}
    assert lines["Final test accuracy"].note == "equal in every seed, so that the spread is unknown"
    assert tables.ladder(result, analysis).rows[0][3] == "99.00% (equal in every seed)"


def test_seeds_link_their_runs() -> None:
    result = seeded_result(seeds=2, folder=Path("some where/ladder"))
    rung = analyse(result, test_images=TEST_IMAGES).rungs[3]
    table = tables.seeds(result.rungs[3], rung, links_from=Path("some where"))
    name = result.rungs[3].records[1].path.name
    assert [row[0] for row in table.rows] == ["1", "2"]
    assert table.rows[1][4:] == ("yes", f"[{name}](ladder/runs/{name})")
    assert table.rows[1][3].count("yes") == 3
    unlinked = tables.seeds(result.rungs[3], rung)
    assert unlinked.rows[1][5] == name


def test_relative_paths(tmp_path: Path) -> None:
    assert tables.relative(tmp_path / "a" / "runs" / "x", tmp_path / "a") == "runs/x"
    assert tables.relative(Path("a/study.toml"), Path("a/b")) == "../study.toml"
