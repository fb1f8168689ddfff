"""A run's folder among others: by its name, or by what it holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from kilonet.report.rebuild import rebuild
from kilonet.spec import Run
from kilonet.study import run_study
from kilonet.training.loop import train
from kilonet.training.resume import folder_name, run_folders
from small_studies import study_of


def files(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_a_run_is_found_under_another_name(
    small_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As version 0.1 named folders by another hash."""
    monkeypatch.chdir(tmp_path)
    train(small_run)
    runs = tmp_path / "kilonet-runs"
    (runs / folder_name(small_run)).rename(runs / "0a1b2c3d4e5f")
    before = files(runs)
    assert train(small_run).path.name == "0a1b2c3d4e5f"
    assert files(runs) == before
    other = small_run.replace({"train.seed": 2})
    assert run_folders(runs, [small_run, other]) == [
        runs / "0a1b2c3d4e5f",
        runs / folder_name(other),
    ]


def test_damaged_and_other_folders_are_not_taken(small_run: Run, tmp_path: Path) -> None:
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "run.toml").write_text("[net")
    (tmp_path / "notes").mkdir()
    (tmp_path / "file").touch()
    expected = tmp_path / folder_name(small_run)
    assert run_folders(tmp_path, [small_run]) == [expected]
    assert run_folders(tmp_path / "nowhere", [small_run]) == [
        tmp_path / "nowhere" / folder_name(small_run)
    ]


def test_a_study_whose_folders_have_other_names_is_read_and_not_trained_again(
    small_run: Run, tmp_path: Path
) -> None:
    study = study_of(small_run, seeds=1)
    run_study(study, folder=tmp_path, jobs=1)
    for i, folder in enumerate(sorted((tmp_path / "runs").iterdir())):
        folder.rename(folder.with_name(f"old-{i}"))
    before = files(tmp_path / "runs")
    result = run_study(study, folder=tmp_path, jobs=1)
    assert sorted(ran.records[0].path.name for ran in result.stages) == ["old-0", "old-1"]
    assert files(tmp_path / "runs") == before
    _, data = rebuild(tmp_path)
    assert [len(stage["seeds"]) for stage in data["stages"]] == [1, 1]
