"""A worker of a cluster that does not have the folder of a teacher."""

from __future__ import annotations

from pathlib import Path

from kilonet.data import load_dataset
from kilonet.spec import Run
from kilonet.study.executors.base import Failed, Resources
from kilonet.study.executors.dask_worker import DataKey, Task, _PieceObserver, _train


def test_the_line_names_the_worker_and_the_folder(small_run: Run, tmp_path: Path) -> None:
    elsewhere = {"folder": str(tmp_path / "teacher"), "sha256": "a" * 64}
    run = small_run.replace({"train.teacher": {"runs": [elsewhere]}})
    dataset = load_dataset(run.data.name)
    task = Task(
        run=run,
        resources=Resources(engine="auto", device="auto", threads=1),
        data=DataKey.of(run.data.name, dataset),
        files={},
        topic="",
    )
    observer = _PieceObserver(3, lambda message: None, lambda: False)
    piece = _train(task, dataset, observer, tmp_path, "tcp://there:1")
    assert isinstance(piece.end, Failed)
    assert piece.end.reason == (
        f"on worker tcp://there:1: train.teacher: {tmp_path / 'teacher'}: not a run folder: it has "
        "no run.toml"
    )
    assert not piece.epochs
