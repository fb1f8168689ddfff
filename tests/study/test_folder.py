"""A study's folder: the same study continues, another one and a user's own files are refused."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from kilonet.entry import run_command
from kilonet.errors import StorageError
from kilonet.report.rebuild import rebuild
from kilonet.spec import Run, Study, load_study, to_toml
from kilonet.storage.reports import MARKDOWN_MARK
from kilonet.study import IncompleteStudyError, StudyObserver, read_study
from kilonet.study import run_study as run_any_study
from small_studies import study_of

run_study = partial(run_any_study, jobs=1)


class Notes(StudyObserver):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture(scope="module")
def study(small_run: Run) -> Study:
    return study_of(small_run.replace({"net.layers": LAYERS}), seeds=2).replace({"train.epochs": 1})


LAYERS = ["conv 4 stride=2", "conv 4 stride=2", "gap", "pointwise 10 bare"]


@pytest.fixture(scope="module")
def made(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "small"
    run_study(study, folder=folder)
    rebuild(folder)
    return folder


@pytest.fixture
def finished(made: Path, tmp_path: Path) -> Path:
    """As deep in the tree as the original, whose paths are relative."""
    return shutil.copytree(made, tmp_path / "small")


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


OTHER: dict[str, dict[str, Any]] = {
    "train.optimizer.lr = 0.01, not 0.5": {"train.optimizer.lr": 0.5},
    'train.optimizer.name = "sgd", not "adam"': {"train.optimizer": "adam"},
    "its stage 2 has train.batch_size = 32, not 16": {"stage.1.change": {"train.batch_size": 16}},
    "its target is 50.0, not 60.0": {"target": 60},
    'its name is "small", not "mine"': {"name": "mine"},
    "its budget is {}, not { parameters = 9000 }": {"budget": {"parameters": 9000}},
    "validation = 0, not 64": {"data.validation": 64},
}


@pytest.mark.parametrize("reason", OTHER)
def test_another_study_is_refused(reason: str, study: Study, finished: Path) -> None:
    before = files(finished)
    with pytest.raises(StorageError) as caught:
        run_study(study.replace(OTHER[reason]), folder=finished)
    assert f"{finished}: holds another study: " in str(caught.value)
    assert reason in str(caught.value)
    assert "name another folder with --out, or remove" in str(caught.value)
    assert files(finished) == before


def test_stages_that_are_removed_or_inserted_are_another_study(
    study: Study, finished: Path
) -> None:
    stages = study.to_dict()["stage"]
    with pytest.raises(StorageError, match="it has 2 stages, not 1"):
        run_study(study.replace({"stage": stages[:1]}), folder=finished)
    new = {"name": "New", "change": {"train.label_smoothing": 0.1}}
    with pytest.raises(StorageError, match=r"its stage 1 has net\.block"):
        run_study(study.replace({"stage": [new, *stages]}), folder=finished)


def test_seeds_and_later_stages_continue_and_it_is_said(study: Study, finished: Path) -> None:
    notes = Notes()
    stages = study.to_dict()["stage"]
    more = study.replace(
        {"seeds": 3, "stage": [*stages, {"name": "Third", "change": {"train.batch_size": 16}}]}
    )
    result = run_study(more, folder=finished, observer=notes)
    assert [len(stage.records) for stage in result.stages] == [3, 3, 3]
    how = f"Continues the study in {finished} with 3 seeds (before: 2) and 1 more stage; "
    assert notes.lines == [f"{how}finished runs are kept."]
    assert load_study(str(finished)) == more
    notes = Notes()
    run_study(more.replace({"seeds": 1}), folder=finished, observer=notes)
    assert "with 1 seed (before: 3)" in notes.lines[0]
    assert notes.lines[1] == f"All 3 runs were finished before; read from {finished}."
    # Those of the other seeds are still there.
    notes = Notes()
    run_study(more, folder=finished, observer=notes)
    assert notes.lines[1] == f"All 9 runs were finished before; read from {finished}."


def test_a_folder_is_continued_where_it_is(
    finished: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Not begun anew in the default folder."""
    monkeypatch.chdir(tmp_path)
    assert run_command(["study", str(finished), "--set", "seeds=3", "--jobs", "1"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["small"]
    assert len(list((finished / "runs").iterdir())) == 6


def test_words_may_be_edited(study: Study, finished: Path) -> None:
    notes = Notes()
    edited = study.replace({"stage.0.name": "Renamed", "stage.0.target": "In other words."})
    run_study(edited, folder=finished, observer=notes)
    assert "with a new wording" in notes.lines[0]
    assert read_study(finished).stages[0].stage.name == "Renamed"


def test_the_same_study_writes_no_spec(study: Study, finished: Path) -> None:
    before = (finished / "study.toml").stat().st_mtime_ns
    run_study(study, folder=finished)
    assert (finished / "study.toml").stat().st_mtime_ns == before


@pytest.mark.parametrize("name", ["study.toml", "report.md", "report.html", "figures/stage-1.svg"])
def test_a_users_own_file_is_never_replaced(name: str, study: Study, tmp_path: Path) -> None:
    text = f"# mine, with a comment\n{to_toml(study)}" if name == "study.toml" else "# mine\n"
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
    with pytest.raises(StorageError, match=name.partition("/")[0]) as caught:
        run_study(study, folder=tmp_path)
    assert "which is not a study's" in str(caught.value) or "is not kilonet's" in str(caught.value)
    assert files(tmp_path) == {name: text.encode()}


def test_a_users_own_spec_as_kilonet_formats_it(study: Study, tmp_path: Path) -> None:
    """As ``kilonet show`` prints it: other values do not replace it, its own are trained."""
    (tmp_path / "study.toml").write_text(to_toml(study, folder=tmp_path))
    before = files(tmp_path)
    for other in (study.replace({"train.epochs": 2}), study.replace({"seeds": 3})):
        with pytest.raises(StorageError, match=r"study\.toml: is not kilonet's"):
            run_study(other, folder=tmp_path)
        assert files(tmp_path) == before
    run_study(study, folder=tmp_path)
    assert files(tmp_path).items() >= before.items()
    assert run_study(study.replace({"seeds": 3}), folder=tmp_path).study.seeds == 3


@pytest.mark.parametrize("name", ["report.md", "report.html"])
def test_a_users_own_report_among_a_studys_files(
    name: str, study: Study, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (finished / name).write_text("# mine\n")
    before = files(finished)
    with pytest.raises(StorageError, match=f"{name}: is not kilonet's, and would be replaced"):
        run_study(study, folder=finished)
    assert run_command(["report", str(finished)]) == 1
    assert f"{name}: is not kilonet's" in capsys.readouterr().err
    assert files(finished) == before
    run = read_study(finished).stages[0].records[0].path
    (run / name).write_text("mine too")
    with pytest.raises(StorageError, match=f"{name}: is not kilonet's"):
        rebuild(run)
    assert (run / name).read_text() == "mine too"


def test_reports_of_version_0_1_are_replaced(finished: Path) -> None:
    """They have no mark of their own."""
    report = finished / "report.md"
    text = report.read_text("utf-8")
    assert MARKDOWN_MARK in text
    report.write_text(text.replace(MARKDOWN_MARK, ""), "utf-8")
    rebuild(finished)
    assert report.read_text("utf-8") == text


def test_a_study_without_an_epoch_is_in_nobodys_way(study: Study, tmp_path: Path) -> None:
    hopeless = study.replace({"train.optimizer.lr": 1e30, "seeds": 1})
    with pytest.raises(IncompleteStudyError, match="diverged"):
        run_study(hopeless, folder=tmp_path)
    result = run_study(study.replace({"seeds": 1}), folder=tmp_path)
    assert [len(stage.records) for stage in result.stages] == [1, 1]
    # Now there is something to keep.
    with pytest.raises(StorageError, match=r"train\.optimizer\.lr = 0\.01, not 1e\+30"):
        run_study(hopeless, folder=tmp_path)


def test_the_default_folder_holds_one_study(
    study: Study,
    small_mnist: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An edited file of the same name is another study."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "mine.toml"
    file.write_text(to_toml(study.replace({"seeds": 1})))
    assert run_command(["study", "mine.toml", "--jobs", "1"]) == 0
    before = files(tmp_path / "kilonet-studies" / "small")
    file.write_text(to_toml(study.replace({"seeds": 1, "train.optimizer.lr": 0.02})))
    capsys.readouterr()
    assert run_command(["study", "mine.toml", "--jobs", "1"]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "holds another study" in err
    assert files(tmp_path / "kilonet-studies" / "small") == before


def test_a_study_is_found_after_a_move(study: Study, small_mnist: Path, tmp_path: Path) -> None:
    """With its images, then without them."""
    project = tmp_path / "project"
    project.mkdir()
    shutil.copy(small_mnist, project / "x.npz")
    mine = study.replace({"data.name": str(project / "x.npz"), "seeds": 1})
    expected = run_study(mine, folder=project / "s")
    project.rename(tmp_path / "moved")
    moved = tmp_path / "moved"
    found = read_study(moved / "s")
    assert found.study.data.name == str(moved / "x.npz")
    notes = Notes()
    run_study(load_study(str(moved / "s")), folder=moved / "s", observer=notes)
    assert notes.lines == [f"All 2 runs were finished before; read from {moved / 's'}."]
    project.mkdir()
    (moved / "x.npz").rename(project / "x.npz")
    found = read_study(moved / "s")
    assert found.study.data.name == str(project / "x.npz")
    finals = [[r.final_test_accuracy for r in stage.records] for stage in found.stages]
    assert finals == [[r.final_test_accuracy for r in stage.records] for stage in expected.stages]
    _, data = rebuild(moved / "s")
    assert str(tmp_path) not in (moved / "s" / "report.html").read_text("utf-8")
    assert len(data["stages"]) == 2
