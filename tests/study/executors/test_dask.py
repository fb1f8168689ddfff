"""Studies on a Dask cluster in this process: what is refused, what is sent, what is told."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from kilonet.data import Dataset, load_dataset
from kilonet.entry import run_command
from kilonet.errors import ClusterError, EngineError, UsageError
from kilonet.spec import Run
from kilonet.storage.run_folder import RunFolder
from kilonet.study import IncompleteStudyError, StudyObserver, Trial, run_study
from kilonet.study.executors import dask_cluster, dask_worker
from kilonet.study.executors.base import EpochBegun, EpochDone, StepDone
from kilonet.study.executors.dask import DaskExecutor, _events, _Job, _live_events
from kilonet.study.executors.dask_cluster import Workers, check_place, connect
from kilonet.study.executors.dask_worker import Piece, Version
from kilonet.training.observer import Observer
from run_folders import row
from small_studies import Lines, contents, study_of, trial_of

pytestmark = pytest.mark.native


@pytest.mark.parametrize(
    "on",
    [
        "",
        "Dask",
        "ray",
        "dask:",
        "dask://",
        "dask://host",
        "dask://h:0",
        "dask://h:65536",
        "tcp://h:1",
    ],
)
def test_a_place_that_is_none(on: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match=r"should be local, dask .* or dask://HOST:PORT"):
        check_place(on)
    assert run_command(["study", "--on", on]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_places() -> None:
    for on in ("local", "dask", "dask://host:1", "dask://10.0.0.1:8786", "dask://[::1]:8786"):
        check_place(on)
    assert dask_cluster._address("dask://[::1]:8786") == "tcp://[::1]:8786"
    with pytest.raises(UsageError, match=r"or a client of dask\.distributed"):
        check_place(8786)


def test_a_scheduler_that_is_not_there(
    small_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_cluster, "CONNECT_SECONDS", 0.2)
    with pytest.raises(ClusterError, match="no Dask scheduler answers there") as caught:
        run_study(study_of(small_run), folder=tmp_path / "s", on="dask://127.0.0.1:9")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "s").exists()


def test_without_dask(small_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ClusterError, match=r"not installed; pip install 'kilonet\[cluster\]'"):
        run_study(study_of(small_run), folder=tmp_path / "s", on="dask")
    assert not (tmp_path / "s").exists()


def test_a_cluster_without_workers(
    small_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(dask_cluster, "WORKER_SECONDS", 0.2)
    seen = Lines()
    with (
        distributed.LocalCluster(
            n_workers=0, processes=False, dashboard_address="127.0.0.1:0"
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
        pytest.raises(ClusterError, match=r"no worker joined within 0\.2 s"),
    ):
        run_study(study_of(small_run), folder=tmp_path / "s", on=client, observer=seen)
    [line] = seen.lines
    assert "has no worker; waiting up to 0.2 s for one" in line


def test_a_finished_study_needs_no_cluster(small_run: Run, tmp_path: Path) -> None:
    study = study_of(small_run)
    run_study(study, folder=tmp_path / "s", jobs=1)
    assert run_study(study, folder=tmp_path / "s", on="dask://127.0.0.1:9").stages


def test_an_engine_that_the_workers_lack(small_run: Run, tmp_path: Path, dask_client: Any) -> None:
    with pytest.raises(EngineError, match=r"worker \S+: device 'cuda': the native engine runs on"):
        run_study(
            study_of(small_run),
            folder=tmp_path / "s",
            on=dask_client,
            engine="native",
            device="cuda",
        )
    assert not (tmp_path / "s").exists()


def test_pieces_of_one_epoch(
    small_run: Run,
    alone: dict[str, object],
    tmp_path: Path,
    dask_client: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each epoch is a task, with a checkpoint before and after it."""
    monkeypatch.setattr(dask_worker, "PIECE_SECONDS", 0.0)
    epochs: list[tuple[int, int, int]] = []

    class Epochs(StudyObserver):
        def begin_trial(self, trial: Trial) -> Observer:
            class Epoch(Observer):
                def end_epoch(self, row: Any, *, correct: int, count: int) -> None:
                    saved = len(RunFolder(trial.folder).record().rows)
                    epochs.append((trial.stage.number, trial.seed, saved - row.epoch))

            return Epoch()

    run_study(study_of(small_run), folder=tmp_path / "s", on=dask_client, observer=Epochs())
    assert contents(tmp_path / "s") == alone
    expected = [(stage, seed, 1) for stage in (1, 2) for seed in (1, 2) for _ in range(2)]
    assert sorted(epochs) == expected


def test_data_that_the_workers_cannot_load_are_sent(
    small_run: Run, tmp_path: Path, dask_client: Any
) -> None:
    """A data set in memory; and one of a path where the worker finds other images."""
    small = load_dataset(small_run.data.name)
    arrays = {
        f"{split}_{kind}": getattr(small, f"{split}_{kind}")[::2]
        for split in ("train", "test")
        for kind in ("images", "labels")
    }
    half = Dataset(name="half", classes=tuple("abcdefghij"), **arrays)
    for name in ("in-memory", small_run.data.name, "/nowhere/images.npz"):
        study = study_of(small_run.replace({"data.name": name}), seeds=1)
        folders = [tmp_path / place / str(len(name)) for place in ("here", "there")]
        run_study(study, folder=folders[0], jobs=1, load=lambda _: half)
        result = run_study(study, folder=folders[1], on=dask_client, load=lambda _: half)
        assert contents(folders[0]) == contents(folders[1])
        record = result.stages[0].records[0]
        assert record.run.data.name == name
        assert record.provenance.data.path == ("" if name == "in-memory" else name)


def test_a_bug_in_a_worker_keeps_its_traceback(
    small_run: Run, tmp_path: Path, dask_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("here")

    monkeypatch.setattr(dask_worker, "train_trial", fail)
    with pytest.raises(RuntimeError, match=r"(?s)on worker .*ZeroDivisionError: here"):
        run_study(study_of(small_run), folder=tmp_path / "s", on=dask_client)


def test_a_full_disk_of_a_worker_fails_its_trials(
    small_run: Run, tmp_path: Path, dask_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(dask_worker, "_train", full)
    with pytest.raises(IncompleteStudyError) as caught:
        run_study(study_of(small_run), folder=tmp_path / "s", on=dask_client)
    assert len(caught.value.failures) == 4
    for failure in caught.value.failures:
        assert "on worker " in str(failure)
        assert "No space left on device" in str(failure)


def test_a_run_that_somebody_changes_meanwhile_is_not_overwritten(
    small_run: Run, tmp_path: Path, dask_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_worker, "PIECE_SECONDS", 0.0)
    study = study_of(small_run, seeds=1)
    changed: dict[Path, bytes] = {}

    class Change(StudyObserver):
        def begin_trial(self, trial: Trial) -> Observer:
            rows = trial.folder / "epochs.jsonl"

            class First(Observer):
                def end_epoch(self, row: Any, *, correct: int, count: int) -> None:
                    if trial.stage.number == 1 and row.epoch == 0:
                        changed[rows] = rows.read_bytes() + b"\n"
                        rows.write_bytes(changed[rows])

            return First()

    with pytest.raises(IncompleteStudyError, match="another process changed the run") as caught:
        run_study(study, folder=tmp_path / "s", on=dask_client, observer=Change())
    assert len(caught.value.failures) == 1
    [(rows, content)] = changed.items()
    assert rows.read_bytes() == content


def test_a_worker_that_joins_with_another_version(
    small_run: Run, tmp_path: Path, dask_client: Any
) -> None:
    """Each piece compares before it trains, and before it unpickles anything of kilonet's."""
    with connect(dask_client, num_workers=1, tell=print) as cluster:
        executor = DaskExecutor(cluster, load_dataset, tell=print)
        executor._version = Version(kilonet="0.0.9", source="0" * 64)
        executor.submit(trial_of(small_run, tmp_path / "run"), ONE_THREAD)

        def poll() -> None:
            while True:
                executor.poll(lambda trial, event: None)

        with pytest.raises(ClusterError, match=r"worker \S+ has kilonet \S+ \(source"):
            poll()
        executor.shutdown(wait=True)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("process", "package", "version", "line"),
    [
        ("worker", "python", "3.9.1.final.0", r"worker \S+ has Python 3\.9, but this process has"),
        ("scheduler", "python", "3.9.1.final.0", r"the scheduler has Python 3\.9, but"),
        ("worker", "distributed", "2020.1", r"has distributed 2020\.1, but this process has dist"),
        ("scheduler", "dask", "2020.1", r"the scheduler has dask 2020\.1, but"),
        ("worker", "kilonet", "0.0.9", r"has kilonet 0\.0\.9, but this process has kilonet "),
        ("worker", "kilonet", "none", r"has kilonet none, but"),
        ("worker", "numpy", "1.0", ""),
        ("worker", "torch", "none", ""),
    ],
)
def test_versions_that_differ(
    process: str,
    package: str,
    version: str,
    line: str,
    dask_client: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = dask_cluster._versions

    def patched(client: Any, packages: Any) -> Any:
        scheduler, workers = real(client, packages)
        changed = {package: version}
        if process == "scheduler":
            return scheduler | changed, workers
        return scheduler, {address: found | changed for address, found in workers.items()}

    monkeypatch.setattr(dask_cluster, "_versions", patched)
    told: list[str] = []
    if line:
        with (
            pytest.raises(ClusterError, match=line),
            connect(dask_client, num_workers=1, tell=told.append),
        ):
            pass
        return
    with connect(dask_client, num_workers=1, tell=told.append):
        pass
    if package == "numpy":
        [note] = told
        assert "has numpy 1.0, this process " in note
        assert note.endswith("results may differ in their last bits")


ONE_THREAD = dask_worker.Resources(engine="auto", device="auto", threads=1)


def job_of(small_run: Run) -> _Job:
    return _Job(trial=trial_of(small_run, Path("run")), resources=ONE_THREAD, order=0)


def message(step: int) -> dict[str, Any]:
    values = {"engine": "e", "num_steps": 10, "loss": 1.0, "accuracy": 10.0, "lr": 0.1}
    return {"epoch": step // 10, "step": step, "batch": step % 10, **values}


def test_steps_come_once_and_only_of_the_epoch_that_is_next(small_run: Run) -> None:
    job = job_of(small_run)
    kinds = [type(event).__name__ for event in _live_events(job, message(3))]
    assert kinds == ["Begun", "EpochBegun", "StepDone"]
    # The worker died, and another one begins the piece again.
    for step in (0, 3):
        assert _live_events(job, message(step)) == []
    [step] = _live_events(job, message(4))
    assert isinstance(step, StepDone)
    # A piece of two epochs is saved as one: the second one's steps would come before its first end.
    assert _live_events(job, message(12)) == []
    # An epoch of ten steps, and, as with a batch schedule, one of five.
    steps = [
        StepDone(step=n, batch=batch, loss=1.0, accuracy=10.0, lr=0.1)
        for n, batch in ((9, 9), (14, 4))
    ]
    ends = [EpochDone(row=row(number), correct=1, count=2) for number in (0, 1)]
    epochs = tuple(zip(steps, ends, strict=True))
    piece = Piece(worker="w", end=None, engine="e", epochs=epochs)
    assert _events(job, piece) == [*epochs[0], EpochBegun(epoch=1, num_steps=5), *epochs[1]]
    assert _live_events(job, message(15)) == []
    first, second = _live_events(job, message(20))
    assert first == EpochBegun(epoch=2, num_steps=10)
    assert isinstance(second, StepDone)


def test_workers_that_show_no_sign_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("kilonet.study.executors.dask_cluster.time.monotonic", lambda: now)
    workers = Workers()
    # The scheduler's clock is another one.
    assert workers.update({"a": {"last_seen": 5.0}, "b": {"last_seen": 5.0}}) == ""
    assert workers.alive == {"a", "b"}
    now += 20
    told = workers.update({"a": {"last_seen": 25.0}, "b": {"last_seen": 5.0}})
    assert told == "no sign of life from worker b for 15 s; its runs continue elsewhere"
    assert (workers.alive, workers.silent) == ({"a"}, {"b"})
    now += 1
    assert workers.update({"a": {"last_seen": 26.0}, "b": {"last_seen": 5.0}}) == ""
    assert workers.update({"a": {"last_seen": 26.0}, "b": {"last_seen": 27.0}}) == ""
    assert workers.alive == {"a", "b"}
    assert workers.update({}) == "no worker is left; waiting for one"
    assert workers.update({}) == ""
    assert workers.update({"c": {"last_seen": 30.0}}) == ""
