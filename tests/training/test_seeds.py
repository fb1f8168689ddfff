"""One run with several seeds."""

from __future__ import annotations

from pathlib import Path

import pytest

from kilonet.errors import DivergenceError
from kilonet.spec import Run
from kilonet.training import train
from kilonet.training.seeds import train_seeds


@pytest.fixture(scope="module")
def tiny_run(small_run: Run) -> Run:
    layers = ["conv 4", "maxpool 2", "conv 4", "gap", "pointwise 10 bare"]
    return small_run.replace({"net.layers": layers, "train.epochs": 1, "data.augment": []})


def test_each_seed_is_the_run_of_that_seed(tiny_run: Run, tmp_path: Path) -> None:
    found = train_seeds(tiny_run.replace({"train.seed": 9}), seeds=2, folder=tmp_path, threads=1)
    assert found.failures == ()
    assert [record.path.name for record in found.records] == ["seed-1", "seed-2"]
    for seed, record in enumerate(found.records, start=1):
        assert record.run == tiny_run.replace({"train.seed": seed})
    alone = train(tiny_run.replace({"train.seed": 2}), folder=tmp_path / "alone", threads=1)
    assert alone.final_test_accuracy == found.records[1].final_test_accuracy
    weights = [path / "weights.safetensors" for path in (alone.path, tmp_path / "seed-2")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    # Finished runs are read.
    again = train_seeds(tiny_run, seeds=3, folder=tmp_path, threads=1)
    assert again.records[:2] == found.records
    assert len(again.records) == 3


def test_a_seed_that_diverges_does_not_stop_the_others(
    tiny_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverges(run: Run, **options: object) -> object:
        if run.train.seed == 1:
            raise DivergenceError("epoch 0: the loss is nan")
        return train(run, folder=tmp_path, threads=1)

    monkeypatch.setattr("kilonet.training.seeds.train", diverges)
    found = train_seeds(tiny_run, seeds=2)
    assert found.failures == ("seed 1: epoch 0: the loss is nan",)
    assert [record.run.train.seed for record in found.records] == [2]
