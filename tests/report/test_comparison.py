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
from kilonet.report.comparison import OTHER_IMAGES, compare_folders
from kilonet.report.json.comparison import comparison_json
from kilonet.report.terminal.comparison import comparison_text, settings_table
from kilonet.spec import Study, load_study, to_toml
from kilonet.storage.provenance import Provenance
from kilonet.storage.record import EpochRow
from kilonet.storage.run_folder import Checkpoint, RunFolder, StepLog
from kilonet.study import read_study
from ladders import ENVIRONMENT, made_rows, plain

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
    data = load_study("mnist-8k").to_dict()
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
        comparison_text(found),
        comparison_text(found, width=60),
        comparison_text(found, width=20),
    ]
    check_snapshot("compare.txt", "\n\n".join(parts) + "\n")


def test_a_narrow_screen_gets_lists(tmp_path: Path) -> None:
    a = make_study(tmp_path / "a", [FIRST, SECOND], names=["One", "Two"])
    b = make_study(tmp_path / "b", [SECOND, FIRST], names=["One", "Other"], lr=0.02)
    found = compare_folders([a, b])
    found = replace(found, labels=("a", "b"))
    assert comparison_text(found, width=500) == comparison_text(found)
    text = comparison_text(found, width=60)
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
    assert comparison_text(found, width=30).endswith(
        "One: train.optimizer.lr\n  a: 0.01\n  b: 0.02"
    )


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
    assert capsys.readouterr().out == comparison_text(compare_folders([a, b])) + "\n"


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
