"""Studies: rungs in order, finished work kept, changed steps trained anew."""

from __future__ import annotations

import tomllib
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import kilonet.tasks
from kilonet.errors import BudgetError, NetError, StoreError
from kilonet.record import RunRecord
from kilonet.run import Observer, folder_name
from kilonet.spec import (
    Cosine,
    InvalidSpecError,
    Rotation,
    Run,
    Study,
    StudyStep,
    load_study,
    to_toml,
)
from kilonet.study import (
    IncompleteStudyError,
    StudyObserver,
    StudyResult,
    default_folder,
    read_study,
)
from kilonet.study import run_study as run_study_at_once
from kilonet.tasks import Task

# One task after another, in a known order; what is different with several is in test_tasks.py.
run_study = partial(run_study_at_once, jobs=1)


@pytest.fixture(scope="module")
def study(small_run: Run) -> Study:
    base = small_run.replace({"net.block": ["conv", "relu"], "data.augment": []})
    return Study(
        name="small",
        target=50.0,
        budget={"parameters": 8000, "epochs": 3},
        seeds=2,
        net=base.net,
        data=base.data,
        train=base.train.replace({"epochs": 1}),
        step=[
            {"name": "Batch norm", "change": {"net.block": ["conv", "relu", "batchnorm"]}},
            {"name": "Smaller batches", "change": {"train.batch_size": 32}},
        ],
    )


class Tasks(StudyObserver):
    def __init__(self) -> None:
        self.trained: list[tuple[int, int]] = []
        self.ended: list[tuple[int, int]] = []
        self.rungs: list[int] = []

    def begin_task(self, task: Task) -> Observer | None:
        from kilonet.run import Silent

        outer = self

        class Count(Silent):
            def begin(self, run: Run, *, engine: str, folder: Path, epochs_done: int) -> None:
                outer.trained.append((task.rung.number, task.seed))

        return Count()

    def end_task(self, task: Task, record: RunRecord) -> None:
        assert record.finished
        self.ended.append((task.rung.number, task.seed))

    def end_rung(self, so_far: StudyResult) -> None:
        self.rungs.append(len(so_far.rungs))


ALL = [(1, 1), (1, 2), (2, 1), (2, 2)]


@pytest.fixture(scope="module")
def climbed(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study") / "small"
    tasks = Tasks()
    result = run_study(study, folder=folder, observer=tasks)
    assert tasks.trained == tasks.ended == ALL
    assert tasks.rungs == [1, 2]
    assert [rung.parameters for rung in result.rungs] == [7864, 7864]
    return folder


def test_every_rung_has_a_run_a_seed(study: Study, climbed: Path) -> None:
    result = run_study(study, folder=climbed)
    for rung, spec in zip(result.rungs, study.rungs, strict=True):
        assert rung.rung == spec
        assert [record.run.train.seed for record in rung.records] == [1, 2]
        for record in rung.records:
            assert record.run == spec.seeded(record.run.train.seed)
            assert record.path == climbed / "runs" / folder_name(record.run)
    assert load_study(str(climbed)) == study


def test_finished_rungs_are_not_trained_again(study: Study, climbed: Path) -> None:
    tasks = Tasks()
    run_study(study, folder=climbed, observer=tasks)
    assert tasks.trained == []
    assert tasks.ended == ALL


def test_a_changed_step_is_trained_and_the_others_are_kept(study: Study, climbed: Path) -> None:
    tasks = Tasks()
    changed = study.replace({"step.1.change": {"train.batch_size": 40}})
    run_study(changed, folder=climbed, observer=tasks)
    assert tasks.trained == [(2, 1), (2, 2)]
    tasks = Tasks()
    run_study(study.replace({"seeds": 3}), folder=climbed, observer=tasks)
    assert tasks.trained == [(1, 3), (2, 3)]
    tasks = Tasks()
    run_study(
        study.replace({"step.0.name": "Renamed", "target": 60}), folder=climbed, observer=tasks
    )
    assert tasks.trained == []


def test_a_study_is_read_back_from_its_records(study: Study, climbed: Path, tmp_path: Path) -> None:
    result = run_study(study, folder=climbed)
    assert read_study(climbed) == result
    with pytest.raises(StoreError, match="holds no study"):
        read_study(tmp_path)
    (tmp_path / "study.toml").write_text(to_toml(study))
    with pytest.raises(StoreError, match="not finished; 'kilonet study"):
        read_study(tmp_path)


def test_an_unfinished_task_resumes(study: Study, climbed: Path, tmp_path: Path) -> None:
    class Stop(Tasks):
        def end_task(self, task: Task, record: RunRecord) -> None:
            super().end_task(task, record)
            if len(self.ended) == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_study(study, folder=tmp_path / "s", observer=Stop())
    tasks = Tasks()
    result = run_study(study, folder=tmp_path / "s", observer=tasks)
    assert tasks.trained == [(2, 2)]
    again = run_study(study, folder=climbed)
    for rung, expected in zip(result.rungs, again.rungs, strict=True):
        for record, other in zip(rung.records, expected.records, strict=True):
            assert record.final_test_accuracy == other.final_test_accuracy


def test_over_budget_is_said_before_anything_is_trained(study: Study, tmp_path: Path) -> None:
    tasks = Tasks()
    with pytest.raises(BudgetError, match=r"step 2 'Smaller batches'.*7,?864"):
        run_study(
            study.replace(
                {"budget.parameters": 7800, "step.0.change": {"train.epochs": 2}}
            ).replace({"step.1.change": {"net.block": ["conv", "relu", "batchnorm"]}}),
            folder=tmp_path / "s",
            observer=tasks,
        )
    assert tasks.trained == []
    assert not (tmp_path / "s").exists()


def test_a_later_rung_that_does_not_fit_is_told_before_anything_is_trained(
    study: Study, tmp_path: Path
) -> None:
    tasks = Tasks()
    with pytest.raises(NetError, match="pointwise 9 bare"):
        run_study(
            study.replace({"step.1.change": {"net.layers.9": "pointwise 9 bare"}}),
            folder=tmp_path / "s",
            observer=tasks,
        )
    assert tasks.trained == []
    assert not (tmp_path / "s").exists()


def test_too_many_epochs_are_told_before_anything_is_trained(study: Study, tmp_path: Path) -> None:
    long = study.replace({"step.1.change": {"train.epochs": 4}})
    with pytest.raises(BudgetError, match=r"step 2 'Smaller batches': 4 epochs are 1 over"):
        run_study(long, folder=tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_what_a_kill_left_of_the_first_write_is_no_stranger(study: Study, tmp_path: Path) -> None:
    (tmp_path / ".study.toml.0123456789abcdef.tmp").write_text("half")
    tasks = Tasks()
    run_study(study.replace({"seeds": 1}), folder=tmp_path, observer=tasks)
    assert tasks.trained == [(1, 1), (2, 1)]


def test_a_step_in_python_may_hold_specs(study: Study) -> None:
    change = {"train.schedule": Cosine(), "data.augment": (Rotation(degrees=3),)}
    step = StudyStep(name="Both", change=change)
    assert step.change["data.augment"][0]["degrees"] == [-3.0, 3.0]
    changed = study.replace({"step.1.change": step.change})
    assert changed.rungs[1].run.train.schedule == Cosine()
    assert load_study_text(to_toml(changed)) == changed
    with pytest.raises(InvalidSpecError, match="'eta_min' has no value"):
        StudyStep(name="None", change={"train.schedule": {"name": "cosine", "eta_min": None}})


def load_study_text(text: str) -> Study:
    return Study.from_dict(tomllib.loads(text))


def test_a_folder_that_is_not_this_studys(study: Study, climbed: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="holds the study 'small'"):
        run_study(study.replace({"name": "other"}), folder=climbed)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match=r"holds 'notes.txt', no study"):
        run_study(study, folder=tmp_path)
    (tmp_path / "nowhere").symlink_to(tmp_path / "missing")
    for name in ("notes.txt", "nowhere"):
        with pytest.raises(StoreError, match=f"{name}: is not a folder"):
            run_study(study, folder=tmp_path / name)


def test_default_folder(study: Study) -> None:
    assert default_folder(study) == Path("kilonet-studies/small")


def test_equal_rungs_share_a_run(study: Study, tmp_path: Path) -> None:
    """A step that changes nothing costs nothing."""
    tasks = Tasks()
    same = study.replace({"seeds": 1, "step.1.change": {"train.batch_size": 64}})
    result = run_study(same, folder=tmp_path / "s", observer=tasks)
    assert tasks.trained == [(1, 1)]
    assert result.rungs[0].records[0].path == result.rungs[1].records[0].path


def test_a_spec_that_is_cut_off(study: Study, tmp_path: Path) -> None:
    """It is named, what to do helps, and no run is trained again."""
    folder = tmp_path / "s"
    run_study(study, folder=folder)
    spec = folder / "study.toml"
    content = spec.read_bytes()
    for size in (0, 200, content.index(b"[[step]]")):
        spec.write_bytes(content[:size])
        for read in (read_study, partial(run_study, study, folder=folder)):
            with pytest.raises(StoreError, match=r"study\.toml: no whole study \(") as told:
                read(folder) if read is read_study else read()
            assert f"'kilonet study STUDY --out {folder}' then writes it again" in str(told.value)
        assert spec.read_bytes() == content[:size]
    for name in ("report.md", "report.html"):
        (folder / name).touch()
    (folder / "figures").mkdir()
    spec.unlink()
    tasks = Tasks()
    run_study(study, folder=folder, observer=tasks)
    assert tasks.trained == []
    assert spec.read_bytes() == content


def test_a_run_that_is_damaged_as_it_ends_fails_alone(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = kilonet.tasks.train

    def cut_off(run: Run, **options: Any) -> RunRecord:
        record = real(run, **options)
        if run.train.batch_size == 64:
            (record.path / "epochs.jsonl").write_text("")
        return record

    monkeypatch.setattr("kilonet.tasks.train", cut_off)
    tasks = Tasks()
    with pytest.raises(IncompleteStudyError, match=r"epochs\.jsonl: truncated or altered") as told:
        run_study(study.replace({"seeds": 1}), folder=tmp_path / "s", observer=tasks)
    assert [failure.task.rung.number for failure in told.value.failures] == [1]
    assert tasks.ended == [(2, 1)]
