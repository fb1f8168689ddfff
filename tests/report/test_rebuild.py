"""Reports from records alone: of a study, of a run, of what is half done, of what is neither."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from kilonet.entry import run_command
from kilonet.errors import StorageError
from kilonet.report.rebuild import analyze_records, rebuild
from kilonet.spec import Run, Study
from kilonet.study import StudyResult, read_study, run_study
from kilonet.training.loop import train
from ladders import plain


@pytest.fixture(scope="module")
def finished(small_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of two stages and two seeds, an epoch each."""
    study = Study.from_dict(
        {
            **small_run.replace({"train.epochs": 1}).to_dict(),
            "name": "two-stages",
            "target": 50.0,
            "seeds": 2,
            "stage": [
                {"name": "Plain", "change": {"data.augment": []}},
                {"name": "Smooth", "change": {"train.label_smoothing": 0.1}},
            ],
        }
    )
    folder = tmp_path_factory.mktemp("rebuild") / "study"
    run_study(study, folder=folder)
    return folder


@pytest.fixture
def study(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "study"))


def test_a_study(study: Path) -> None:
    files, data = rebuild(study)
    assert [file.name for file in files] == ["report.md", "report.html"]
    assert data["study"] == "two-stages"
    assert [stage["name"] for stage in data["stages"]] == ["Plain", "Smooth"]
    before = [file.read_bytes() for file in files]
    rebuild(study)
    assert [file.read_bytes() for file in files] == before


def test_a_study_that_is_half_done(study: Path) -> None:
    last = read_study(study).stages[1].records[1]
    shutil.rmtree(last.path)
    with pytest.raises(StorageError, match="not finished"):
        read_study(study)
    files, data = rebuild(study)
    assert [stage["name"] for stage in data["stages"]] == ["Plain"]
    assert "stage 2 (Smooth)" in files[1].read_text("utf-8")
    shutil.rmtree(study / "runs")
    with pytest.raises(StorageError, match="no stage is finished yet"):
        rebuild(study)


def test_a_run(study: Path) -> None:
    record = read_study(study).stages[0].records[0]
    files, data = rebuild(record.path)
    assert data["final_test_accuracy"] == pytest.approx(record.final_test_accuracy)
    text = files[0].read_text("utf-8")
    assert text.startswith(f"# {record.path.name}\n")
    assert record.log_table.to_markdown() in text
    assert "arget" not in text
    # The reports lie in the run's folder and change nothing about it.
    assert train(record.run, folder=record.path) == record


def test_the_command(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["report", str(study)]) == 0
    out = capsys.readouterr().out
    assert out == f"Report: {study / 'report.md'}\nReport: {study / 'report.html'}\n"
    assert run_command(["report", str(study), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == plain(rebuild(study)[1])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        ("nothing", "holds no study, search or run: it has no study.toml, space.toml or run.toml"),
        ("empty", "holds no study, search or run"),
        ("file", "holds no study, search or run"),
        ("broken study", "not valid TOML"),
        ("broken run", "run.toml: is not kilonet's, as environment.json is missing"),
    ],
)
def test_a_bad_folder_is_one_line(
    make: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "x"
    if make == "file":
        folder.write_text("a file")
    elif make != "nothing":
        folder.mkdir()
    if make.startswith("broken"):
        (folder / f"{make.split()[1]}.toml").write_text("= 1")
    assert run_command(["report", str(folder)]) in (1, 2)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert said in captured.err


def test_a_run_without_an_epoch(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = read_study(study).stages[0].records[0].path
    for file in folder.iterdir():
        if file.name not in {"run.toml", "environment.json"}:
            file.unlink()
    assert run_command(["report", str(folder)]) == 1
    assert "no epoch is finished yet" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (study / "report.html").mkdir()
    assert run_command(["report", str(study)]) == 1
    assert "report.html: cannot be written" in capsys.readouterr().err


def test_a_result_reports_itself(study: Path) -> None:
    result = read_study(study)
    written = {path: path.read_bytes() for path in rebuild(study)[0]}
    for path in written:
        path.unlink()
    assert result.report() == tuple(written)
    assert {path: path.read_bytes() for path in written} == written


def test_a_result_without_a_finished_stage(study: Path) -> None:
    nothing = replace(read_study(study), stages=())
    for ask in (StudyResult.report, analyze_records):
        with pytest.raises(StorageError, match="no stage is finished, so there is nothing"):
            ask(nothing)


def test_a_record_reports_itself(study: Path) -> None:
    record = read_study(study).stages[0].records[0]
    markdown, page = record.report()
    assert (markdown, page) == (record.path / "report.md", record.path / "report.html")
    assert "<!DOCTYPE html>" in page.read_text("utf-8")
    with pytest.raises(StorageError, match="no epoch is finished"):
        replace(record, rows=()).report()


def test_a_result_displays_its_ladder(study: Path) -> None:
    result = read_study(study)
    lines = str(result).splitlines()
    assert lines[0] == f"two-stages: target 50.00%, {study}"
    for stage in result.stages:
        assert any(stage.stage.name in line for line in lines)
        assert stage.stage.name in result._repr_html_()
    nothing = replace(result, stages=())
    assert "no stage is finished" in str(nothing)
    with pytest.raises(StorageError, match="no stage is finished"):
        nothing.report()
