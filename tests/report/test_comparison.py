"""Comparisons: matching stages, differences paired by seed, settings; checked with SciPy."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from kilonet.entry import run_command
from kilonet.errors import StorageError, UsageError
from kilonet.report.compared import settings_table
from kilonet.report.comparison import OTHER_IMAGES, compare, compare_folders
from kilonet.report.json.comparison import comparison_json
from kilonet.spec import Study, to_toml
from kilonet.storage.provenance import Provenance
from kilonet.storage.record import EpochRow
from kilonet.storage.run_folder import RunFolder
from kilonet.storage.run_state import Checkpoint, StepLog
from kilonet.study import read_study
from ladders import ENVIRONMENT, FOUR_STAGES, made_rows, plain

FIRST = [99.0, 99.2, 99.1]
SECOND = [99.3, 99.4, 99.2]


def write_run(folder: Path, run: Any, rows: tuple[EpochRow, ...], *, sha256: str = "ab") -> None:
    """A finished run's folder, made by hand."""
    store = RunFolder(folder)
    data = {"name": "mnist", "sha256": sha256, "train_images": 9, "test_images": 10_000}
    store.begin(run, Provenance.from_json({**ENVIRONMENT, "data": data}))
    steps = StepLog(loss=np.ones(len(rows)), correct=np.ones(len(rows), np.int64))
    state = {"weight": np.zeros(1, np.float32)}
    store.save(Checkpoint(epochs=len(rows), state=state, rows=rows, steps=steps))
    if len(rows) == run.train.epochs:
        store.finish(weights=state, logits=np.zeros((1, 10), np.float32))


def make_study(
    path: Path, finals: list[list[float]], *, sha256: str = "ab", names: list[str], lr: float = 0.01
) -> Path:
    """A study's folder whose stages' seeds end at these accuracies."""
    data = FOUR_STAGES.to_dict()
    changes = [{"net.block": ["conv", "relu", "batchnorm"]}, {"train.label_smoothing": 0.1}]
    data["stage"] = [{"name": n, "change": c} for n, c in zip(names, changes, strict=False)]
    data["seeds"] = len(finals[0])
    data["train"] |= {"epochs": 3, "optimizer": {"name": "sgd", "lr": lr}}
    study = Study.from_dict(data)
    path.mkdir(parents=True)
    (path / "study.toml").write_text(to_toml(study))
    for stage, seeds in zip(study.stages, finals, strict=True):
        for seed, final in zip(study.seed_numbers(), seeds, strict=True):
            run = stage.seeded(seed)
            folder = path / "runs" / run.content_hash[:12]
            write_run(folder, run, made_rows([98.0, 98.5, final]), sha256=sha256)
    return path


def test_two_studies_by_hand(tmp_path: Path) -> None:
    a = make_study(tmp_path / "a", [FIRST, SECOND], names=["One", "Two"])
    b = make_study(tmp_path / "b", [SECOND, FIRST], names=["One", "Other"], lr=0.02)
    found = compare_folders([a, b])
    assert [[(e.folder, e.stage) for e in row] for row in found.rows] == [
        [(0, "One"), (1, "One")],
        [(0, "Two")],
        [(1, "Other")],
    ]
    one = found.rows[0][1]
    assert one.difference is not None
    assert one.difference.differences == pytest.approx((0.3, 0.2, 0.1))
    test = stats.ttest_rel(SECOND, FIRST)
    assert one.difference.p == pytest.approx(test.pvalue)
    ends = test.confidence_interval(0.95)
    assert one.difference.ci95 == pytest.approx((ends.low, ends.high))
    assert one.difference.verdict == "no difference shown"
    assert one.result.parameters == 7864
    assert found.rows[2][0].note == f"not in {a}"
    table = settings_table(found)
    assert table.rows == (("One", "train.optimizer.lr", "0.01", "0.02"),)


def test_the_wording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, check_snapshot: Callable[[str, str], None]
) -> None:
    monkeypatch.chdir(tmp_path)
    a = make_study(Path("a"), [FIRST, SECOND], names=["One", "Two"])
    b = make_study(Path("b"), [SECOND, FIRST], names=["One", "Two"], lr=0.02)
    found = compare_folders([a, b])
    parts = [
        str(found),
        found.to_text(width=60),
        found.to_text(width=20),
    ]
    check_snapshot("compare.txt", "\n\n".join(parts) + "\n")


def test_a_narrow_screen_gets_lists(tmp_path: Path) -> None:
    a = make_study(tmp_path / "a", [FIRST, SECOND], names=["One", "Two"])
    b = make_study(tmp_path / "b", [SECOND, FIRST], names=["One", "Other"], lr=0.02)
    found = compare_folders([a, b])
    found = replace(found, labels=("a", "b"))
    assert found.to_text(width=500) == str(found)
    text = found.to_text(width=60)
    ends = [stats.t.interval(0.95, 2, np.mean(s), stats.sem(s)) for s in (FIRST, SECOND)]
    assert text.splitlines()[:6] == [
        "One",
        "  a (7,864 parameters, 3 seeds)",
        "    99.10% [{:.2f}, {:.2f}]".format(*ends[0]),
        "  b (7,864 parameters, 3 seeds)",
        "    99.30% [{:.2f}, {:.2f}]; +0.20 [-0.05, +0.45] no difference shown".format(*ends[1]),
        "Two",
    ]
    assert "| One   | train.optimizer.lr | 0.01 | 0.02 |" in text  # narrow enough for a table
    assert found.to_text(width=30).endswith("One: train.optimizer.lr: 0.01\n  (a); 0.02 (b)")


def test_what_differs_in_every_stage_stands_once(tmp_path: Path) -> None:
    a = make_study(tmp_path / "a", [FIRST, SECOND], names=["One", "Two"])
    b = make_study(tmp_path / "b", [SECOND, FIRST], names=["One", "Two"], lr=0.02)
    found = compare_folders([a, b])
    assert settings_table(found).rows == (("all", "train.optimizer.lr", "0.01", "0.02"),)
    assert [len(row) for row in comparison_json(found)["settings"]] == [1, 1]


def test_no_shared_name_and_a_run_meet_the_last_stage(tmp_path: Path) -> None:
    a = make_study(tmp_path / "a", [FIRST, SECOND], names=["One", "Two"])
    b = make_study(tmp_path / "b", [FIRST], names=["Else"])
    run = read_study(b).stages[0].records[1].path
    found = compare_folders([a, b, run])
    assert [(e.folder, e.stage) for e in found.rows[1]] == [(0, "Two"), (1, "Else"), (2, "")]
    lone = found.rows[1][2]
    assert list(lone.finals) == [2]
    assert lone.difference is not None
    assert lone.difference.differences == pytest.approx((99.2 - 99.4,))
    assert lone.difference.verdict == "one seed"
    assert {d.comparisons for d in found.differences} == {2}


def test_several_differences_are_corrected_together(tmp_path: Path) -> None:
    up = [value + 0.2 + 0.01 * i for i, value in enumerate(FIRST)]
    a = make_study(tmp_path / "a", [FIRST, FIRST], names=["One", "Two"])
    b = make_study(tmp_path / "b", [up, SECOND], names=["One", "Two"])
    found = compare_folders([a, b])
    p = [stats.ttest_rel(x, FIRST).pvalue for x in (up, SECOND)]
    # Holm: the smaller times two, the larger alone but not below it.
    adjusted = [2 * p[0], max(p[1], 2 * p[0])]
    assert [d.p_adjusted for d in found.differences] == pytest.approx(adjusted)
    assert found.differences[0].verdict == "better"
    assert {d.comparisons for d in found.differences} == {2}


def test_the_note_tells_of_what_there_is(tmp_path: Path) -> None:
    run = FOUR_STAGES.stages[0].run.replace({"train.epochs": 3})
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_run(tmp_path / name, run.replace({"train.seed": seed}), made_rows(FIRST))
    a, b, c = (tmp_path / name for name in "abc")
    one = "Differences are of final test accuracies, in percentage points, paired by seed."
    assert one in str(compare(a, b, c)).splitlines()
    assert "Differences are" not in str(compare(a, c))


def test_other_test_images_are_not_compared(tmp_path: Path) -> None:
    a = make_study(tmp_path / "a", [FIRST], names=["One"])
    b = make_study(tmp_path / "b", [SECOND], names=["One"], sha256="cd")
    entry = compare_folders([a, b]).rows[0][1]
    assert entry.difference is None
    assert entry.note == OTHER_IMAGES


def test_json_and_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = make_study(tmp_path / "a", [FIRST], names=["One"])
    b = make_study(tmp_path / "b", [SECOND], names=["One"], lr=0.02)
    assert run_command(["compare", str(a), str(b), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == plain(comparison_json(compare_folders([a, b])))
    assert found["folders"] == [str(a), str(b)]
    first, second = found["rows"][0]
    assert first["difference"] is None
    assert second["difference"]["pairs"] == 3
    assert second["mean"] == pytest.approx(99.3)
    assert found["settings"] == [{"train.optimizer.lr": [0.01, 0.02]}]
    assert run_command(["compare", str(a), str(b)]) == 0
    assert capsys.readouterr().out == compare(a, b).to_text() + "\n"


def test_the_same_folder_twice(tmp_path: Path) -> None:
    a = make_study(tmp_path / "a", [FIRST], names=["One"])
    found = compare_folders([a, a])
    assert found.differences[0].mean == 0
    assert settings_table(found).rows == ()


def test_bad_folders_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = make_study(tmp_path / "a", [FIRST], names=["One"])
    with pytest.raises(UsageError, match="name two or more"):
        compare_folders([a])
    assert run_command(["compare", str(a), str(tmp_path / "missing")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    run = read_study(a).stages[0].records[0]
    half = tmp_path / "half"
    write_run(half, run.run, run.rows[:2])
    with pytest.raises(StorageError, match="not finished, 2 of 3 epochs"):
        compare_folders([a, half])


def test_folders_results_and_records_are_mixed(tmp_path: Path) -> None:
    a = make_study(tmp_path / "a", [FIRST], names=["One"])
    b = make_study(tmp_path / "b", [SECOND], names=["One"], lr=0.02)
    result = read_study(b)
    record = result.stages[0].records[0]
    found = compare(a, result, record)
    assert found == compare_folders([a, b, record.path])
    assert found.labels == (str(a), str(b), str(record.path))
    assert found.differences[0].verdict == compare(str(a), b).differences[0].verdict
    assert str(found) == found.to_text()
    assert "train.optimizer.lr" in found._repr_html_()


def test_eight_runs_are_numbered_and_fit_a_screen(tmp_path: Path) -> None:
    study = FOUR_STAGES.replace({"train.epochs": 3})
    run = study.stages[0].seeded(1)
    lines = run.net.to_dict()["layers"]
    changes: list[dict[str, Any]] = [
        {},
        {"train.batch_size": 32},
        {"train.optimizer.lr": 0.02},
        {"net.layers": ["conv 6", *lines]},
        {"net.layers": [*lines[:4], *lines[5:]]},
        {"net.layers": [*lines[:3], "pointwise 10", *lines[4:]]},
        {"net.block": ["conv", "relu"]},
        {"train.label_smoothing": 0.1},
    ]
    folders = [tmp_path / f"a folder with a long name, {i}" for i in range(8)]
    for folder, change in zip(folders, changes, strict=True):
        write_run(folder, run.replace(change), made_rows(FIRST))
    text = compare_folders(folders).to_text(width=80)
    legend, rest = text.splitlines()[:8], text.splitlines()[8:]
    assert legend == [f"  {i}  {folder}" for i, folder in enumerate(folders, 1)]
    assert len(text.splitlines()) <= 34
    assert max(map(len, rest)) <= 80
    assert 'net.layers.0 (added): – (1-3, 5-8); "conv 6" (4)' in text
    assert f'net.layers.3: "{lines[3]}" (1-5, 7-8); "pointwise 10" (6)' in text
    assert "train.batch_size: 128 (1, 3-8); 32 (2)" in text
    assert str(lines) not in text


def test_long_paths_are_shown_where_they_differ(tmp_path: Path) -> None:
    run = FOUR_STAGES.stages[0].run.replace({"train.epochs": 3})
    above = "/project" * 10
    names = [f"{above}/digits-one/data.npz", f"{above}/digits-two/data.npz"]
    for folder, name in zip("ab", names, strict=True):
        write_run(tmp_path / folder, run.replace({"data.name": name}), made_rows(FIRST))
    [line] = settings_table(compare(tmp_path / "a", tmp_path / "b")).rows
    assert line == (
        "data.name",
        '…/project/project/digits-one/data.npz"',
        '…/project/project/digits-two/data.npz"',
    )


def test_held_out_images_lead_where_all_have_them(tmp_path: Path) -> None:
    run = FOUR_STAGES.replace({"train.epochs": 3, "data.validation": 0.1})
    rows = [
        tuple(
            replace(row, validation_accuracy=row.test_accuracy - i, validation_loss=0.1)
            for row in made_rows(FIRST)
        )
        for i in (1, 3)
    ]
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder, each in zip(folders, rows, strict=True):
        write_run(folder, run.stages[0].seeded(1), each)
    found = compare_folders(folders)
    assert found.differences[0].mean == pytest.approx(-2)
    head = next(line for line in str(found).splitlines() if "Final" in line)
    assert head.index("Final validation") < head.index("Final test")
    assert "final validation accuracies" in str(found)
    data = comparison_json(found)
    assert data["compared_on"] == "validation"
    assert [e["validation"]["mean"] for e in data["rows"][0]] == pytest.approx([98.1, 96.1])
    assert [e["mean"] for e in data["rows"][0]] == pytest.approx([99.1, 99.1])
    # Other held-out images, of the same data.
    other = run.replace({"data.validation_seed": 7}).stages[0].seeded(1)
    write_run(tmp_path / "c", other, rows[0])
    assert compare(folders[0], tmp_path / "c").rows[0][1].note == OTHER_IMAGES
    # One run without: the test accuracy, which all have.
    write_run(
        tmp_path / "d",
        FOUR_STAGES.stages[0].seeded(1).replace({"train.epochs": 3}),
        made_rows(FIRST),
    )
    assert comparison_json(compare(folders[0], tmp_path / "d"))["compared_on"] == "test"
