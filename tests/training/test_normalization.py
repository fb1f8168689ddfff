"""The normalization of a run is recorded, and a resumed run keeps that of its beginning."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kilonet.data import Dataset, RunData, load_dataset
from kilonet.data.run_data import unrecorded_normalization
from kilonet.spec import Run
from kilonet.storage.checksums import json_from_bytes, json_to_bytes
from kilonet.storage.provenance import Normalization
from kilonet.storage.run_folder import RunFolder
from kilonet.training.loop import train
from kilonet.training.observer import Observer
from kilonet.training.range_test import find_lr


@pytest.fixture
def run(small_run: Run, small_mnist: Path, tmp_path: Path) -> Run:
    """Half of the images are darker, and a part is held out; without a stated normalization."""
    with np.load(small_mnist) as archive:
        arrays = dict(archive)
    arrays["train_images"][::2] //= 3
    np.savez(tmp_path / "mine.npz", **arrays)
    data = {"name": str(tmp_path / "mine.npz"), "validation": 100}
    return small_run.replace({"data": data, "train.epochs": 2})


class Stop(Observer):
    def end_epoch(self, row: Any, *, correct: int, count: int) -> None:
        raise KeyboardInterrupt


def stopped(run: Run, folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(run, folder=folder, observer=Stop())


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "environment.json"
    content = {**json_from_bytes(path.read_bytes()), **changes}
    known = {key: value for key, value in content.items() if value is not None}
    path.write_bytes(json_to_bytes(known))


def recorded(folder: Path) -> Normalization:
    return RunFolder(folder).record().provenance.normalization


def test_it_is_recorded(run: Run, tmp_path: Path) -> None:
    record = train(run, folder=tmp_path / "run")
    dataset = load_dataset(run.data.name)
    expected = RunData.of(run, dataset).normalization
    assert record.provenance.normalization == recorded(record.path) == expected
    assert expected != unrecorded_normalization(run, dataset)
    content = json_from_bytes((record.path / "environment.json").read_bytes())
    pixels = dataset.train_images[RunData.of(run, dataset).train_index] / 255
    assert content["normalization"] == {
        "mean": [round(pixels.mean(), 4)],
        "std": [round(pixels.std(), 4)],
    }
    assert content["data"]["classes"] == list("0123456789")


def test_a_resumed_run_keeps_what_is_recorded(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    stopped(run, folder)
    edit(folder, normalization={"mean": [0.5], "std": [0.25]})
    record = train(run, folder=folder, resume=True)
    assert record.provenance.normalization == Normalization(mean=(0.5,), std=(0.25,))
    images = load_dataset(run.data.name).test_images
    model = record.model()
    assert model.preprocess.mean == (0.5,)
    assert model.logits(images).tobytes() == RunFolder(folder).test_logits().tobytes()


def test_a_stopped_run_of_version_0_1_keeps_its_bits(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It computed the normalization from all training images, and recorded nothing."""
    current = RunData.of

    def former(run: Run, dataset: Dataset) -> RunData:
        normalization = unrecorded_normalization(run, dataset)
        return replace(current(run, dataset), normalization=normalization)

    with monkeypatch.context() as patch:
        patch.setattr(RunData, "of", former)
        train(run, folder=tmp_path / "whole")
        stopped(run, tmp_path / "run")
    edit(tmp_path / "run", normalization=None)
    assert recorded(tmp_path / "run") == Normalization()
    train(run, folder=tmp_path / "run", resume=True)
    for name in ("weights.safetensors", "predictions.npz"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    expected = unrecorded_normalization(run, load_dataset(run.data.name))
    assert recorded(tmp_path / "run") == expected
    # A new run of the same spec has another one, and so other bits.
    train(run, folder=tmp_path / "new")
    assert recorded(tmp_path / "new") != expected


def test_a_range_test_uses_that_of_the_training(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import kilonet.training.range_test as module

    given: dict[str, Any] = {}
    create = module.create_engine

    def spy(run: Run, **settings: Any) -> Any:
        given.update(settings)
        return create(run, **settings)

    monkeypatch.setattr(module, "create_engine", spy)
    find_lr(run, num_steps=2)
    dataset = load_dataset(run.data.name)
    pixels = dataset.train_images[RunData.of(run, dataset).train_index] / 255
    assert given["mean"] == (round(pixels.mean(), 4),)
    # Without a split it holds some out itself, which a training does not.
    whole = run.replace({"data.validation": 0})
    find_lr(whole, num_steps=2)
    assert given["mean"] == RunData.of(whole, dataset).mean != RunData.of(run, dataset).mean
