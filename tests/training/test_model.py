"""A trained network in Python: the same bits as the training's, and one line about wrong images."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from color_images import COLORS, color_dataset
from kilonet.data import Dataset, load_dataset
from kilonet.data.preprocess import Preprocess
from kilonet.engine.native.machine import extension
from kilonet.errors import DataError, KilonetError, StorageError, UsageError
from kilonet.spec import Run
from kilonet.storage.checksums import json_from_bytes, json_to_bytes
from kilonet.storage.record import RunRecord
from kilonet.storage.run_folder import RunFolder
from kilonet.training.loop import train
from kilonet.training.model import load
from kilonet.training.observer import Observer

GRAY_LAYERS = ["conv 4", "maxpool 2", "conv 8", "gap", "pointwise 10 bare"]
COLOR_LAYERS = ["conv 4", "conv 8", "gap", "pointwise 3 bare"]


@pytest.fixture(scope="module")
def gray(small_mnist: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunRecord, Dataset]:
    """Batch norm, dropout, averaged weights, a held-out split, default normalization."""
    net = {
        "input": [1, 28, 28],
        "block": ["conv", "relu", "batchnorm", "dropout 0.1"],
        "layers": GRAY_LAYERS,
    }
    data = {"name": str(small_mnist), "validation": 40}
    run = Run.from_dict({"net": net, "data": data, "train": {"epochs": 2, "average": "ema"}})
    record = train(run, folder=tmp_path_factory.mktemp("model") / "gray")
    return record, load_dataset(str(small_mnist))


@pytest.fixture(scope="module")
def color(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunRecord, Dataset]:
    """Three channels, resized from 8 × 8 to 10 × 12."""
    dataset = color_dataset("colors")
    run = Run.from_dict(
        {
            "net": {"input": [3, 10, 12], "layers": COLOR_LAYERS},
            "data": {"resize": [10, 12]},
            "train": {"epochs": 1, "batch_size": 32},
        }
    )
    folder = tmp_path_factory.mktemp("model") / "color"
    return train(run, folder=folder, data=dataset), dataset


@pytest.fixture(scope="module")
def shared(
    small_mnist: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[RunRecord, Dataset]:
    """Weights used twice, padding at the end, a projection shortcut."""
    layers = [
        "conv 4 stride=2",
        {"repeat": ["conv 4 kernel=2 pad=same", "maxpool 2"], "times": 2},
        {"residual": ["conv 8 stride=2 pad=2 dilation=2"], "shortcut": ["pointwise 8 stride=2"]},
        "gap",
        "pointwise 10 bare",
    ]
    net = {"input": [1, 28, 28], "block": ["conv", "relu", "batchnorm"], "layers": layers}
    run = Run.from_dict({"net": net, "data": {"name": str(small_mnist)}, "train": {"epochs": 1}})
    record = train(run, folder=tmp_path_factory.mktemp("model") / "shared")
    return record, load_dataset(str(small_mnist))


@pytest.fixture(params=["gray", "color", "shared"])
def trained(request: pytest.FixtureRequest) -> tuple[RunRecord, Dataset]:
    found: tuple[RunRecord, Dataset] = request.getfixturevalue(request.param)
    return found


def kept_logits(record: RunRecord) -> np.ndarray:
    return RunFolder(record.path).test_logits()


def assert_bits(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    assert found.tobytes() == expected.tobytes()


def test_the_logits_are_the_trainings_own(trained: tuple[RunRecord, Dataset]) -> None:
    record, dataset = trained
    expected = kept_logits(record)
    model = load(str(record.path))
    assert_bits(model.logits(dataset.test_images), expected)
    assert_bits(record.model().logits(dataset.test_images), expected)
    # Alone, in a batch of another size, not contiguous, backwards: each image has its bits.
    for i in range(0, 40, 7):
        assert_bits(model.logits(dataset.test_images[i]), expected[i : i + 1])
        assert_bits(model.logits(dataset.test_images[i : i + 5]), expected[i : i + 5])
    assert_bits(model.logits(dataset.test_images[::-3]), expected[::-3].copy())
    assert_bits(model.logits(list(dataset.test_images[:3])), expected[:3])


def test_predictions_follow_from_the_logits(trained: tuple[RunRecord, Dataset]) -> None:
    record, dataset = trained
    model, logits = load(record.path), kept_logits(record)
    predicted = model.predict(dataset.test_images)
    assert_bits(predicted, logits.argmax(axis=1))
    exponentials = np.exp(logits.astype(np.float64))
    expected = exponentials / exponentials.sum(axis=1, keepdims=True)
    probabilities = model.predict_proba(dataset.test_images)
    np.testing.assert_allclose(probabilities, expected, rtol=1e-12)
    assert model.predict(dataset.test_images[0]).shape == (1,)
    assert model.predict_proba(dataset.test_images[0]).shape == (1, len(model.classes))
    none = dataset.test_images[:0]
    assert model.predict(none).shape == (0,)
    assert model.predict_proba(none).shape == (0, len(model.classes))


def test_probabilities_of_huge_logits(gray: tuple[RunRecord, Dataset]) -> None:
    model = gray[0].model()
    for name, array in model._weights.items():
        if name.endswith("weight") and array.ndim == 4:
            model._weights[name] = array * np.float32(1e3)
    huge = pickle.loads(pickle.dumps(model))
    assert np.abs(huge.logits(gray[1].test_images)).max() > 1e3
    rows = huge.predict_proba(gray[1].test_images).sum(axis=1)
    np.testing.assert_allclose(rows, 1.0, rtol=1e-12)


def test_an_evaluation_is_the_last_epochs(trained: tuple[RunRecord, Dataset]) -> None:
    record, dataset = trained
    found = load(record.path).evaluate(dataset.test_images, dataset.test_labels)
    assert found.accuracy == record.rows[-1].test_accuracy
    assert found.loss == record.rows[-1].test_loss
    predicted = kept_logits(record).argmax(axis=1)
    assert found.count == len(predicted)
    assert found.correct == (predicted == dataset.test_labels).sum()
    for label in range(len(found.classes)):
        row = np.bincount(predicted[dataset.test_labels == label], minlength=len(found.classes))
        np.testing.assert_array_equal(found.confusion[label], row)
    assert found.confusion.dtype == np.int64
    assert f"{found.accuracy:.2f}% of {found.count}" in str(found)


def test_an_evaluation_in_a_notebook_is_text_everywhere(color: tuple[RunRecord, Dataset]) -> None:
    record, dataset = color
    page = record.model().evaluate(dataset.test_images, dataset.test_labels)._repr_html_()
    assert "<table" in page
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


@pytest.mark.parametrize("kind", [np.uint8, np.int32, np.uint64, list])
def test_labels_of_any_integer_type(gray: tuple[RunRecord, Dataset], kind: Any) -> None:
    record, dataset = gray
    model = record.model()
    images, labels = dataset.test_images[:9], dataset.test_labels[:9]
    given = labels.tolist() if kind is list else labels.astype(kind)
    expected = model.evaluate(images, labels)
    assert model.evaluate(images, given).correct == expected.correct
    column = np.asarray(given)[:, None]
    assert model.evaluate(images, column).correct == expected.correct
    assert model.evaluate(images[0], int(labels[0])).count == 1


def test_a_model_knows_what_it_was_trained_with(color: tuple[RunRecord, Dataset]) -> None:
    record, dataset = color
    model = record.model()
    assert model.classes == COLORS
    assert model.net == record.run.net
    assert model.num_parameters == record.run.net.num_parameters
    assert model.preprocess.resize == (10, 12)
    assert model.preprocess.input_shape == (3, 10, 12)
    # From the pixels that the network sees: resized by Pillow's rule, tested in data/test_resize.
    from kilonet.data.resize import resize

    pixels = resize(dataset.train_images, size=(10, 12)) / 255
    np.testing.assert_allclose(model.preprocess.mean, pixels.mean((0, 1, 2)), atol=5.1e-5)
    np.testing.assert_allclose(model.preprocess.std, pixels.std((0, 1, 2)), atol=5.1e-5)
    assert "3 classes" in repr(model)


def test_preprocess_gives_the_networks_input(gray: tuple[RunRecord, Dataset]) -> None:
    record, dataset = gray
    preprocess = record.model().preprocess
    found = preprocess(dataset.test_images[:4])
    assert found.dtype == np.float32
    assert found.shape == (4, 1, 28, 28)
    scaled = dataset.test_images[:4, None].astype(np.float64) / 255
    expected = (scaled - preprocess.mean[0]) / preprocess.std[0]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert preprocess(dataset.test_images[0]).shape == (1, 1, 28, 28)


def test_axes_of_one_channel(gray: tuple[RunRecord, Dataset]) -> None:
    record, dataset = gray
    model, images = record.model(), dataset.test_images[:2]
    expected = model.logits(images)
    assert_bits(model.logits(images[..., None]), expected)
    assert_bits(model.logits(images[0][..., None]), expected[:1])
    frozen = images.copy()
    frozen.flags.writeable = False
    assert_bits(model.logits(frozen), expected)
    assert_bits(model.logits(np.asfortranarray(images)), expected)


def test_pillow_images(color: tuple[RunRecord, Dataset]) -> None:
    from PIL import Image

    record, dataset = color
    model = record.model()
    assert_bits(
        model.logits(Image.fromarray(dataset.test_images[0])), model.logits(dataset.test_images[0])
    )


@pytest.mark.parametrize(
    ("images", "problem"),
    [
        (np.zeros((2, 28, 28)), "float64; expected uint8"),
        (np.zeros((2, 28, 28), np.float32), "float32; expected uint8"),
        (np.zeros((2, 28, 28), np.int64), "int64; expected uint8"),
        (np.zeros((2, 28, 28), bool), "bool; expected uint8"),
        (np.zeros((2, 27, 28), np.uint8), "27 × 28, but .* 28 × 28 and its run does not resize"),
        (np.zeros((2, 28, 28, 3), np.uint8), r"\(2, 28, 28, 3\); the network takes .* 1 channel"),
        (np.zeros((28, 28, 3), np.uint8), r"\(28, 28, 3\); the network takes .* 1 channel"),
        (np.zeros((2, 1, 28, 28), np.uint8), r"shape \(2, 1, 28, 28\); .*\(n, h, w\)"),
        (np.zeros(784, np.uint8), r"shape \(784,\)"),
        (np.uint8(3), r"shape \(\)"),
        ([np.zeros((28, 28), np.uint8), np.zeros((27, 28), np.uint8)], "different shapes"),
        (["a.png"], "expected uint8"),
        (None, "expected uint8"),
        ([], "expected uint8"),
    ],
    ids=lambda value: value if isinstance(value, str) else "images",
)
def test_wrong_images(gray: tuple[RunRecord, Dataset], images: Any, problem: str) -> None:
    model = gray[0].model()
    for call in (model.predict, model.logits, model.preprocess, model.predict_proba):
        with pytest.raises(DataError, match=problem) as caught:
            call(images)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_a_color_image_is_no_batch_of_gray_ones(channels: int) -> None:
    """Where images of any size are resized, nothing else tells them apart."""
    resizing = Preprocess(input_shape=(1, 8, 8), mean=(0.1,), std=(0.3,), resize=(8, 8))
    with pytest.raises(DataError, match="with 1 channel"):
        resizing(np.zeros((20, 30, channels), np.uint8))
    assert resizing(np.zeros((20, 30, channels, 1), np.uint8)).shape == (20, 1, 8, 8)
    assert resizing(np.zeros((20, 30, 5), np.uint8)).shape == (20, 1, 8, 8)
    narrow = Preprocess(input_shape=(1, 30, channels), mean=(0.1,), std=(0.3,))
    assert narrow(np.zeros((20, 30, channels), np.uint8)).shape == (20, 1, 30, channels)


@pytest.mark.parametrize(
    "shape", [(2, 8, 8), (2, 8, 8, 4), (2, 3, 8, 8), (8, 8), (2, 0, 8, 3), (2, 2, 8, 8, 3)]
)
def test_wrong_color_images(color: tuple[RunRecord, Dataset], shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError) as caught:
        color[0].model().predict(np.zeros(shape, np.uint8))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        (np.zeros(2), "float64; expected integers"),
        (np.zeros(3, int), r"shape \(3,\); expected \(2,\)"),
        (np.zeros((2, 10), int), "not one-hot"),
        (np.eye(10)[:2], "not one-hot"),
        (["3", "4"], "<U1; expected integers from 0, indices of model.classes"),
        (3, r"shape \(\); expected \(2,\)"),
        ([1, 10], "label 10 at index 1 is out of range: there are 10 classes"),
        ([-1, 1], "label -1 at index 0"),
        (np.array([2**63, 1], np.uint64), "out of range"),
    ],
    ids=lambda value: value if isinstance(value, str) else "labels",
)
def test_wrong_labels(gray: tuple[RunRecord, Dataset], labels: Any, problem: str) -> None:
    record, dataset = gray
    with pytest.raises(DataError, match=problem) as caught:
        record.model().evaluate(dataset.test_images[:2], labels)
    assert "\n" not in str(caught.value)


def test_nothing_to_evaluate(gray: tuple[RunRecord, Dataset]) -> None:
    record, dataset = gray
    with pytest.raises(DataError, match="no images"):
        record.model().evaluate(dataset.test_images[:0], dataset.test_labels[:0])


def test_threads_share_a_model(gray: tuple[RunRecord, Dataset]) -> None:
    record, dataset = gray
    model, expected = record.model(), kept_logits(record)
    with ThreadPoolExecutor(8) as pool:
        parts = list(
            pool.map(lambda i: model.logits(dataset.test_images[i : i + 20]), [*range(180)] * 3)
        )
    for part, i in zip(parts, [*range(180)] * 3, strict=True):
        assert_bits(part, expected[i : i + 20])


def test_a_pickled_model(trained: tuple[RunRecord, Dataset]) -> None:
    record, dataset = trained
    model = pickle.loads(pickle.dumps(record.model()))
    assert_bits(model.logits(dataset.test_images), kept_logits(record))


def test_no_file_is_written(gray: tuple[RunRecord, Dataset]) -> None:
    record, dataset = gray
    before = {path: path.stat().st_mtime_ns for path in record.path.iterdir()}
    record.model().evaluate(dataset.test_images, dataset.test_labels)
    assert {path: path.stat().st_mtime_ns for path in record.path.iterdir()} == before


@pytest.mark.native
def test_the_instruction_set_of_the_training(
    small_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lowest = extension().instruction_sets()[-1]
    monkeypatch.setenv("KILONET_ISA", lowest)
    run = small_run.replace({"train.epochs": 1})
    record = train(run, folder=tmp_path)
    monkeypatch.delenv("KILONET_ISA")
    images = load_dataset(run.data.name).test_images
    assert_bits(record.model().logits(images), kept_logits(record))


class StopAt(Observer):
    def end_epoch(self, row: Any, *, correct: int, count: int) -> None:
        raise KeyboardInterrupt


def test_an_unfinished_run(small_run: Run, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(small_run, folder=tmp_path / "run", observer=StopAt())
    with pytest.raises(StorageError, match=r"not finished, 1 of 3 epochs; 'kilonet train .* --res"):
        load(tmp_path / "run")
    with pytest.raises(StorageError, match="not a run folder"):
        load(tmp_path)
    (tmp_path / "study.toml").touch()
    with pytest.raises(StorageError, match="folder of a study, whose runs are in runs/"):
        load(tmp_path)


def without_normalization(folder: Path) -> None:
    """The folder as version 0.1 wrote it."""
    path = folder / "environment.json"
    content = json_from_bytes(path.read_bytes())
    del content["normalization"]
    content["data"].pop("classes", None)
    path.write_bytes(json_to_bytes(content))


def test_a_finished_run_of_version_0_1(small_mnist: Path, tmp_path: Path) -> None:
    """Its normalization included the held-out images."""
    with np.load(small_mnist) as archive:
        arrays = dict(archive)
    arrays["train_images"][::2] //= 2  # so that a part has another mean than the whole
    path = tmp_path / "data.npz"
    np.savez(path, **arrays)
    net = {"input": [1, 28, 28], "layers": GRAY_LAYERS}
    data = {"name": str(path), "validation": 0.5}
    run = Run.from_dict({"net": net, "data": data, "train": {"epochs": 1}})
    folder = tmp_path / "run"
    train(run, folder=folder)
    without_normalization(folder)
    model = load(folder)
    pixels = arrays["train_images"] / 255
    assert model.preprocess.mean == (round(pixels.mean(), 4),)
    assert model.preprocess.std == (round(pixels.std(), 4),)
    assert model.classes == tuple("0123456789")
    arrays["train_images"][0, 0, 0] ^= 1
    np.savez(path, **arrays)
    with pytest.raises(DataError, match="have changed since"):
        load(folder)
    path.unlink()
    with pytest.raises(DataError, match=r"data\.npz"):
        load(folder)


def test_a_run_of_the_torch_engine(small_run: Run, small_mnist: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    run = small_run.replace({"train.epochs": 1})
    record = train(run, folder=tmp_path, engine="torch")
    images = load_dataset(str(small_mnist)).test_images
    model, expected = record.model(), kept_logits(record)
    assert "torch" in repr(model)
    assert_bits(model.logits(images), expected)
    assert_bits(model.logits(images[7]), expected[7:8])
    assert_bits(model.logits(images[::-1]), expected[::-1].copy())
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda i: model.logits(images[i : i + 3]), range(20)))
    for i, part in enumerate(parts):
        assert_bits(part, expected[i : i + 3])


def test_to_torch(trained: tuple[RunRecord, Dataset]) -> None:
    torch = pytest.importorskip("torch")
    record, dataset = trained
    model = record.model()
    module = model.to_torch()
    assert not module.training
    with torch.inference_mode():
        logits = module(torch.from_numpy(model.preprocess(dataset.test_images))).numpy()
    scale = np.abs(kept_logits(record)).max()
    np.testing.assert_allclose(logits, kept_logits(record), rtol=1e-5, atol=1e-5 * scale)
    module.train()  # the model keeps its own
    with torch.no_grad():
        next(module.parameters()).zero_()
    assert_bits(model.logits(dataset.test_images), kept_logits(record))


def test_to_torch_without_torch(
    gray: tuple[RunRecord, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    model = gray[0].model()
    monkeypatch.delitem(sys.modules, "kilonet.engine.torch", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr("kilonet.engine.torch", None, raising=False)
    for name in [name for name in sys.modules if name.startswith("kilonet.engine.torch")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(KilonetError, match="PyTorch is not installed") as caught:
        model.to_torch()
    assert "\n" not in str(caught.value)


def test_a_module_where_there_is_none(gray: tuple[RunRecord, Dataset]) -> None:
    with pytest.raises(UsageError, match="leave out the module"):
        load(gray[0].path, module=object())
