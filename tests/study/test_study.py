"""Studies: stages in order, finished runs skipped, changed stages trained."""

from __future__ import annotations

import gc
import shutil
import tomllib
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import kilonet
import kilonet.study.executors.base
from kilonet.data import load_dataset
from kilonet.errors import BudgetError, DataError, NetError, StorageError
from kilonet.spec import (
    Cosine,
    InvalidSpecError,
    Rotation,
    Run,
    Stage,
    Study,
    load_study,
    to_toml,
)
from kilonet.storage.record import RunRecord
from kilonet.study import (
    IncompleteStudyError,
    StudyObserver,
    StudyResult,
    Trial,
    default_folder,
    read_study,
)
from kilonet.study import run_study as run_any_study
from kilonet.study.result import study_trials
from kilonet.training.loop import folder_name
from kilonet.training.observer import Observer
from run_folders import reads
from small_studies import contents

# One trial after another, in a known order; test_scheduler.py is about several at once.
run_study = partial(run_any_study, jobs=1)


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
        stage=[
            {"name": "Batch norm", "change": {"net.block": ["conv", "relu", "batchnorm"]}},
            {"name": "Smaller batches", "change": {"train.batch_size": 32}},
        ],
    )


class Trials(StudyObserver):
    def __init__(self) -> None:
        self.trained: list[tuple[int, int]] = []
        self.ended: list[tuple[int, int]] = []
        self.stages: list[int] = []

    def begin_trial(self, trial: Trial) -> Observer | None:
        outer = self

        class Count(Observer):
            def begin(self, run: Run, *, engine: str, folder: Path, epochs_done: int) -> None:
                outer.trained.append((trial.stage.number, trial.seed))

        return Count()

    def end_trial(self, trial: Trial, record: RunRecord) -> None:
        assert record.finished
        self.ended.append((trial.stage.number, trial.seed))

    def end_stage(self, so_far: StudyResult) -> None:
        self.stages.append(len(so_far.stages))


ALL = [(1, 1), (1, 2), (2, 1), (2, 2)]


@pytest.fixture(scope="module")
def finished(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study") / "small"
    trials = Trials()
    result = run_study(study, folder=folder, observer=trials)
    assert trials.trained == trials.ended == ALL
    assert trials.stages == [1, 2]
    assert [stage.parameters for stage in result.stages] == [7864, 7864]
    return folder


def test_every_stage_has_a_run_a_seed(study: Study, finished: Path) -> None:
    result = run_study(study, folder=finished)
    for stage, spec in zip(result.stages, study.stages, strict=True):
        assert stage.stage == spec
        assert [record.run.train.seed for record in stage.records] == [1, 2]
        for record in stage.records:
            assert record.run == spec.seeded(record.run.train.seed)
            assert record.path == finished / "runs" / folder_name(record.run)
    assert load_study(str(finished)) == study


def test_finished_runs_are_skipped_and_read_once(
    study: Study, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = Trials()
    with reads(monkeypatch) as names:
        run_study(study, folder=finished, observer=trials)
    for name in ("run.toml", "environment.json", "epochs.jsonl"):
        assert names.count(name) == len(ALL)
    assert "checkpoint.safetensors" not in names
    assert trials.trained == []
    assert trials.ended == ALL


def test_a_changed_stage_is_trained_and_the_others_are_kept(
    study: Study, finished: Path, tmp_path: Path
) -> None:
    trials = Trials()
    shutil.copytree(finished, tmp_path / "s")
    # As a user must say who wants it: without its spec the folder still has the runs.
    (tmp_path / "s" / "study.toml").unlink()
    changed = study.replace({"stage.1.change": {"train.batch_size": 40}})
    run_study(changed, folder=tmp_path / "s", observer=trials)
    assert trials.trained == [(2, 1), (2, 2)]


def test_a_study_is_read_back_from_its_records(
    study: Study, finished: Path, tmp_path: Path
) -> None:
    result = run_study(study, folder=finished)
    assert read_study(finished) == result
    with pytest.raises(StorageError, match="holds no study"):
        read_study(tmp_path)
    (tmp_path / "study.toml").write_text(to_toml(study))
    with pytest.raises(StorageError, match="not finished; 'kilonet study"):
        read_study(tmp_path)


def test_an_unfinished_trial_resumes(study: Study, finished: Path, tmp_path: Path) -> None:
    class Stop(Trials):
        def end_trial(self, trial: Trial, record: RunRecord) -> None:
            super().end_trial(trial, record)
            if len(self.ended) == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_study(study, folder=tmp_path / "s", observer=Stop())
    trials = Trials()
    result = run_study(study, folder=tmp_path / "s", observer=trials)
    assert trials.trained == [(2, 2)]
    again = run_study(study, folder=finished)
    for stage, expected in zip(result.stages, again.stages, strict=True):
        for record, other in zip(stage.records, expected.records, strict=True):
            assert record.final_test_accuracy == other.final_test_accuracy


def test_a_stage_over_the_budget_is_an_error_before_training(study: Study, tmp_path: Path) -> None:
    trials = Trials()
    with pytest.raises(BudgetError, match=r"stage 2 'Smaller batches'.*7,?864"):
        run_study(
            study.replace(
                {"budget.parameters": 7800, "stage.0.change": {"train.epochs": 2}}
            ).replace({"stage.1.change": {"net.block": ["conv", "relu", "batchnorm"]}}),
            folder=tmp_path / "s",
            observer=trials,
        )
    assert trials.trained == []
    assert not (tmp_path / "s").exists()


def test_a_later_stage_that_does_not_fit_is_an_error_before_training(
    study: Study, tmp_path: Path
) -> None:
    trials = Trials()
    with pytest.raises(NetError, match="pointwise 9 bare"):
        run_study(
            study.replace({"stage.1.change": {"net.layers.9": "pointwise 9 bare"}}),
            folder=tmp_path / "s",
            observer=trials,
        )
    assert trials.trained == []
    assert not (tmp_path / "s").exists()


def test_too_many_epochs_are_an_error_before_training(study: Study, tmp_path: Path) -> None:
    long = study.replace({"stage.1.change": {"train.epochs": 4}})
    with pytest.raises(BudgetError, match=r"stage 2 'Smaller batches': 4 epochs are 1 over"):
        run_study(long, folder=tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_the_temporary_file_of_a_killed_study_is_ignored(study: Study, tmp_path: Path) -> None:
    (tmp_path / ".study.toml.0123456789abcdef.tmp").write_text("half")
    trials = Trials()
    run_study(study.replace({"seeds": 1}), folder=tmp_path, observer=trials)
    assert trials.trained == [(1, 1), (2, 1)]


def test_a_stage_in_python_may_contain_specs(study: Study) -> None:
    change = {"train.schedule": Cosine(), "data.augment": (Rotation(degrees=3),)}
    stage = Stage(name="Both", change=change)
    assert stage.change["data.augment"][0]["degrees"] == [-3.0, 3.0]
    changed = study.replace({"stage.1.change": stage.change})
    assert changed.stages[1].run.train.schedule == Cosine()
    assert Study.from_dict(tomllib.loads(to_toml(changed))) == changed
    with pytest.raises(InvalidSpecError, match="'eta_min' has no value"):
        Stage(name="None", change={"train.schedule": {"name": "cosine", "eta_min": None}})


def test_a_folder_that_is_not_this_studys(study: Study, finished: Path, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match='holds another study: its name is "small", not "other"'):
        run_study(study.replace({"name": "other"}), folder=finished)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StorageError, match=r"contains 'notes.txt', which is not a study's"):
        run_study(study, folder=tmp_path)
    (tmp_path / "nowhere").symlink_to(tmp_path / "missing")
    for name in ("notes.txt", "nowhere"):
        with pytest.raises(StorageError, match=f"{name}: is not a folder"):
            run_study(study, folder=tmp_path / name)


def test_default_folder(study: Study) -> None:
    assert default_folder(study) == Path("kilonet-studies/small")


def test_equal_stages_share_a_run(study: Study, tmp_path: Path) -> None:
    """A stage that changes nothing costs nothing."""
    trials = Trials()
    same = study.replace({"seeds": 1, "stage.1.change": {"train.batch_size": 64}})
    result = run_study(same, folder=tmp_path / "s", observer=trials)
    assert trials.trained == [(1, 1)]
    assert result.stages[0].records[0].path == result.stages[1].records[0].path


def test_a_truncated_spec(study: Study, tmp_path: Path) -> None:
    """The error names it, its advice helps, and no run is trained again."""
    folder = tmp_path / "s"
    run_study(study, folder=folder)
    spec = folder / "study.toml"
    content = spec.read_bytes()
    for size in (0, 200, content.index(b"[[stage]]")):
        spec.write_bytes(content[:size])
        for read in (read_study, partial(run_study, study, folder=folder)):
            with pytest.raises(StorageError, match=r"study\.toml: not a complete study") as caught:
                read(folder) if read is read_study else read()
            assert f"'kilonet study STUDY --out {folder}' then writes it again" in str(caught.value)
        assert spec.read_bytes() == content[:size]
    for name in ("report.md", "report.html"):
        (folder / name).touch()
    (folder / "figures").mkdir()
    spec.unlink()
    trials = Trials()
    run_study(study, folder=folder, observer=trials)
    assert trials.trained == []
    assert spec.read_bytes() == content


def test_a_run_that_is_damaged_as_it_ends_is_one_failure(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = kilonet.study.executors.base.train

    def cut_off(run: Run, **options: Any) -> RunRecord:
        record = real(run, **options)
        if run.train.batch_size == 64:
            (record.path / "epochs.jsonl").write_text("")
        return record

    monkeypatch.setattr("kilonet.study.executors.base.train", cut_off)
    trials = Trials()
    with pytest.raises(
        IncompleteStudyError, match=r"epochs\.jsonl: truncated or altered"
    ) as caught:
        run_study(study.replace({"seeds": 1}), folder=tmp_path / "s", observer=trials)
    assert [failure.trial.stage.number for failure in caught.value.failures] == [1]
    assert trials.ended == [(2, 1)]


def test_images_that_are_given_from_python(study: Study, tmp_path: Path) -> None:
    """Each worker gets them; the runs are those of one after another, and no plain study's."""
    own = load_dataset(study.data.name)
    own = replace(own, train_images=own.train_images[:320], train_labels=own.train_labels[:320])
    serial = run_study(study, folder=tmp_path / "serial", data=own)
    parallel = run_study(study, folder=tmp_path / "parallel", data=own, jobs=2, threads=2)
    assert contents(tmp_path / "serial") == contents(tmp_path / "parallel")
    assert serial.study.data.name.startswith("python:small-")
    record = parallel.stages[0].records[0]
    assert record.provenance.data.sha256 == own.fingerprint
    assert record.provenance.data.train_images == 320
    predicted = record.model().evaluate(own.test_images, own.test_labels)
    assert predicted.accuracy == record.final_test_accuracy
    again = run_study(study, folder=tmp_path / "parallel", data=own)
    assert again == parallel
    # Its reports have them; those of a later process do not, and say so.
    assert all(stage.errors is not None for stage in kilonet.analyze(again).stages)
    given = again.study
    del own, serial, parallel, again
    gc.collect()
    [first, *_] = kilonet.analyze(read_study(tmp_path / "parallel")).stages
    assert first.errors is None
    assert first.findings[0].verdict == "not known"
    with pytest.raises(DataError, match="given from Python"):
        run_study(given, folder=tmp_path / "parallel")


def test_images_by_path(study: Study, tmp_path: Path) -> None:
    other = study.replace({"data.name": "mnist"})
    expected = study_trials(study, tmp_path)
    found = run_study(other, folder=tmp_path, data=study.data.name)
    assert [str(trial.folder) for trial in expected] == found.to_frame()["folder"].tolist()


def test_a_result_as_a_data_frame(study: Study, tmp_path: Path) -> None:
    held_out = {"name": "Held out", "change": {"data.validation": 64}}
    study = study.replace({"stage": [*study.to_dict()["stage"], held_out], "target": 2.0})
    result = run_study(study, folder=tmp_path)
    frame = result.to_frame()
    assert frame["stage"].tolist() == [1, 1, 2, 2, 3, 3]
    assert frame["name"].tolist()[::2] == ["Batch norm", "Smaller batches", "Held out"]
    assert frame["seed"].tolist() == [1, 2] * 3
    assert frame["parameters"].tolist() == [
        stage.run.net.num_parameters for stage in study.stages for _ in range(2)
    ]
    records = [record for stage in result.stages for record in stage.records]
    assert frame["final_test_accuracy"].tolist() == [r.rows[-1].test_accuracy for r in records]
    assert frame["folder"].tolist() == [str(r.path) for r in records]
    assert frame["final_validation_accuracy"].isna().tolist() == [True] * 4 + [False] * 2
    assert not frame["reached"].any()  # in one epoch
    assert str(frame["reached"].dtype) == "bool"
    assert list(read_study(tmp_path).to_frame().columns) == list(frame.columns)


def test_a_study_without_stages_is_read_back(study: Study, tmp_path: Path) -> None:
    baseline = study.replace({"stage": [], "seeds": 1, "train.epochs": 1})
    result = run_study(baseline, folder=tmp_path / "s")
    [stage] = read_study(tmp_path / "s").stages
    assert (stage.stage.name, stage.stage.run) == ("Baseline", baseline.run)
    assert stage.records == result.stages[0].records
