"""What is odd about a data set."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kilonet.data import Dataset
from kilonet.data.oddities import oddities
from kilonet.entry import run_command


def arrays_of(train: Any, test: Any) -> dict[str, Any]:
    """Noise with these labels; no image twice."""
    rng = np.random.default_rng(len(train))
    return {
        "train_images": rng.integers(0, 256, (len(train), 6, 6), dtype=np.uint8),
        "train_labels": np.asarray(train),
        "test_images": rng.integers(0, 256, (len(test), 6, 6), dtype=np.uint8),
        "test_labels": np.asarray(test),
    }


def found(train: Any, test: Any, *, classes: tuple[str, ...] = ()) -> tuple[str, ...]:
    return oddities(Dataset(name="d", classes=classes, **arrays_of(train, test)))


def test_nothing_is_odd(mnist: Dataset) -> None:
    assert oddities(mnist) == ()
    assert found([0, 0, 1, 1, 1] * 3, [0, 1]) == ()


def test_labels_that_do_not_begin_at_0() -> None:
    [line] = found([1, 1, 2, 2], [1, 2])
    assert line == (
        "the labels begin at 1: class 0 has no images, but the network needs an output for it; "
        "subtract 1 if the labels count from 1"
    )
    [line] = found([9, 9, 10, 10], [9, 10])
    assert line.startswith("the labels begin at 9: classes 0, 1, 2, 3, 4 and 4 more have no images")


@pytest.mark.parametrize(
    ("train", "test", "classes", "lines"),
    [
        ([0, 0, 2, 2], [0, 2], "", ["class 1 has no images"]),
        ([0, 0, 3, 3], [0, 3], "", ["classes 1 and 2 have no images"]),
        ([0, 0, 1, 1], [0, 1], "abcd", ["classes 'c' and 'd' have no images"]),
        # Class 0 has a name, so it is meant.
        ([1, 1, 2, 2], [1, 2], "abc", ["class 'a' has no images"]),
        (
            [0, 0, 2, 2],
            [0, 1, 2],
            "",
            ["class 1 has test images but no training images"],
        ),
        ([0, 0, 1, 1, 2, 2], [1], "", ["classes 0 and 2 have no test images"]),
        ([0, 0, 1], [0, 1], "", ["class 1 has a single training image"]),
        ([0] * 4, [0], "", ["all training images are of class 0"]),
        (
            [0] * 19 + [1],
            [0, 1],
            "",
            [
                "class 1 has a single training image",
                "class 0 has 95.00% of the training images, class 1 5.00%",
            ],
        ),
        (
            [0] * 30 + [1] * 3 + [2] * 27,
            [0, 1, 2],
            "abc",
            ["class 'a' has 50.00% of the training images, class 'b' 5.00%"],
        ),
        ([0] * 27 + [1] * 3, [0, 1], "", []),  # nine times as many are not ten
    ],
)
def test_classes(train: list[int], test: list[int], classes: str, lines: list[str]) -> None:
    assert list(found(train, test, classes=tuple(classes))) == lines


@pytest.mark.parametrize(
    ("number", "line"),
    [(1, "1 of 4 test images is a training image too"), (3, "3 of 4 test images are training")],
)
def test_test_images_that_are_trained_on(number: int, line: str) -> None:
    arrays = arrays_of([0, 1] * 5, [0, 1, 0, 0])
    arrays["test_images"][[0, 2, 3][:number]] = arrays["train_images"][4]
    [note] = oddities(Dataset(name="d", **arrays))
    assert note.startswith(line)


def test_images_of_several_classes() -> None:
    arrays = arrays_of([0, 1] * 5, [0, 1] * 2)
    arrays["train_images"][7] = arrays["train_images"][4]
    data = Dataset(name="d", **arrays)
    [line] = oddities(data)
    assert line == (
        "1 image has different labels in different places, such as training image 4 (class 0) and "
        "training image 7 (class 1)"
    )
    arrays["train_images"][9] = arrays["train_images"][4]
    arrays["test_images"][2] = arrays["train_images"][3]
    shared, unlike = oddities(Dataset(name="d", classes=("cat", "dog"), **arrays))
    assert shared == "1 of 4 test images is a training image too"
    assert unlike.startswith(
        "2 images have different labels in different places, such as training "
    )
    assert unlike.endswith("training image 4 (class 'cat') and training image 7 (class 'dog')")


RUN = """
[net]
input = [1, 6, 6]
layers = ["conv 2", "gap", "pointwise 3 bare"]
[data]
name = "{path}"
[train]
epochs = 1
"""
STAGE = """
[[stage]]
name = "{name}"
change = {{ "train.optimizer.lr" = {lr} }}
"""


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of a run and of a study on labels that begin at 1."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "odd.npz"
    np.savez(path, **arrays_of([1, 2] * 8, [1, 2]))
    (tmp_path / "run.toml").write_text(RUN.format(path=path))
    stages = STAGE.format(name="a", lr=0.01) + STAGE.format(name="b", lr=0.02)
    (tmp_path / "study.toml").write_text(
        'name = "s"\ntarget = 50\nseeds = 2\n' + RUN.format(path=path) + stages
    )
    return path


LINE = "the labels begin at 1: class 0 has no images"


@pytest.mark.native
@pytest.mark.parametrize(
    "words",
    [
        ["train", "run.toml"],
        ["train", "run.toml", "--find-lr"],
        ["study", "study.toml", "--jobs", "1"],
        ["study", "study.toml", "--jobs", "2", "--threads", "2"],
    ],
    ids=["train", "find-lr", "study", "parallel study"],
)
def test_it_is_said_once_before_training(odd: Path, words: list[str]) -> None:
    """In a process of its own: pytest takes what is logged, and a study's workers log too."""
    command = [sys.executable, "-m", "kilonet", *words, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr.count(LINE) == 1
    assert done.stderr.startswith(f"kilonet: {odd}: {LINE}")
    assert LINE not in done.stdout


def test_the_command_data_says_it(odd: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["data", str(odd)]) == 0
    assert f"\nNote: {LINE}" in capsys.readouterr().out
    assert run_command(["data", str(odd), "--json"]) == 0
    [note] = json.loads(capsys.readouterr().out)["notes"]
    assert note.startswith(LINE)
